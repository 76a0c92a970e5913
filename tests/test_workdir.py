"""One process, one config, whole files."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from small_disk import small_disk

from mmjax.config import Settings
from mmjax.errors import WorkdirError
from mmjax.io import workdir as module
from mmjax.io.atomic import write_bytes, write_json, write_text
from mmjax.io.checkpoint import config_fingerprint
from mmjax.io.environment import environment
from mmjax.io.workdir import Workdir, read_config

SCHEMA = 'id = "PetID"\nimage_dir = "/data/photos"\ncategorical = ["Type"]\n'

HOLDER = """
import sys, time
from mmjax.io.workdir import Workdir
with Workdir(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""

FORKING_HOLDER = """
import os, sys, time
from mmjax.io.workdir import Workdir
with Workdir(sys.argv[1]).lock():
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    time.sleep(0.2)
    print(child, flush=True)
    time.sleep(60)
"""


def holder(folder, code=HOLDER):
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def open_run(work, settings, schema, session):
    """What a session does: it compares, then writes."""
    work.compare(settings, schema)
    work.record(settings, schema, session)


def changed(settings, part, **values):
    return replace(settings, **{part: replace(getattr(settings, part), **values)})


def test_second_process_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path):
    """Breaks when the lock is not exclusive, does not name its holder, or outlives it."""
    process, said = holder(tmp_path)
    try:
        assert said == "held"
        with (
            pytest.raises(WorkdirError, match=rf"in use by process {process.pid} on .*, started 20\d\d-"),
            Workdir(tmp_path).lock(),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        end(process)
    assert (tmp_path / ".lock").exists()
    with Workdir(tmp_path).lock():
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    with Workdir(tmp_path).lock():  # and it is given back
        pass
    # The number of a dead process may be a living one's by now: the kernel's lock counts, not what the file says.
    (tmp_path / ".lock").write_text(json.dumps({"pid": os.getppid(), "host": "here", "start": "2020-01-01"}))
    with Workdir(tmp_path).lock():
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_worker_of_a_killed_process_does_not_keep_the_lock(tmp_path):
    """Breaks when a forked worker keeps the lock's file open: the folder would stay locked while the orphan lives."""
    process, said = holder(tmp_path, FORKING_HOLDER)
    try:
        process.kill()
        process.wait()
        os.kill(int(said), 0)  # the orphan is alive
        with Workdir(tmp_path).lock():
            pass
    finally:
        os.kill(int(said), signal.SIGKILL)
        end(process)


def test_what_a_killed_write_left_is_gone_with_the_next_session(tmp_path):
    """Breaks when a run killed inside a write ends with one file more than an uninterrupted one."""
    left = tmp_path / "fold_0" / ".predictions.csv.123.partial"
    left.parent.mkdir()
    left.write_text("half")
    (tmp_path / "config.json").write_text("{}")
    with Workdir(tmp_path).lock():
        assert not left.exists()


@pytest.mark.parametrize("names", [["1.jpg"], ["schema.toml"], ["rows.csv", "photos", ".x.partial"], ["folds.csv", "fold_0"]])
def test_folder_of_other_things_is_refused_and_left_alone(tmp_path, names):
    """Breaks when a run mixes its files with a person's, overwrites a schema.toml of theirs or deletes a `.partial`."""
    for name in names:
        (tmp_path / name).write_text("theirs")
    others = [n for n in names if not n.startswith(".")]
    what = f"{len(others)} other files" if len(others) > 1 else f"'{others[0]}'"
    with pytest.raises(WorkdirError, match=f"holds {what} and no run .*choose an empty or a new"), Workdir(tmp_path).lock():
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


def test_what_a_run_killed_before_its_config_left_is_no_other_thing(tmp_path):
    """Breaks when the same command is refused after a kill between two of the first writes."""
    for name in (".lock", ".config.json.7.partial", "schema.toml", "environment.json", "lost+found"):
        (tmp_path / name).write_text("[]")
    with Workdir(tmp_path).lock():
        open_run(Workdir(tmp_path), Settings(), SCHEMA, {})
    with Workdir(tmp_path).lock():
        assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == [
            "config.json",
            "environment.json",
            "lost+found",
            "schema.toml",
        ]


def test_same_process_cannot_enter_twice(tmp_path):
    with Workdir(tmp_path).lock(), pytest.raises(WorkdirError, match="in use"), Workdir(tmp_path).lock():
        pass


def test_first_session_writes_next_session_compares(tmp_path):
    work, settings = Workdir(tmp_path / "a" / "run"), Settings()
    assert read_config(work.path) is None
    open_run(work, settings, SCHEMA, {"session": 1})
    open_run(work, settings, SCHEMA, {"session": 2})
    assert json.loads((work.path / "environment.json").read_text()) == [{"session": 1}, {"session": 2}]
    assert (work.path / "schema.toml").read_text() == SCHEMA
    assert Settings.from_dict(read_config(work.path) or {}) == settings


def test_every_differing_key_is_named_with_both_values(tmp_path):
    """Breaks when a key that decides numbers is not compared, or only the first is named."""
    work, settings = Workdir(tmp_path), Settings()
    open_run(work, settings, SCHEMA, {})
    other = changed(changed(settings, "train", seed=7, eval_batch_size=64), "model", modalities=("text",), fusion="none")
    with pytest.raises(WorkdirError) as raised:
        open_run(work, other, SCHEMA.replace("Type", "Kind"), {})
    said = str(raised.value)
    for part in (
        "train.seed was 0 and is now 7",
        "train.eval_batch_size was 0 and is now 64",
        'model.modalities was ["tabular", "text", "image"] and is now ["text"]',
        'model.fusion was "attention" and is now "none"',
        'schema.categorical was ["Type"] and is now ["Kind"]',
    ):
        assert part in said
    assert said.count(" is now ") == 5
    assert json.loads((tmp_path / "environment.json").read_text()) == [{}]
    assert Settings.from_dict(read_config(work.path) or {}) == settings


def test_moved_data_and_other_intervals_are_the_same_run(tmp_path):
    """Breaks when a run cannot go on after its data set moved; another file name is another run."""
    work = Workdir(tmp_path)
    first = changed(Settings(), "data", root="/old", word_vectors="/old/glove.txt")
    open_run(work, first, SCHEMA, {})
    moved = changed(first, "data", root="/new", word_vectors="/new/glove.txt", cache="/tmp/c")
    moved = changed(changed(moved, "train", checkpoint_seconds=1.0, keep_checkpoints=5), "cv", only=(1,))
    schema = SCHEMA.replace("/data/photos", "/new/photos")
    open_run(work, moved, schema, {})
    assert (read_config(work.path) or {})["data"]["root"] == "/new"
    one, two = (config_fingerprint(s.record() | {"schema": t}) for s, t in ((first, SCHEMA), (moved, schema)))
    assert one == two
    with pytest.raises(WorkdirError, match="data.word_vectors was"):
        open_run(work, changed(moved, "data", word_vectors="/new/fasttext.txt"), schema, {})


def test_setting_this_version_lacks_is_named(tmp_path):
    work = Workdir(tmp_path)
    open_run(work, Settings(), SCHEMA, {})
    config = json.loads((tmp_path / "config.json").read_text())
    config["train"]["momentum"] = 0.5
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WorkdirError, match=r"train\.momentum was 0\.5 and is now not there"):
        open_run(work, Settings(), SCHEMA, {})


def test_a_workdir_of_another_version_is_refused(tmp_path):
    work = Workdir(tmp_path)
    open_run(work, Settings(), SCHEMA, {})
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("version") == "0.2"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WorkdirError, match=r"was made by mmjax 0\.1; 0\.2 cannot go on with it: use mmjax 0\.1 or another"):
        work.compare(Settings(), SCHEMA)


def test_damaged_config_is_an_error_a_person_can_act_on(tmp_path):
    (tmp_path / "config.json").write_text('{"task": ')
    with pytest.raises(WorkdirError, match=r"config\.json is damaged"):
        open_run(Workdir(tmp_path), Settings(), SCHEMA, {})


def test_file_in_the_folders_place(tmp_path):
    (tmp_path / "file").write_text("")
    for path in ("file", "file/inside"):
        with pytest.raises(WorkdirError, match="a file is in its place"):
            Workdir(tmp_path / path)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_folder_that_cannot_be_written(tmp_path, monkeypatch, number):
    """The tests may run as root, whom permissions do not stop, so the system's refusal is played."""
    work = Workdir(tmp_path)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "open", refuse)
    with pytest.raises(WorkdirError, match=r"cannot write .*\.lock: .*choose"), work.lock():
        pass
    monkeypatch.undo()
    monkeypatch.setattr(module.os, "fsync", refuse)
    (tmp_path / "file.txt").write_text("before")
    with pytest.raises(WorkdirError, match=r"cannot write .*file\.txt"):
        write_text(tmp_path / "file.txt", "after")
    assert (tmp_path / "file.txt").read_text() == "before"
    assert not list(tmp_path.glob(".*partial"))
    monkeypatch.undo()
    monkeypatch.setattr(module.Path, "mkdir", refuse)
    with pytest.raises(WorkdirError, match="choose"):
        Workdir(tmp_path / "new")


def test_full_disk_keeps_the_file_that_was_there(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        write_json(disk / "a" / "summary.json", {"accuracy": 0.5})
        with pytest.raises(WorkdirError, match="the disk or quota is full"):
            write_bytes(disk / "a" / "summary.json", bytes(200_000))
        assert json.loads((disk / "a" / "summary.json").read_text()) == {"accuracy": 0.5}
        assert [p.name for p in (disk / "a").iterdir()] == ["summary.json"]


def test_environment_says_what_ran():
    found = environment()
    assert found == json.loads(json.dumps(found))
    assert found["versions"]["jax"]
    assert found["device_count"] >= 1
    assert found["date"].startswith(time.strftime("%Y-", time.gmtime()))
