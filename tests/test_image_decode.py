"""Every photo is read for what it is, or refused with a reason."""

import os

import numpy as np
import pytest
from fuzz_image import encoded, fuzz_image, mutants, seed_files
from PIL import Image

from mmjax.data import image_decode
from mmjax.data.image_decode import decode_bytes, decode_photo
from mmjax.errors import DataError
from tests.killing import record

RED, WHITE = (255, 0, 0), (255, 255, 255)


def _half_red(size=(40, 40), mode="RGB"):
    """Left half red, right half white."""
    image = Image.new("RGB", size, WHITE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image.convert(mode)


def _close(pixel, colour, tolerance=12):
    return np.abs(np.asarray(pixel, int) - colour).max() <= tolerance


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", {"quality": 95}),
        ("CMYK", "JPEG", {"quality": 95}),
        ("P", "PNG", {}),
        ("P", "GIF", {}),
        ("RGBA", "PNG", {}),
        ("RGB", "BMP", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("CMYK", "TIFF", {}),
    ],
)
def test_colours_survive(mode, kind, options):
    pixels = decode_bytes(encoded(_half_red(mode=mode), kind, **options), 10)
    assert pixels.shape == (10, 10, 3)
    assert pixels.dtype == np.uint8
    assert _close(pixels[5, 1], RED)
    assert _close(pixels[5, 8], WHITE)


def test_sixteen_bits_are_scaled_not_cut():
    # Broken by a plain convert("L"), which cuts every value above 255 to white.
    ramp = np.repeat(np.linspace(0, 65535, 8).astype(np.uint16)[None], 8, axis=0)
    for kind in ("PNG", "TIFF"):
        pixels = decode_bytes(encoded(Image.fromarray(ramp), kind), 8)
        np.testing.assert_allclose(pixels[0, :, 0], np.linspace(0, 255, 8), atol=1)
    ppm = b"P5 2 1 65535\n" + np.array([0, 32768], ">u2").tobytes()
    assert np.abs(decode_bytes(ppm, 2)[0, :, 0].astype(int) - [0, 128]).max() <= 40  # two pixels, blended by the filter


def test_float_samples():
    values = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32).repeat(4, 0).repeat(4, 1)
    pixels = decode_bytes(encoded(Image.fromarray(values), "TIFF"), 8)
    assert (pixels[0, 0, 0], pixels[0, 7, 0], pixels[7, 0, 0], pixels[7, 7, 0]) == (0, 128, 255, 0)


def test_alpha_lies_on_white():
    clear = Image.new("RGBA", (8, 8), (0, 0, 255, 0))
    assert (decode_bytes(encoded(clear, "PNG"), 4) == 255).all()
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([0, 0, 0] * 16)
    assert (decode_bytes(encoded(palette, "PNG", transparency=3), 4) == 255).all()
    grey = Image.new("LA", (8, 8), (0, 128))
    assert _close(decode_bytes(encoded(grey, "PNG"), 4)[0, 0], (127, 127, 127), 1)


def test_exif_turns_the_photo():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored left side is the top
    pixels = decode_bytes(encoded(_half_red(), "JPEG", exif=exif, quality=95), 10)
    assert _close(pixels[1, 5], RED)
    assert _close(pixels[8, 5], WHITE)


def test_broken_exif_does_not_break_the_photo():
    data = encoded(_half_red(), "JPEG", exif=b"Exif\x00\x00" + b"\xff" * 40)
    assert _close(decode_bytes(data, 10)[5, 1], RED)


def test_first_frame_of_an_animation():
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (0, 0, 255))
    for kind in ("GIF", "WEBP"):
        assert _close(decode_bytes(encoded(first, kind, save_all=True, append_images=[second]), 4)[2, 2], RED, 20)


@pytest.mark.parametrize("size", [(1, 1), (10_000, 2), (2, 10_000)])
def test_odd_sizes(size):
    assert decode_bytes(encoded(Image.new("RGB", size, RED), "JPEG"), 16).shape == (16, 16, 3)


def test_large_jpeg_looks_as_if_decoded_whole():
    # Broken by a draft mode below the asked size.
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8))
    large = small.resize((1024, 1024), Image.Resampling.BICUBIC)
    direct = np.asarray(large.resize((16, 16), Image.Resampling.BILINEAR), int)
    assert np.abs(decode_bytes(encoded(large, "JPEG", quality=95), 16) - direct).mean() < 6


def test_content_decides_not_the_extension(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(_half_red(), "PNG"))
    assert _close(decode_photo(path, 10)[5, 1], RED, 0)


def test_bomb(monkeypatch):
    bomb = bytearray(encoded(Image.new("L", (8, 8)), "BMP"))
    bomb[18:26] = (100_000).to_bytes(4, "little") * 2
    with pytest.raises(DataError, match="decompression bomb"):
        decode_bytes(bytes(bomb), 4)
    bomb[18:26] = (12_000).to_bytes(4, "little") * 2  # where Pillow only warns: the warning must not leak
    with pytest.raises(DataError, match="truncated|damaged"):
        decode_bytes(bytes(bomb), 4)
    monkeypatch.setattr(image_decode, "MAX_PIXELS", 63)
    with pytest.raises(DataError, match="63 pixels"):
        decode_bytes(encoded(Image.new("L", (8, 8)), "PNG"), 4)


@pytest.mark.parametrize("number", range(len(seed_files())))
def test_truncated(number):
    data = seed_files()[number]
    with pytest.raises(DataError, match="truncated|damaged|not an image"):
        decode_bytes(data[: len(data) // 2], 8)


def test_truncated_jpeg_says_so():
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)), "JPEG")
    with pytest.raises(DataError, match="is truncated"):
        decode_bytes(data[: len(data) // 2], 8)


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>", b"\x80\x04cos\nsystem\n", b"hello"]
)
def test_not_an_image(data):
    # EPS is among them: Pillow would start another program for it.
    with pytest.raises(DataError, match="not an image"):
        decode_bytes(data, 8)


def test_unreadable_files(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, why in (("empty.jpg", "empty"), ("none.jpg", "no such file"), ("pipe.jpg", "regular"), (".", "regular")):
        with pytest.raises(DataError, match=why) as caught:
            decode_photo(tmp_path / name, 8)
        assert str(tmp_path) in str(caught.value)
    with (tmp_path / "huge.jpg").open("wb") as huge:
        huge.truncate(image_decode.MAX_BYTES + 1)
    with pytest.raises(DataError, match="shrink"):
        decode_photo(tmp_path / "huge.jpg", 8)


def test_seeds_decode():
    assert all(fuzz_image(data) for data in seed_files())


def test_mutated_files():
    decoded = sum(fuzz_image(data) for data in mutants(150, seed=1))
    assert 0 < decoded < 150


@pytest.mark.faults
def test_ten_thousand_mutated_files():
    decoded = sum(fuzz_image(data) for data in mutants(10_000, seed=2))
    record("mutated photos", files=10_000, decoded=decoded, refused=10_000 - decoded)
    assert 0 < decoded < 10_000


def test_no_thread_state_is_left():
    # Broken by a lock that an error leaves held: the second large photo would wait for ever.
    large = bytearray(encoded(Image.new("L", (8, 8)), "BMP"))
    large[18:26] = (8_000).to_bytes(4, "little") * 2
    for _ in range(2):
        with pytest.raises(DataError):
            decode_bytes(bytes(large), 4)
    assert not image_decode._large.locked()


def _grey(values: np.ndarray, kind: str = "TIFF") -> np.ndarray:
    return decode_bytes(encoded(Image.fromarray(values), kind), 64)[..., 0]


@pytest.mark.parametrize("scale", [1, 2, 4, 16, 64, 257])
def test_grey_samples_are_scaled_by_their_own_range(scale):
    # Broken by one divisor for all: a 12-bit picture came out black.
    ramp = np.tile(np.arange(256), (64, 1))
    eight = _grey(ramp.astype(np.uint8), "PNG").astype(int)
    kinds = [(ramp * scale).astype(np.uint16), (ramp * scale).astype(np.int32), (ramp * scale).astype(np.float32)]
    over = (ramp / 255).astype(np.float32)
    over[0, -1] = 1.04
    for values in (*kinds, (ramp / 255).astype(np.float32), over):
        assert np.abs(_grey(values) - eight).max() <= 7


def test_odd_grey_ranges_keep_their_contrast():
    ramp = np.tile(np.arange(256), (64, 1))
    for values in (ramp * 31.0, ramp * 1e6, ramp / 1e6, ramp - 128.0, (ramp - 300.0) * 1e30, ramp / 255 * 1.5):
        pixels = _grey(values.astype(np.float32))
        assert int(pixels.max()) - int(pixels.min()) > 100
        assert (np.diff(pixels[0].astype(int)) >= 0).all()
    for flat in (0.0, 1.0, -5.0, 3e38):
        assert len(np.unique(_grey(np.full((9, 9), flat, np.float32)))) == 1


def test_phones_formats_are_read_or_named(monkeypatch):
    # Broken by "not an image" for a photo that opens everywhere else.
    if "AVIF" in image_decode.FORMATS:
        assert _close(decode_bytes(encoded(_half_red(), "AVIF"), 10)[5, 1], RED)
    monkeypatch.setattr(image_decode, "FORMATS", ("PNG",))
    for brand, named in ((b"heic", r"photo \(HEIF\)"), (b"mif1", r"photo \(HEIF\)"), (b"avif", r"photo \(AVIF\)")):
        with pytest.raises(DataError, match=named):
            decode_bytes(b"\0\0\0\x18ftyp" + brand + b"\0" * 40, 8)
    with pytest.raises(DataError, match="not an image in a known format"):
        decode_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 40, 8)
