"""Tables larger than memory: what stays resident is a chunk of the file and a few bytes a token of every row."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sizes import Size, make_settings, make_spec
from mmjax.train.cost import step_cost
from mmjax.train.runtime import photo_scratch_bytes, worth_keeping
from mmjax.train.tasks import make_task

READ = """
import sys
from pathlib import Path
from benchmarks.machine import peak_memory
from mmjax.data import table
from mmjax.data.report import DataReport
from mmjax.schema import Schema

table._CHUNK, table._LARGE = 500, 1
before = peak_memory()
schema = Schema(id="id", label="y", text="t", classes=("no", "yes"))
found = table.read_table(sys.argv[1], schema, text_length=16, report=DataReport(), cache_dir=Path(sys.argv[2]))
print(len(found), peak_memory() - before)
"""


def test_a_chunk_is_held_and_not_the_file(tmp_path: Path):
    """Fails when the file, its rows or the texts cut away stay in memory: 60 MB of CSV may cost 20 MB."""
    rows, text = 20_000, "word " * 600
    with (tmp_path / "rows.csv").open("w") as out:
        out.write("id,y,t\n")
        out.writelines(f"{i},{'yes' if i % 2 else 'no'},{i} {text}\n" for i in range(rows))
    command = [sys.executable, "-c", READ, str(tmp_path / "rows.csv"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    count, grown = map(int, done.stdout.split())
    assert count == rows
    assert (tmp_path / "rows.csv").stat().st_size > 60e6
    assert grown < 20e6


@pytest.mark.parametrize(
    ("size", "kept"), [(Size(), True), (Size(image=224), False), (Size(image=224, layers=(2, 2), growth=12, stem=24), True)]
)
def test_freed_memory_is_kept_up_to_a_size_of_photos_that_is_guessed_right(size: Size, kept: bool):
    """A gigabyte of scratch memory; the guess is made before there is a table to build a model for."""
    settings = make_settings(3, size)
    traced = step_cost(make_task("classifier", settings, make_spec(3, size)), size.batch).saved_bytes
    assert 0.75 < photo_scratch_bytes(settings) / traced < 1.25
    assert worth_keeping(settings) == kept
    text, table = make_settings(2, size), make_settings(1, size)
    assert worth_keeping(text)
    assert not worth_keeping(table)
    assert not worth_keeping()
    assert worth_keeping(text, table, settings) == kept


@pytest.mark.slow
def test_a_million_rows_of_table_and_text_stay_under_four_gigabytes(tmp_path: Path):
    """Five folds end to end; what grows with the rows, from 20,000 to 220,000, is drawn out to 1,000,000."""
    from benchmarks import scaling

    scaling.main(f"--parts rows --rows 20000,220000 --all-folds --no-torch --out {tmp_path}".split())
    cases = json.loads((tmp_path / "scaling.json").read_text())["cases"]
    small, large = (cases[f"rows_{n}"]["peak_bytes"] for n in (20000, 220000))
    assert small + (large - small) / 200_000 * 980_000 < scaling.LIMIT
