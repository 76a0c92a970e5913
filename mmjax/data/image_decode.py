"""One photo, as hostile as it may be, to size x size RGB bytes, or to a DataError that says why not."""

import io
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from mmjax.errors import DataError

Image.init()  # registers every format now, not in whichever thread comes first
with suppress(ImportError):  # an extra: pip install 'mmjax[heic]'
    import pillow_heif  # type: ignore[import-not-found]

    pillow_heif.register_heif_opener(thumbnails=False)
FORMATS = tuple(f for f in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "HEIF") if f in Image.OPEN)
"""Pixel formats only: Pillow's others include ones that start another program (EPS) or are rarely tested."""
MAX_PIXELS = 178_956_970
"""Pillow's own limit for a decompression bomb, twice a 0.25 GiB RGB image."""
MAX_BYTES = 2**29

_PHONES = {b"avif": "AVIF", b"avis": "AVIF", **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"), "HEIF")}
_FULL = tuple(2.0**bits - 1 for bits in range(8, 17))
"""Full scales of grey samples that cameras, scanners and scientific programs write."""
_LARGE_PIXELS = 2**24
_large = threading.Lock()  # a large photo takes up to 1 GiB while it is decoded: one of them at a time


def decode_photo(path: Path, size: int) -> UInt8[np.ndarray, "H W 3"]:
    """Reads the photo at `path`; see `decode_bytes`.

    Raises:
      DataError: the file is absent, cannot be read, or is no usable photo.
    """
    try:
        data = read_photo(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the file.") from error
    with quiet():
        try:
            return decode_bytes(data, size)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def read_photo(path: Path) -> bytes:
    """The bytes of a regular file of at most `MAX_BYTES`.

    Raises:
      DataError: no file, no regular file, too large, or not permitted; the same every time it is read.
      OSError: the machine could not read it this time.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{path}: is not a regular file; name a photo.")
        if status.st_size > MAX_BYTES:
            raise DataError(f"{path}: has {status.st_size} bytes, more than the {MAX_BYTES} a photo may have; shrink it.")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: there is no such file; add it or empty the cell.") from error
    except PermissionError as error:
        raise DataError(f"{path}: may not be read (permission denied); change its mode.") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hides Pillow's warnings about odd files. Process-wide, so threads that decode need one `quiet` around them all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def reusing_memory(threads: int) -> Iterator[None]:
    """Lets Pillow keep the pixels of two photos a thread for the next ones, or what PILLOW_BLOCKS_MAX says.

    Given back each time, their pages are zeroed by the kernel again: a good part of the time at 512 px.
    """
    before = Image.core.get_blocks_max()
    Image.core.set_blocks_max(max(before, 2 * threads))
    try:
        yield
    finally:
        Image.core.set_blocks_max(before)


def decode_bytes(data: bytes, size: int) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes by content, turns by EXIF, makes RGB, lays transparency over white, and resizes without keeping the aspect.

    Of an animation the first frame counts. Grey samples of more bits, or floats, are scaled to 8 bits.

    Args:
      data: the file's bytes; whatever they are, no other exception than DataError comes out.
      size: H = W of the result.

    Raises:
      DataError: empty, not an image, truncated, damaged, or a decompression bomb.
    """
    if not data:
        raise DataError("is empty; replace it.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as photo:
            width, height = photo.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if width * height > _LARGE_PIXELS:
                with _large:
                    return _finish(photo, size)
            return _finish(photo, size)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"has more than {MAX_PIXELS} pixels (a decompression bomb?); shrink it.") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(_unknown(data)) from error
    except MemoryError as error:
        raise DataError("needs more memory than there is to decode; shrink it.") from error
    except Exception as error:  # Pillow's decoders raise nearly every class there is on damaged files
        raise DataError(f"{_reason(error)}; replace it.") from error


def thumbnail(path: Path, side: int) -> bytes:
    """A small JPEG of a photo for people, its longer side `side` pixels, without what the file says besides pixels.

    Raises:
      DataError: the file is no usable photo, or cannot be read.
    """
    try:
        data = read_photo(path)
        with quiet(), Image.open(io.BytesIO(data), formats=FORMATS) as photo:
            if photo.width * photo.height > _LARGE_PIXELS:
                raise DataError(f"{path}: has more than {_LARGE_PIXELS} pixels, too many for a small picture of it.")
            photo.draft("RGB", (2 * side, 2 * side))
            photo.load()
            image = _plain_mode(_upright(photo))
            image.thumbnail((side, side))
            out = io.BytesIO()
            _over_white(image).convert("RGB").save(out, "JPEG", quality=80)
            return out.getvalue()
    except DataError:
        raise
    except Exception as error:  # as in `decode_bytes`
        raise DataError(f"{path}: {_reason(error)}; replace it.") from error


def _unknown(data: bytes) -> str:
    """What to do about bytes that no decoder here takes."""
    kind = _PHONES.get(data[8:12], "") if data[4:8] == b"ftyp" else ""
    if not kind:
        return "is not an image in a known format; replace it."
    if kind in FORMATS:
        return f"is damaged ({kind} without its pictures); replace it."
    return f"is a phone's photo ({kind}), which needs another package: pip install 'mmjax[heic]', or save it as JPEG."


def _reason(error: Exception) -> str:
    said = str(error).replace("\n", " ")[:120] or type(error).__name__
    cut = isinstance(error, EOFError) or any(word in said.lower() for word in ("truncated", "incomplete", "end of file"))
    return f"is truncated ({said})" if cut else f"is damaged ({said})"


def _finish(photo: Image.Image, size: int) -> UInt8[np.ndarray, "H W 3"]:
    if photo.format in ("JPEG", "MPO"):
        # libjpeg then decodes at 1/2, 1/4 or 1/8; twice the size leaves the filter something to average.
        photo.draft(None, (2 * size, 2 * size))
    photo.load()
    image = _plain_mode(_upright(photo))
    image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.array(_over_white(image).convert("RGB"), np.uint8)


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)


def _upright(photo: Image.Image) -> Image.Image:
    try:
        if photo.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return photo  # `exif_transpose` would copy it
        return ImageOps.exif_transpose(photo)
    except MemoryError:
        raise
    except Exception:  # a damaged EXIF block does not damage the pixels
        return photo


def _plain_mode(image: Image.Image) -> Image.Image:
    """The image in mode L, RGB or RGBA."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey samples of other types (modes I;16, I, F), scaled by the picture's own range.

    White is the smallest full scale that holds the largest sample: 12-bit cameras write 0-4095 into 16 bits, and floats may
    pass 1 a little. Where none does, or samples are negative or tiny, white is the largest sample and black the smallest.
    """
    values_HxW = np.asarray(image, np.float64)
    values_HxW = np.where(np.isfinite(values_HxW), values_HxW, 0.0)
    low, high = float(values_HxW.min()), float(values_HxW.max())
    scales, slack = ((1.0, *_FULL), 1.05) if image.mode == "F" else (_FULL, 1.0)
    full = next((scale for scale in scales if high <= scale * slack), 0.0)
    if full and low >= 0 and high >= full / 64:
        low, high = 0.0, full
    half_span = high / 2 - low / 2 or 1.0  # halves: the span of huge values would overflow
    share_HxW = (values_HxW / 2 - low / 2) / half_span
    return Image.fromarray(np.clip(np.rint(share_HxW * 255), 0, 255).astype(np.uint8))
