"""Fuzz target of the photo reader: whatever the bytes, pixels or DataError, and nothing else.

`fuzz_image(data)` is what a coverage-guided fuzzer calls; `mutants` makes a seeded stream of damaged files without one.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from mmjax.data.image_decode import FORMATS, decode_bytes, quiet
from mmjax.errors import DataError


def fuzz_image(data: bytes) -> bool:
    """True if the bytes decoded."""
    try:
        with quiet():
            pixels = decode_bytes(data, 8)
    except DataError as error:
        assert str(error).count("\n") == 0
        return False
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    return True


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def seed_files() -> list[bytes]:
    """One valid file of each kind the reader takes."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    rgb = Image.fromarray(pixels)
    grey16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(rgb, "JPEG", exif=exif),
        encoded(rgb, "JPEG", progressive=True),
        encoded(rgb.convert("CMYK"), "JPEG"),
        encoded(rgb, "PNG"),
        encoded(rgb.convert("RGBA"), "PNG"),
        encoded(rgb.quantize(16), "PNG", transparency=3),
        encoded(grey16, "PNG"),
        encoded(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)]),
        encoded(rgb, "WEBP"),
        encoded(rgb, "BMP"),
        encoded(rgb, "TIFF"),
        encoded(grey16, "TIFF"),
        encoded(rgb, "PPM"),
        *([encoded(rgb, "AVIF")] if "AVIF" in FORMATS else []),
    ]


def mutants(count: int, seed: int) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    files = seed_files()
    for _ in range(count):
        data = bytearray(files[rng.integers(len(files))])
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(len(data) + 1))
            kind = rng.integers(6)
            if kind == 0:
                del data[at:]
            elif kind == 1:
                data[at : at + 1] = bytes([rng.integers(256)])
            elif kind == 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            elif kind == 3:
                del data[at : at + int(rng.integers(1, 9))]
            elif kind == 4:  # headers lie near the start
                near = int(rng.integers(min(len(data), 64) + 1))
                data[near : near + 4] = bytes([(0, 255, 127, 128)[rng.integers(4)]]) * 4
            else:
                other = files[rng.integers(len(files))]
                data[at:] = other[at:]
        yield bytes(data)
