"""Photos are found as another system names them, never outside their folder, and a refusal names its reason."""

import unicodedata
from pathlib import Path

import pytest
from fuzz_image import encoded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmjax.data.data_report import DataReport
from mmjax.data.image_files import find_photos
from mmjax.data.image_store import open_image_store
from mmjax.errors import DataError

PNG = encoded(Image.linear_gradient("L").resize((8, 8)), "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "ph"
    (root / "sub").mkdir(parents=True)
    for name in (
        "sub/p.jpg",
        "UPPER.JPG",
        "a\\b.jpg",
        unicodedata.normalize("NFD", "é/").rstrip("/") + ".jpg",
        "one.jpg",
        "One.jpg",
    ):
        (root / name).write_bytes(PNG)
    (tmp_path / "outside.jpg").write_bytes(PNG)
    (root / "link").symlink_to(tmp_path)
    return root


def _found(name: str, root: Path) -> bool:
    return find_photos([name], root, 1, DataReport())[0].digest != ""


def test_other_systems_names_are_found(folder: Path):
    """Breaks if a backslash, a drive, the folder's own absolute path, composed accents or upper case hide a photo."""
    absolute = [f"{folder}/sub/p.jpg", r"C:\Users\me\ph\sub\p.jpg", "/home/me/ph/sub/p.jpg", f"{folder}/./sub/p.jpg"]
    for name in (r"sub\p.jpg", r".\sub\p.jpg", "/sub/p.jpg", "é.jpg", "upper.jpg", "SUB/P.JPG", "a\\b.jpg", *absolute):
        assert _found(name, folder), name


def test_what_is_ambiguous_or_outside_is_not_found(folder: Path):
    """Of one.jpg and One.jpg neither is ONE.JPG; a link, a drive or dots never lead out."""
    outside = [r"..\outside.jpg", r"C:\outside.jpg", f"{folder.parent}/outside.jpg", "LINK/outside.jpg", "/x/ph/../outside.jpg"]
    for name in ("ONE.JPG", "link/OUTSIDE.jpg", "\\\\host\\share\\outside.jpg", "/x/ph/../../outside.jpg", *outside):
        assert not _found(name, folder), name
    assert _found("one.jpg", folder)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.lists(
        st.sampled_from(["ph", "..", ".", "/", "\\", "C:", "sub", "p.jpg", "outside.jpg", "link", "LINK", "é", "//"]),
        max_size=8,
    )
)
def test_no_spelling_leaves_the_folder(folder: Path, parts: list[str]):
    """Whatever the path: a photo inside, or none, and no error but ours."""
    for name in ("".join(parts), "/".join(parts), "\\".join(parts)):
        photo = find_photos([name], folder, 1, DataReport())[0]
        assert not photo.digest or photo.path.resolve().is_relative_to(folder.resolve())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("https://host/a.jpg", "remote addresses are never fetched"),
        ("/elsewhere/a.jpg", "leaves the image folder"),
        ("link/outside.jpg", "a link leads out"),
        ("a.jpg;b.jpg", "name several, separated by ';'"),
        ("gone.jpg", "there is no such file"),
        ("broken.jpg", "is truncated"),
    ],
)
def test_a_refusal_names_the_first_reason(folder: Path, tmp_path: Path, name: str, why: str):
    """Breaks if every cause reads 'was found there; set config.data.images'."""
    (folder / "broken.jpg").write_bytes(encoded(Image.new("RGB", (64, 64), (9, 9, 200)), "JPEG")[:400])
    with pytest.raises(DataError) as caught:
        open_image_store(["", name, "never"], folder, 8, tmp_path / "cache", DataReport(), column="photo", required=True)
    assert name in str(caught.value)
    assert why in str(caught.value)


def test_pictures_of_one_shade_are_counted_in_every_run(folder: Path, tmp_path: Path):
    """Also where the store is found finished; breaks if one colour of a gradient, or a broken photo, counts."""
    (folder / "black.png").write_bytes(encoded(Image.new("RGB", (9, 9), (200, 3, 3)), "PNG"))
    for _ in range(2):
        report = DataReport()
        store = open_image_store(["black.png", "one.jpg", ""], folder, 8, tmp_path / "cache", report, column="photo")
        assert (report.counts(), store.present.tolist()) == ({"photo_uniform": 1}, [True, True, False])
        assert report.entries("photo_uniform")[0]["row"] == 1
