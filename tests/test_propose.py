"""Proposed schemas: the role each column's values speak for, and a reason for each."""

from pathlib import Path

import pytest

from mmjax.data.dataset import SCHEMAS
from mmjax.data.propose import propose_schema
from mmjax.data.report import DataReport
from mmjax.data.table import read_table
from mmjax.errors import DataError, SchemaError
from mmjax.schema import Schema


def proposed(tmp_path: Path, **columns: list) -> tuple[Schema, dict[str, tuple[str, str]]]:
    rows = zip(*columns.values(), strict=True)
    (tmp_path / "rows.csv").write_text("\n".join(",".join(map(str, row)) for row in [tuple(columns), *rows]) + "\n")
    schema, found = propose_schema(tmp_path / "rows.csv", label="y")
    return schema, {name: (role, why) for name, role, why in found}


@pytest.mark.real
def test_proposed_schemas_on_real_tables(data_root: Path):
    """PetFinder's is the paper's reading, found from the values alone."""
    schema, _ = propose_schema(data_root / "petfinder" / "train.csv", label="AdoptionSpeed")
    shipped = Schema.load(SCHEMAS / "petfinder.toml")
    assert set(schema.categorical) == set(shipped.categorical)
    assert set(schema.continuous) == set(shipped.continuous)
    assert (schema.id, schema.group, schema.text) == ("PetID", "RescuerID", "Description")
    schema, _ = propose_schema(data_root / "fashion" / "products.csv", label="season")
    assert (schema.image, schema.text, schema.continuous) == ("image", "productDisplayName", ("year",))


def test_propose_says_why_and_names_a_missing_label(tmp_path: Path):
    rows = "\n".join(f"k{i},{i % 3},{i * 1.5},same,p/{i}.jpg,{'some words here ' * 3}{i},{'ab'[i % 2]}" for i in range(500))
    (tmp_path / "rows.csv").write_text(f"key,kind,size,unit,photo,note,y\n{rows}\n")
    schema, found = propose_schema(tmp_path / "rows.csv", label="y")
    assert schema == Schema("key", "y", "", ("kind",), ("size",), "note", "photo", ignore=("unit",))
    assert all(why for _, _, why in found)
    with pytest.raises(SchemaError, match="no column 'z'"):
        propose_schema(tmp_path / "rows.csv", label="z")


def test_the_proposal_reads_its_own_table(tmp_path: Path):
    """Strict: no column is unaccounted for, a constant one included."""
    columns = {"k": [f"k{i}" for i in range(60)], "n": [i / 2 for i in range(60)], "same": ["x"] * 60, "y": list("ab") * 30}
    schema, _ = proposed(tmp_path, **columns)
    table = read_table(tmp_path / "rows.csv", schema, text_length=4, report=DataReport(strict=True))
    assert len(table) == 60


def test_numbers_with_a_few_words_among_them(tmp_path: Path):
    """One cell in a hundred that is no number does not make a column of words, and is told."""
    size = [f"{i % 90}.5" for i in range(300)]
    size[7] = "unknown"
    schema, found = proposed(tmp_path, k=[f"k{i}" for i in range(300)], size=size, y=list("ab") * 150)
    assert schema.continuous == ("size",)
    assert "1 values are no numbers" in found["size"][1]


def test_a_column_that_gives_the_label_away_is_pointed_out(tmp_path: Path):
    label = list("ab") * 150
    honest = [f"h{i % 7}" for i in range(300)]
    _, found = proposed(
        tmp_path, k=[f"k{i}" for i in range(300)], leak=[{"a": "p", "b": "q"}[v] for v in label], c=honest, y=label
    )
    assert "gives the label away" in found["leak"][1]
    assert "gives the label away" not in found["c"][1]


def test_names_that_come_again_are_a_group(tmp_path: Path):
    seller = [f"seller{i % 450}" for i in range(900)]
    schema, _ = proposed(tmp_path, k=[f"k{i}" for i in range(900)], seller=seller, y=list("ab") * 450)
    assert schema.group == "seller"


def test_a_table_without_rows_says_nothing(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="no rows to look at"):
        propose_schema(tmp_path / "rows.csv")
