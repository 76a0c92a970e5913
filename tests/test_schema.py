"""Schemas: TOML round trip, and sentences that name the key or column."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmjax.datasets.locations import SCHEMAS
from mmjax.errors import SchemaError
from mmjax.schema import Schema
from tests.reading import schema_of

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)


@given(
    st.builds(schema_of, id=names, label=names, text=names, categorical=st.lists(names, max_size=4).map(tuple), image_dir=names)
)
def test_a_schema_survives_toml(schema: Schema):
    """Whatever the column names: quotes, backslashes, control characters."""
    assert Schema.from_dict(tomllib.loads(schema.dumps())) == schema


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lable": "x"}, "did you mean 'label'"),
        ({"categorical": "x"}, "categorical must be a list of strings"),
        ({"id": 3}, "id must be a string"),
        ({"image": "a", "image_pattern": "{b}.jpg"}, "not both"),
        ({"classes": ["a", "a"]}, "names a class twice"),
        ({"image_pattern": "photo.jpg"}, "must name a column in braces"),
        ({"image_pattern": "{id-1.jpg"}, "must name a column in braces"),
    ],
)
def test_bad_schemas(values: dict, message: str):
    with pytest.raises(SchemaError, match=re.escape(message)):
        Schema.from_dict(values)


@pytest.mark.parametrize(
    ("schema", "columns", "message"),
    [
        (schema_of(continuous=("Age",)), ["age", "x"], "did you mean 'age'"),
        (schema_of(categorical=("a",), continuous=("a",)), ["a"], "as input twice"),
        (schema_of(label="y", categorical=("y",)), ["y"], "a model would read its own answer"),
        (schema_of(image_pattern="{id}-1.jpg"), ["name"], "'id'"),
        (schema_of(), ["a", "a"], "'a' twice"),
        (schema_of(text="a", ignore=("a",)), ["a"], "ignores 'a' and names it as text"),
        (schema_of(id="id"), [f"c{i}" for i in range(99)], "and 69 more"),
    ],
)
def test_a_schema_that_does_not_fit(schema: Schema, columns: list[str], message: str):
    with pytest.raises(SchemaError, match=re.escape(message)):
        schema.check(columns, "rows.csv")


@pytest.mark.parametrize("text", [b"id = [", b"id = " + b"1" * 5000, b"\xff", b"a = " + b"[" * 5000])
def test_a_file_that_is_no_schema(tmp_path: Path, text: bytes):
    """A number of 5,000 digits is a plain ValueError in tomllib, deep nesting a RecursionError."""
    (tmp_path / "s.toml").write_bytes(text)
    with pytest.raises(SchemaError, match="s.toml: the schema cannot be read"):
        Schema.load(tmp_path / "s.toml")


def test_columns_named_nowhere():
    schema = schema_of(id="a", text="b", image_pattern="{c}.jpg", ignore=("d",))
    schema.check(["a", "b", "c", "e", "", ""], "rows.csv")  # an ignored column may be absent; nameless ones are no duplicates
    assert schema.unused(["a", "b", "c", "d", "e"]) == ["e"]


def test_shipped_schemas_load():
    petfinder = Schema.load(SCHEMAS / "petfinder.toml")
    assert (len(petfinder["categorical"]), len(petfinder["continuous"])) == (15, 4)  # the paper's counts
    assert Schema.load(SCHEMAS / "fashion.toml").label == "season"


def test_a_wrong_type_says_what_to_write():
    """Breaks if a person is told what is wrong and not what to write."""
    for key, write in (
        ("label", 'write label = "COLUMN"'),
        ("text", 'text = ["A", "B"] for several'),
        ("classes", '= ["A", "B"]'),
    ):
        with pytest.raises(SchemaError, match=re.escape(write)):
            Schema.from_dict({key: {"a": 1}})


def test_a_schema_that_cannot_be_read_is_no_bare_errno(tmp_path: Path):
    for path in (tmp_path, tmp_path / "none.toml", tmp_path / "x" / "none.toml"):
        with pytest.raises(SchemaError, match="name its TOML file|check the path") as caught:
            Schema.load(path)
        assert "Errno" not in str(caught.value)
