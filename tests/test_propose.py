"""Proposed schemas: the role each column's values speak for, and a reason for each."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmjax.data.data_report import DataReport
from mmjax.datasets.infer_schema import propose_schema
from mmjax.datasets.locations import SCHEMAS
from mmjax.errors import DataError, SchemaError
from mmjax.own_table import read_schema
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


def test_few_sellers_are_categories_that_may_be_the_group(tmp_path: Path):
    """Broken if a table of a thousand rows says nothing of its sellers; a size or six customer types bind no rows."""
    columns = {"seller": [f"s{i % 90}" for i in range(600)], "customer_type": [f"t{i % 6}" for i in range(600)]}
    schema, found = proposed(tmp_path, **columns, city=[f"c{i % 91}" for i in range(600)], y=list("ab") * 300)
    assert schema["categorical"] == ("seller", "customer_type", "city")
    assert "add group = 'seller'" in found["seller"][1]
    assert not any("group" in found[name][1] for name in ("customer_type", "city"))


def test_a_table_without_rows_says_nothing(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="no rows to look at"):
        propose_schema(tmp_path / "rows.csv")


def _noise(rows: int) -> dict[str, list]:
    return {
        "size": [f"{(i * 7919) % 613 / 7:.2f}" for i in range(rows)],
        "color": [("red", "blue")[i * 31 % 7 % 2] for i in range(rows)],
    }


@pytest.mark.parametrize("name", ["Unnamed: 0", "row_number", "order_no", "index", "n", "level_0", "rowid"])
def test_numbers_of_rows_are_no_input(tmp_path: Path, name: str):
    """A table sorted by its label gave 95 % on noise. From 0 or with gaps, as 3 or 3.0, and each a few times after copying."""
    once = [i * (7 if name == "order_no" else 1) for i in range(300)]
    copied = [i * 2 // 3 for i in range(300)]
    for numbers in (once, [f"{n}.0" for n in once], once if name in ("order_no", "n") else copied):
        schema, found = proposed(tmp_path, **{name: numbers}, **_noise(300), y=["a"] * 150 + ["b"] * 150)
        assert name not in schema["continuous"] + schema["categorical"], numbers[:5]
        assert "row" in found[name][1]


def test_measured_whole_numbers_stay_numbers(tmp_path: Path):
    """Breaks if what repeats, or is no whole number, is taken for an index."""
    columns = {"age": [18 + i * 37 % 70 for i in range(300)], "kg": [i / 4 for i in range(300)]}
    schema, _ = proposed(tmp_path, **columns, **_noise(300), y=list("ab") * 150)
    assert schema["continuous"] == ("age", "kg", "size")


def test_suspected_leaks_are_named_whatever_the_column(tmp_path: Path):
    """Numbers that all differ, a threshold, categories, missing cells; noise, and a feature that tells 90 %, are not."""
    label = ["ab"[v] for v in np.random.default_rng(0).integers(0, 2, 600)]
    told = {
        "score": [f"{(0 if y == 'a' else 5) + i * 31 % 97 / 30:.3f}" for i, y in enumerate(label)],
        "status": [{"a": "open", "b": "closed"}[y] for y in label],
        "until": [("" if y == "a" else f"{i % 40}.5") for i, y in enumerate(label)],
    }
    good = [f"{((0 if y == 'a' else 5) + i * 31 % 97 / 30) if i % 10 else 2.5:.3f}" for i, y in enumerate(label)]
    _, found = proposed(tmp_path, **told, good=good, **_noise(600), y=label)
    suspected = {name for name, (_, why) in found.items() if "suspected leak" in why}
    assert suspected == set(told)


def test_values_of_a_sorted_table_are_no_leak(tmp_path: Path):
    """Breaks if values are numbered in the order of appearance, which a sorted label follows."""
    names = [f"name{i // 2} x" for i in range(600)]
    _, found = proposed(tmp_path, name=names, who=[f"brand{i // 3}" for i in range(600)], y=["a"] * 300 + ["b"] * 300)
    assert "suspected leak" not in found["name"][1]


def test_a_brand_is_an_entity_and_a_seller_a_group(tmp_path: Path):
    """Both come again too often for a name of the row; a brand's rows do not belong together, but its value counts."""
    brand = ["".join(chr(97 + int(d)) for d in str(i % 450)) for i in range(900)]
    seller = [f"{i * 97 % 430:08x}9" for i in range(900)]
    schema, found = proposed(tmp_path, brand=brand, merchant=seller, patient_id=brand[::-1], y=list("ab") * 450)
    assert schema["entity"][0] == "brand"
    assert schema.group in ("merchant", "patient_id")
    assert "make it the group, too" in found["brand"][1]
    both = Schema.from_dict({"label": "y", "group": "brand", "entity": ["brand"]})
    read = read_file(tmp_path / "rows.csv", both, report=DataReport(), group="brand")
    assert len(set(read.group)) == 450


def test_records_are_no_text_beside_texts(tmp_path: Path):
    """Every text is proposed; what looks like JSON, Ruby or Python is not a text, though it is the longest."""
    rows = [f'[{{""key""=>""color""; ""value""=>""c{i}""}}; {{""key""=>""size""; ""value""=>""s{i}""}}]' for i in range(300)]
    notes = [f"a long description of thing {i} which people wrote" for i in range(300)]
    quoted = [f'"{row}"' for row in rows]
    schema, found = proposed(tmp_path, specs=quoted, note=notes, other=[n[::-1] for n in notes], y=list("ab") * 150)
    assert schema["text"] == ("note", "other")
    assert schema["short_text"] == ("specs",)
    assert "'key' and 'value'" in found["specs"][1]


def test_python_is_told_what_a_proposal_left_out(tmp_path: Path):
    """Nobody looks over a proposal that `cross_validate` made itself."""
    table = pd.DataFrame({"order_no": range(40), "code": list("pq") * 20, "y": list("ab") * 20})
    lines: list[str] = []
    assert read_schema(None, table, "y", lines.append).ignore == ("order_no",)
    assert ["left out" in lines[0], "proposed as categorical" in lines[1]] == [True, True]


def test_looking_for_leaks_warns_of_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    """Few rows, many classes, classes of one row, labels that are missing: breaks if scikit-learn's warnings come through."""
    for rows, classes in ((5, 2), (25, 13), (40, 19), (60, 3)):
        label = [f"c{i % classes}" if i % 7 else "" for i in range(rows)]
        proposed(tmp_path, size=[i / 3 for i in range(rows)], kind=[i % 2 for i in range(rows)], y=label)
    assert not recwarn.list
