"""SIGTERM and SIGINT where the loop cannot ask: while photos are read, while a program is compiled."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_image import encoded
from PIL import Image

from mmjax.errors import Interrupted
from mmjax.io import signals
from mmjax.io.signals import stop_requests
from tests import killing


def test_what_the_loop_notices_is_its_own_to_end():
    """Breaks when the timer goes on while the loop saves: a large checkpoint would be cut short."""
    with stop_requests() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        (timer,) = [t for t in signals.threading.enumerate() if isinstance(t, signals.threading.Timer)]
        assert stop()
        timer.join(1.0)
        assert not timer.is_alive()


def test_a_second_sigint_ends_at_once():
    with stop_requests("runs/x"):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="second signal; what was saved before is in runs/x"):
            os.kill(os.getpid(), signal.SIGINT)


NOBODY_ASKS = """
import sys, time
from mmjax.io import signals
signals.PATIENCE = 0.2
with signals.stop_requests("runs/x"):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_where_nobody_asks_the_process_ends_by_itself(number: int):
    process = subprocess.Popen(
        [sys.executable, "-c", NOBODY_ASKS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=killing.ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 75
    assert said.startswith("mmjax: Stopped by a signal")
    assert "runs/x; the same command goes on" in said
    assert "Traceback" not in said


@pytest.mark.faults
def test_sigterm_while_photos_are_read(tmp_path: Path):
    """A minute of decoding; the run ends within ten seconds and the same command goes on with the photos it has."""
    (tmp_path / "photos").mkdir()
    slow = encoded(Image.effect_noise((5000, 5000), 50).convert("RGB"), "JPEG", quality=50, progressive=True)
    (tmp_path / "photos" / "0.jpg").write_bytes(slow)
    for i in range(1, 60):
        (tmp_path / "photos" / f"{i}.jpg").hardlink_to(tmp_path / "photos" / "0.jpg")
    (tmp_path / "rows.csv").write_text("id,p,y\n" + "".join(f"{i},{i}.jpg,{'ab'[i % 2]}\n" for i in range(60)))
    (tmp_path / "schema.toml").write_text('id = "id"\nlabel = "y"\nimage = "p"\nimage_dir = "photos"\n')
    options = ["--config=configs/image.py:table", f"--config.data.root={tmp_path}", "--config.data.table=rows.csv"]
    options += ["--config.data.schema=schema.toml", f"--config.data.cache={tmp_path / 'cache'}"]
    options += ["--config.data.image_size=512"]
    code, seconds, out = killing.terminate_after(tmp_path / "run", options, tmp_path / "compiled", "photos:", signal.SIGTERM)
    assert code == 75, out
    assert seconds < 10
    assert "Stopped by a signal while data were read" in out
    assert any((tmp_path / "cache").glob("images-*.partial"))


@pytest.mark.faults
def test_sigterm_while_a_program_is_compiled(tmp_path: Path):
    """With no compilation cache the first program takes XLA a while, in which no Python runs."""
    options = ["--config=configs/mmae_attention.py", *killing.TINY, f"--config.data.cache={tmp_path / 'cache'}"]
    line = "autoencoder: one device"  # the next thing is to compile its step
    code, seconds, out = killing.terminate_after(tmp_path / "run", options, tmp_path / "compiled", line, signal.SIGTERM)
    assert code == 75, out
    assert seconds < 10
    assert "Stopped by a signal" in out
    assert "Traceback" not in out
