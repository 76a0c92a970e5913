"""The image store: right pixels in the right row, whatever the photos are and whenever the process dies."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fuzz_image import encoded
from PIL import Image

from mmjax.data import image_store
from mmjax.data.data_report import DataReport
from mmjax.data.image_store import open_image_store
from mmjax.errors import DataError, WorkdirError

ROWS = 60


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def _colour(row):
    return row * 4, 255 - row * 4, (row * 37) % 256


def _photos(folder, rows=ROWS):
    """One plain colour a row, so that a swapped row shows."""
    folder.mkdir()
    names = [f"{row:03d}.png" for row in range(rows)]
    for row, name in enumerate(names):
        (folder / name).write_bytes(encoded(Image.new("RGB", (9, 7), _colour(row)), "PNG"))
    return names


def _check(store, present):
    np.testing.assert_array_equal(store.present, present)
    expected = np.array([_colour(row) if here else (0, 0, 0) for row, here in enumerate(present)], np.uint8)
    np.testing.assert_array_equal(store.pixels, np.broadcast_to(expected[:, None, None], store.pixels.shape))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(image_store, "_CHUNK_BYTES", 8 * 8 * 3 * 7)  # 7 rows a chunk


@pytest.fixture
def photos(tmp_path):
    return _photos(tmp_path / "photos"), tmp_path / "photos"


def _open(photos, cache, report=None, **options):
    return open_image_store(photos[0], photos[1], 8, cache, report or DataReport(), **options)


def test_rows_and_pixels_line_up(photos, tmp_path, small_chunks):
    seen = []
    store = _open(photos, tmp_path / "cache", workers=4, progress=lambda done, total: seen.append((done, total)))
    _check(store, [True] * ROWS)
    assert isinstance(store.pixels, np.memmap)
    assert not store.pixels.flags.writeable
    assert seen[0] == (7, ROWS)
    assert seen[-1] == (ROWS, ROWS)
    assert np.load(store.folder / "pixels.npy", mmap_mode="r").shape == (ROWS, 8, 8, 3)


def test_half_of_the_photos_broken(photos, tmp_path, small_chunks):
    names, folder = photos
    rng = np.random.default_rng(0)
    broken = sorted(rng.permutation(ROWS)[: ROWS // 2])
    for i, row in enumerate(broken):
        path = folder / names[row]
        if i % 3 == 0:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:40] if i % 3 == 1 else b"")
    for _ in range(2):  # built, then reused: the same report
        report = DataReport()
        store = _open(photos, tmp_path / "cache", report)
        _check(store, [row not in broken for row in range(ROWS)])
        assert report.counts() == {"image_missing": 10, "image_broken": 20, "photo_uniform": 30}


def test_found_again_and_keyed_by_content_name_and_size(photos, tmp_path, monkeypatch):
    names, folder = photos
    first = _open(photos, tmp_path / "cache").folder
    with monkeypatch.context() as patch:
        patch.setattr(image_store, "decode_bytes", None)  # decoding again would fail
        assert _open(photos, tmp_path / "cache").folder == first
    moved = folder.rename(tmp_path / "moved")
    assert _open((names, moved), tmp_path / "cache").folder == first
    assert _open((names[::-1], moved), tmp_path / "cache").folder != first
    assert open_image_store(names, moved, 9, tmp_path / "cache", DataReport()).folder != first
    (moved / names[0]).write_bytes((moved / names[1]).read_bytes())
    changed = _open((names, moved), tmp_path / "cache")
    assert changed.folder != first
    np.testing.assert_array_equal(changed.pixels[0], changed.pixels[1])


def test_paths_stay_inside(photos, tmp_path):
    _, folder = photos
    secret = tmp_path / "secret.png"
    secret.write_bytes((folder / "001.png").read_bytes())
    (folder / "link.png").symlink_to(secret)
    (folder / "out").symlink_to(tmp_path)
    (folder / "inside.png").symlink_to(folder / "002.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "sub").mkdir()
    bad = ["../secret.png", str(secret), "link.png", "out/secret.png", "sub/../../secret.png", "http://host/a.png"]
    bad += ["file:///etc/passwd", "a\0b.png", "loop.png", "x" * 5000, "\udcff"]
    report = DataReport()
    store = open_image_store([*bad, "", "sub", "inside.png"], folder, 8, tmp_path / "cache", report)
    counts = report.counts()
    assert counts.pop("image_missing", 0) <= 1  # a lone surrogate may be a file name
    assert counts["image_path"] >= len(bad) - 1
    assert counts["image_broken"] == 1
    assert list(store.present) == [False] * (len(bad) + 2) + [True]
    assert (store.pixels[-1] == _colour(2)).all()


def test_killed_anywhere_it_goes_on_and_ends_alike(photos, tmp_path, small_chunks, monkeypatch):
    names, folder = photos
    (folder / names[3]).write_bytes(b"broken")
    whole = _open(photos, tmp_path / "whole")
    real_append, real_write, decode = image_store._append, image_store._write_at, image_store.decode_bytes
    for step in range(0, 44, 4):
        cache = tmp_path / f"cache{step}"
        left = [step]

        def dying(real, torn, *arguments, left=left):
            left[0] -= 1
            if left[0] < 0:
                torn()
                raise Killed
            return real(*arguments)

        with monkeypatch.context() as patch:
            torn_line = lambda h, e: dying(real_append, lambda: os.write(h, b'{"first": 7, "bro'), h, e)  # noqa: E731
            half = lambda h, d, o: dying(real_write, lambda: real_write(h, d[: len(d) // 2], o), h, d, o)  # noqa: E731
            patch.setattr(image_store, "_append", torn_line)
            patch.setattr(image_store, "_write_at", half if step else lambda h, d, o: dying(real_write, lambda: None, h, d, o))
            with pytest.raises(Killed):
                _open(photos, cache)
        assert not any(path.is_dir() and path.suffix != ".partial" for path in cache.iterdir())
        decoded = []
        with monkeypatch.context() as patch:
            patch.setattr(image_store, "decode_bytes", lambda data, size, d=decoded: (d.append(1), decode(data, size))[1])
            report = DataReport()
            store = _open(photos, cache, report)
        np.testing.assert_array_equal(store.pixels, whole.pixels)
        np.testing.assert_array_equal(store.present, whole.present)
        assert report.counts() == {"image_broken": 1, "photo_uniform": ROWS - 1}
        if step > 20:  # a chunk of seven and the next, which is decoded meanwhile
            assert len(decoded) < ROWS  # finished chunks were not decoded again


_BUILD = """
import sys, time
from pathlib import Path
from mmjax.data import image_store
from mmjax.data.data_report import DataReport
image_store._CHUNK_BYTES = 8 * 8 * 3 * 3
root = Path(sys.argv[1])
names = [f"{row:03d}.png" for row in range(int(sys.argv[2]))]
def slowly(done, total):
    print(done, flush=True)
    time.sleep(0.01)
store = image_store.open_image_store(names, root / "photos", 8, root / "cache", DataReport(), progress=slowly)
"""


def test_sigkill_while_caching(photos, tmp_path):
    rng = np.random.default_rng(1)
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", _BUILD, str(tmp_path), str(ROWS)], stdout=subprocess.PIPE)
        assert child.stdout.readline()  # it is building
        time.sleep(float(rng.uniform(0, 0.08)))
        child.send_signal(signal.SIGKILL)
        child.communicate()
    _check(_open(photos, tmp_path / "cache"), [True] * ROWS)


def test_two_builders_at_once(photos, tmp_path, small_chunks):
    # Two threads hold two open files, so flock keeps them apart as it does two processes.
    gate = threading.Barrier(2)

    def build():
        gate.wait()
        return _open(photos, tmp_path / "cache")

    with ThreadPoolExecutor(2) as pool:
        stores = [pool.submit(build) for _ in range(2)]
        for store in stores:
            _check(store.result(), [True] * ROWS)


def test_pillow_reuses_the_photos_memory_and_gives_it_back(photos, tmp_path):
    before, reused = Image.core.get_blocks_max(), Image.core.get_stats()["reused_blocks"]
    _open(photos, tmp_path / "cache", workers=1)
    stats = Image.core.get_stats()
    assert stats["reused_blocks"] > reused + ROWS
    assert stats["blocks_cached"] <= before == Image.core.get_blocks_max()


def test_a_damaged_store_is_built_again(photos, tmp_path):
    folder = _open(photos, tmp_path / "cache").folder
    for damage in ("short", "key", "json"):
        if damage == "short":
            os.truncate(folder / "pixels.npy", 1000)
        else:
            values = json.loads((folder / "store.json").read_text()) | {"key": "other"}
            (folder / "store.json").write_text(json.dumps(values) if damage == "key" else "{")
        _check(_open(photos, tmp_path / "cache"), [True] * ROWS)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_full_disk_is_one_sentence_and_the_next_run_goes_on(photos, tmp_path, small_chunks, monkeypatch, code):
    real, calls = os.pwrite, []

    def full(*arguments):
        calls.append(1)
        if len(calls) > 20:
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(WorkdirError, match="cannot write"):
            _open(photos, tmp_path / "cache")
    _check(_open(photos, tmp_path / "cache"), [True] * ROWS)


def test_no_space_is_known_before_decoding(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(image_store, "_reserve", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    monkeypatch.setattr(image_store, "decode_bytes", None)
    with pytest.raises(WorkdirError, match="GiB are needed"):
        _open(photos, tmp_path / "cache")


def test_a_photo_that_changes_meanwhile_is_not_stored(photos, tmp_path, monkeypatch):
    real = image_store.read_photo
    monkeypatch.setattr(image_store, "read_photo", lambda path: real(path) + b" ")
    with pytest.raises(DataError, match="changed while"):
        _open(photos, tmp_path / "cache")


def test_a_failing_machine_is_not_a_broken_photo(photos, tmp_path, monkeypatch):
    # Broken by catching every OSError as a bad photo: the store would remember it for ever.
    def failing(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(image_store, "read_photo", failing)
    with pytest.raises(DataError, match="run the same command again"):
        _open(photos, tmp_path / "cache")


def test_no_rows_no_photos_no_folder(tmp_path):
    assert open_image_store([], tmp_path / "none", 8, tmp_path / "cache", DataReport()).pixels.shape == (0, 8, 8, 3)
    store = open_image_store(["", ""], tmp_path / "none", 8, tmp_path / "cache", DataReport())
    assert not store.present.any()
    assert not store.pixels.any()
    with pytest.raises(DataError, match="no such folder"):
        open_image_store(["", "a.jpg"], tmp_path / "none", 8, tmp_path / "cache", DataReport())


def test_strict_refuses(photos, tmp_path):
    (photos[1] / photos[0][5]).unlink()
    with pytest.raises(DataError, match=r"005\.png"):
        _open(photos, tmp_path / "cache", DataReport(strict=True))
