"""Photos decoded once: an on-disk uint8 array, keyed by content and size, that a later run finds and maps.

Layout of `<cache>/images-<size>-<key>/`: `pixels.npy` (N x S x S x 3) and `store.json` (the whole key and the rows whose
photo could not be decoded or is nearly one shade). While it is built the folder is called `.partial`; its `journal.jsonl`
names the chunks whose pixels have reached the disk, so a killed build goes on where it was; the rename at the end is the only
way to the final name.
"""

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8, UInt64

from mmjax.data.data_report import DataReport
from mmjax.data.image_decode import decode_bytes, quiet, read_photo, reusing_memory
from mmjax.data.image_files import PhotoFile, find_photos, require_one
from mmjax.errors import DataError
from mmjax.io.atomic import folder_lock, sync_folder, write_error, write_text

VERSION = 2
"""Part of the key: raise it when the same photo decodes to other pixels."""
_CHUNK_BYTES = 2**25
_UNIFORM, _LEAST_RANGE = "uniform", 16
"""Stands for a reason: the photo was decoded, but in each colour its brightest and darkest value are nearly the same."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageStore:
    """Decoded photos in row order.

    Attributes:
      pixels: uint8 N x S x S x 3, read-only memory map; zeros where the photo is absent.
      present: bool N.
      folder: where it lies.
      digest_N: the first 64 bits of each file's SHA-256, 0 without one; None: not known.
    """

    pixels: UInt8[np.ndarray, "N S S 3"]
    present: Bool[np.ndarray, " N"]
    folder: Path
    digest_N: UInt64[np.ndarray, " N"] | None = None

    @property
    def size(self) -> int:
        """S, the side of a photo in pixels."""
        return self.pixels.shape[1]


def open_image_store(
    names: Sequence[str],
    image_dir: Path,
    size: int,
    cache_dir: Path,
    report: DataReport,
    *,
    column: str = "",
    required: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ImageStore:
    """Finds or builds the store of these photos.

    Args:
      names: one path a row, relative to `image_dir`; '' for a row without a photo.
      image_dir: folder no path may leave.
      size: S in pixels.
      cache_dir: folder of the stores; made if absent.
      report: told of every photo that is missing ('image_missing'), outside the folder ('image_path') or
        undecodable ('image_broken'), whose row stays without it, and of those of nearly one shade ('photo_uniform').
      column: the names are from, for the report.
      required: at least one row must have a photo.
      workers: threads; None: one a usable core.
      progress: called with (rows done, N) while building.

    Raises:
      DataError: `image_dir` is no folder, a photo changed while it was read, no row has one though one is required, or the
        report is strict.
      WorkdirError: the disk is full or `cache_dir` cannot be written.
    """
    workers = workers or min(len(os.sched_getaffinity(0)), 32)
    photos = find_photos(names, Path(image_dir), workers, report, column)
    if required:  # before an array of zeros is written
        reasons = [photo.problem[1] if photo.problem else "" for photo in photos]
        require_one((photo.digest != "" for photo in photos), names, image_dir, column, "was found there", reasons)
    key = _key(photos, size)
    folder = Path(cache_dir) / f"images-{size}-{key[:16]}"
    # Whole stores never change, so a finished one needs no lock.
    broken = _broken_of(folder, key, len(photos), size)
    if broken is None:
        with folder_lock(folder.with_name(folder.name + ".lock")):
            broken = _broken_of(folder, key, len(photos), size)
            if broken is None:
                try:
                    broken = _build(folder, key, photos, size, workers=workers, progress=progress)
                except OSError as error:
                    raise write_error(folder, error, needed=len(photos) * size * size * 3) from error
    present_N, reason_of = np.array([photo.digest != "" for photo in photos], bool), dict(broken)
    for row, reason in broken:
        place = {"file": photos[row].name, "row": row, "column": column or None, "value": photos[row].name}
        if reason == _UNIFORM:
            report.add("photo_uniform", **place, action="kept, though nearly one shade: it says little", refuse=False)
            continue
        report.add("image_broken", **place, action=f"photo treated as absent: it {reason}")
        present_N[row] = False
    if required:
        require_one(present_N, names, image_dir, column, "can be read", [reason_of.get(i, "") for i in range(len(names))])
    digest_N = np.array([int(photo.digest[:16] or "0", 16) for photo in photos], np.uint64)
    return ImageStore(_map(folder / "pixels.npy", len(photos), size), present_N, folder, digest_N)


def _key(photos: Sequence[PhotoFile], size: int) -> str:
    whole = hashlib.sha256(f"mmjax image store {VERSION} {size} {len(photos)}".encode())
    for photo in photos:
        name = photo.name.encode("utf-8", "surrogatepass")
        whole.update(b"%d:%b%b" % (len(name), name, (photo.digest or "absent").encode()))
    return whole.hexdigest()


def _header(rows: int, size: int) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size, 3)})
    return out.getvalue()


def _map(path: Path, rows: int, size: int) -> UInt8[np.ndarray, "N S S 3"]:
    if rows == 0:  # an empty file cannot be mapped
        return np.zeros((0, size, size, 3), np.uint8)
    return np.memmap(path, np.uint8, "r", offset=len(_header(rows, size)), shape=(rows, size, size, 3))


def _broken_of(folder: Path, key: str, rows: int, size: int) -> list[tuple[int, str]] | None:
    """The undecodable and uniform rows of a finished store, or None where there is none to use."""
    try:
        stored = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        whole = (folder / "pixels.npy").stat().st_size == len(_header(rows, size)) + rows * size * size * 3
        if whole and stored["key"] == key:
            return [(int(row), str(reason)) for row, reason in stored["broken"] if 0 <= int(row) < rows]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _build(
    folder: Path, key: str, photos: Sequence[PhotoFile], size: int, *, workers: int, progress: Progress | None
) -> list[tuple[int, str]]:
    """Builds the store, or finishes it, and gives its undecodable and uniform rows."""
    if folder.exists():  # someone damaged it: it is not whole, so nobody can be using it
        shutil.rmtree(folder)
    building = folder.with_name(folder.name + ".partial")
    building.mkdir(parents=True, exist_ok=True)
    chunk = max(1, min(256, _CHUNK_BYTES // (size * size * 3)))
    head = {"key": key, "chunk": chunk}
    done = _read_journal(building / "journal.jsonl", head)
    header = _header(len(photos), size)
    pixels = os.open(building / "pixels.npy", os.O_RDWR | os.O_CREAT, 0o644)
    journal = os.open(building / "journal.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def store(row: int) -> str:
        """Brings a row's pixels to the file, whose rows are zeros until then; the reason if it has none."""
        image, reason = _decode(photos[row], size)
        if image is not None:  # pwrite, not a map: a full disk is then an error instead of a bus error
            _write_at(pixels, image.data.cast("B"), len(header) + row * image.nbytes)
        return reason

    try:
        if not done:
            os.ftruncate(pixels, 0)
            _reserve(pixels, len(header) + len(photos) * size * size * 3)
            _write_at(pixels, header, 0)
            _append(journal, head)
        left = (range(at, min(at + chunk, len(photos))) for at in range(0, len(photos), chunk) if at not in done)
        with quiet(), reusing_memory(workers), ThreadPoolExecutor(workers) as pool:
            begun = ((rows, [pool.submit(store, row) for row in rows]) for rows in left)
            try:
                for (rows, stored), _ in pairwise(chain(begun, [(range(0), [])])):  # the next chunk has begun by then
                    reasons = [future.result() for future in stored]
                    os.fsync(pixels)  # the journal must never name pixels that are not on the disk
                    done[rows.start] = [(row, reason) for row, reason in zip(rows, reasons, strict=True) if reason]
                    _append(journal, {"first": rows.start, "broken": done[rows.start]})
                    if progress is not None:
                        progress(rows.stop, len(photos))
            finally:  # after an error or Ctrl-C nothing more is decoded
                pool.shutdown(cancel_futures=True)
        os.fsync(pixels)
    finally:
        os.close(pixels)
        os.close(journal)
    broken = [entry for _, part in sorted(done.items()) for entry in part]
    write_text(building / "store.json", json.dumps({"key": key, "broken": broken}))
    building.rename(folder)
    sync_folder(folder.parent)
    (folder / "journal.jsonl").unlink(missing_ok=True)
    return broken


def _decode(photo: PhotoFile, size: int) -> tuple[np.ndarray | None, str]:
    """Pixels and '' or `_UNIFORM`, or None and the reason; absent photos have no reason here."""
    if not photo.digest:
        return None, ""
    try:
        data = read_photo(photo.path)
    except OSError as error:  # the machine's fault, not the photo's: it must not be stored as broken
        raise DataError(f"{photo.path}: cannot be read now ({error.strerror or error}); run the same command again.") from error
    if hashlib.sha256(data).hexdigest() != photo.digest:
        raise DataError(f"{photo.path}: changed while the photos were being read; run the same command again.")
    try:
        image = decode_bytes(data, size)
    except DataError as error:
        return None, str(error)
    return image, _UNIFORM if np.ptp(image, axis=(0, 1)).max() < _LEAST_RANGE else ""


def _read_journal(path: Path, head: dict[str, Any]) -> dict[int, list[tuple[int, str]]]:
    """Finished chunks by first row. A torn last line is cut off; a journal of another layout counts as none."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    done: dict[int, list[tuple[int, str]]] = {}
    good = 0
    for number, line in enumerate(raw.splitlines(keepends=True)):
        try:
            entry = json.loads(line) if line.endswith(b"\n") else {}
            if number == 0 and entry != head:
                break
            if number > 0:
                done[int(entry["first"])] = [(int(row), str(reason)) for row, reason in entry["broken"]]
        except (ValueError, KeyError, TypeError):
            break
        good += len(line)
    os.truncate(path, good if done else 0)
    return done


def _append(handle: int, entry: dict[str, Any]) -> None:
    os.write(handle, json.dumps(entry).encode() + b"\n")
    os.fsync(handle)


def _reserve(handle: int, size: int) -> None:
    """Takes the space now, so that a disk too small is known before an hour of decoding."""
    free = os.fstatvfs(handle)
    if free.f_bavail * free.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # the file system cannot reserve
            raise
        os.ftruncate(handle, size)


def _write_at(handle: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written
