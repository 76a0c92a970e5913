"""Schemas: TOML round trip, and sentences that name the key or column."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmjax.data.dataset import SCHEMAS
from mmjax.errors import SchemaError
from mmjax.schema import Schema

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)


@given(
    st.builds(Schema, id=names, label=names, text=names, categorical=st.lists(names, max_size=4).map(tuple), image_dir=names)
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
    ],
)
def test_bad_schemas(values: dict, message: str):
    with pytest.raises(SchemaError, match=re.escape(message)):
        Schema.from_dict(values)


@pytest.mark.parametrize(
    ("schema", "columns", "message"),
    [
        (Schema(continuous=("Age",)), ["age", "x"], "did you mean 'age'"),
        (Schema(categorical=("a",), continuous=("a",)), ["a"], "as input twice"),
        (Schema(label="y", categorical=("y",)), ["y"], "a model would read its own answer"),
        (Schema(image_pattern="{id}-1.jpg"), ["name"], "'id'"),
        (Schema(), ["a", "a"], "'a' twice"),
    ],
)
def test_a_schema_that_does_not_fit(schema: Schema, columns: list[str], message: str):
    with pytest.raises(SchemaError, match=re.escape(message)):
        schema.check(columns, "rows.csv")


def test_shipped_schemas_load():
    petfinder = Schema.load(SCHEMAS / "petfinder.toml")
    assert (len(petfinder.categorical), len(petfinder.continuous)) == (15, 4)  # the paper's counts
    assert Schema.load(SCHEMAS / "fashion.toml").label == "season"
