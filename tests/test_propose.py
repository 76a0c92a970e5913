"""Proposed schemas: the role each column's values speak for, and a reason for each."""

from pathlib import Path

import pytest

from mmjax.data.data_report import DataReport
from mmjax.datasets.infer_schema import propose_schema
from mmjax.datasets.locations import SCHEMAS
from mmjax.errors import DataError, SchemaError
from mmjax.schema import Schema
from tests.reading import read_file, schema_of


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
    assert set(schema["categorical"]) == set(shipped["categorical"])
    assert set(schema["continuous"]) == set(shipped["continuous"])
    assert (schema.id, schema.group, schema["text"]) == ("PetID", "RescuerID", ("Description",))
    schema, _ = propose_schema(data_root / "fashion" / "products.csv", label="season")
    assert (schema["image"], schema["text"], schema["continuous"]) == (("image",), ("productDisplayName",), ("year",))


def test_propose_says_why_and_names_a_missing_label(tmp_path: Path):
    rows = "\n".join(f"k{i},{i % 3},{i * 1.5},same,p/{i}.jpg,{'some words here ' * 3}{i},{'ab'[i % 2]}" for i in range(500))
    (tmp_path / "rows.csv").write_text(f"key,kind,size,unit,photo,note,y\n{rows}\n")
    schema, found = propose_schema(tmp_path / "rows.csv", label="y")
    assert schema == schema_of(
        id="key", label="y", categorical=("kind",), continuous=("size",), text="note", image="photo", ignore=("unit",)
    )
    assert all(why for _, _, why in found)
    with pytest.raises(SchemaError, match="no column 'z'"):
        propose_schema(tmp_path / "rows.csv", label="z")


def test_the_proposal_reads_its_own_table(tmp_path: Path):
    """Strict: no column is unaccounted for, a constant one included."""
    columns = {"k": [f"k{i}" for i in range(60)], "n": [i / 2 for i in range(60)], "same": ["x"] * 60, "y": list("ab") * 30}
    schema, _ = proposed(tmp_path, **columns)
    table = read_file(tmp_path / "rows.csv", schema, report=DataReport(strict=True))
    assert len(table) == 60


def test_numbers_with_a_few_words_among_them(tmp_path: Path):
    """One cell in a hundred that is no number does not make a column of words, and is told."""
    size = [f"{i % 90}.5" for i in range(300)]
    size[7] = "unknown"
    schema, found = proposed(tmp_path, k=[f"k{i}" for i in range(300)], size=size, y=list("ab") * 150)
    assert schema["continuous"] == ("size",)
    assert "299 of 300 values are numbers; 'unknown' (row 8) is not and would be missing" in found["size"][1]


def test_missing_numbers_are_missing_in_a_small_table(tmp_path: Path):
    """'NA' and the like are no words: the column is one of numbers, and the reason does not say otherwise."""
    weight = [f"{i / 7:.2f}" for i in range(300)]
    weight[3:60:3] = ["NA", "n/a", "", "None", "NULL"] * 3 + ["NaN"] * 4
    schema, found = proposed(tmp_path, k=[f"k{i}" for i in range(300)], weight=weight, y=list("ab") * 150)
    assert schema["continuous"] == ("weight",)
    assert found["weight"][1] == "281 different numbers from 0 to 42.71"


def test_numbers_and_words_mixed_are_told_with_the_first_word(tmp_path: Path):
    """Many different numbers stay numbers; a few sizes, some of them words, stay categories."""
    weight = [f"{i}.5" for i in range(268)]
    weight[6:22] = ["x"] * 16
    size = [("XL" if i % 15 == 4 else str(36 + i % 9)) for i in range(268)]
    schema, found = proposed(tmp_path, k=[f"k{i}" for i in range(268)], weight=weight, size=size, y=list("ab") * 134)
    assert (schema["continuous"], schema["categorical"]) == (("weight",), ("size",))
    assert "252 of 268 values are numbers; 'x' (row 7) is not" in found["weight"][1]
    assert found["size"][1] == "10 different values; 250 of 268 values are numbers; 'XL' (row 5) is not"


def test_a_small_table_has_texts_and_dates_too(tmp_path: Path):
    """What is few is few for the rows: breaks if a text or date of each row's own becomes a category of 300 values."""
    schema, found = proposed(
        tmp_path,
        k=[f"k{i}" for i in range(300)],
        note=[f"a kind dog that likes walk {i}" if i else "none" for i in range(300)],
        day=[f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(300)],
        seen=[f"{1 + i % 28}.{1 + i % 12}.2024" for i in range(300)],
        kind=[f"kind {i % 13} of them" for i in range(300)],
        y=list("ab") * 150,
    )
    assert (schema.id, schema["text"], schema["categorical"]) == ("k", ("note",), ("kind",))
    assert schema.ignore == ("day", "seen")
    assert found["day"][1].startswith("84 different dates")
    assert found["kind"][1] == "13 different values that are no numbers"


def test_a_column_of_one_value_says_which_rows_lack_it(tmp_path: Path):
    columns = {"k": [f"k{i}" for i in range(60)], "some": ["yes", ""] * 30, "none": ["NA", ""] * 30, "y": list("ab") * 30}
    schema, found = proposed(tmp_path, **columns)
    assert schema.ignore == ("some", "none")
    assert (found["some"][1], found["none"][1]) == ("no other value than 'yes'", "no row has a value")


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
