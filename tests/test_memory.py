"""Tables larger than memory: columns and encoded rows lie in files, what stays in memory is a chunk of them."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_disk import small_disk

from benchmarks.sizes import Size, make_settings, make_spec
from mmjax.data.arrays import Reused, host_memory, in_files, in_memory
from mmjax.datasets import dataset
from mmjax.errors import WorkdirError
from mmjax.tasks.base import make_task
from mmjax.train import run
from mmjax.train.cross_validation import cross_validate
from mmjax.train.execution.cost import step_cost
from mmjax.train.execution.runtime import photo_scratch_bytes, worth_keeping
from tests.shrunken import shrunken

READ = """
import sys
from pathlib import Path
from benchmarks.machine import peak_memory
from mmjax.datasets import table
from mmjax.data.data_report import DataReport
from tests.reading import read_file, schema_of

table._CHUNK = 500
before = peak_memory()
schema = schema_of(id="id", label="y", text="t", classes=("no", "yes"))
found = read_file(Path(sys.argv[1]), schema, text_length=16, report=DataReport(), cache_dir=Path(sys.argv[2]))
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


ENCODE = """
import re, sys
from pathlib import Path
import numpy as np
from mmjax.data.arrays import in_files
from mmjax.encoding.tabular_encoder import TabularEncoder
from mmjax.modalities.text import TextEncoder
from tests.encoder_tables import make_tabular, make_texts
from dataclasses import replace

def anonymous():
    return int(re.search("RssAnon:\\\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) << 10

rows, folder = 300_000, Path(sys.argv[1])
table, texts = make_tabular([["a", "b"]], [[0.0, 1.0]]), make_texts(["one two", "three"], tokens=128)
words = in_files(folder)((rows, 128), np.int32)
words[:] = texts.word_NxT[0]
codes, numbers = in_files(folder)((rows, 1), np.int32), in_files(folder)((rows, 1), np.float64)
many = replace(table, code_NxC=codes, number_NxS=numbers), replace(texts, word_NxT=words)
encoders = TabularEncoder.fit(table, np.arange(2)), TextEncoder.fit(texts, np.arange(2), min_count=1, max_words=9)
before = anonymous()
arrays = [a for e, c in zip(encoders, many) for a in e.transform(c, rows, in_files(folder))[0].values()]
print(sum(a.nbytes for a in arrays), anonymous() - before)
"""


def test_encoded_rows_take_no_memory_in_files(tmp_path: Path):
    """Fails when a column or a text is encoded as a whole first: 79 MB of rows may cost 10 MB."""
    command = [sys.executable, "-c", ENCODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    encoded, grown = map(int, done.stdout.split())
    assert encoded > 78e6
    assert grown < 10e6
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resident", ["device", pytest.param("host", marks=pytest.mark.slow)])
def test_a_run_with_its_rows_in_files_gives_the_same_numbers(resident: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Table, text and the codes of a frozen autoencoder, from a CSV file that counts as large."""
    small = {"model__modalities": ("tabular", "text"), "train__resident": resident, "train__max_epochs": 1}
    config = shrunken("mmae_attention", tmp_path / "cache", **small)
    said: list[str] = []
    cross_validate(config, tmp_path / "memory", said.append)
    assert not [line for line in said if line.startswith("encoded rows:")]
    monkeypatch.setattr(run, "host_memory", lambda: 1)
    monkeypatch.setattr(dataset, "LARGE", 1)
    made: list[np.ndarray] = []

    def recorded(folder: Path):
        def allocate(shape: tuple[int, ...], dtype: type) -> np.ndarray:
            made.append(in_files(folder)(shape, dtype))
            return made[-1]

        return allocate

    monkeypatch.setattr(run, "in_files", recorded)
    cross_validate(config, tmp_path / "files", said.append)
    assert [line for line in said if line.startswith("encoded rows:")]
    assert len(made) >= 2 * (3 + 1)  # two folds: categories, numbers, words; codes
    assert all(isinstance(array, np.memmap) for array in made if array.size)
    for name in ("predictions.csv", "summary.json"):
        assert (tmp_path / "files" / name).read_bytes() == (tmp_path / "memory" / name).read_bytes()
    assert not list((tmp_path / "cache" / "tables").iterdir())


def test_arrays_are_where_xla_reads_them():
    for shape, dtype in (((5, 3), np.int16), ((7,), np.float32), ((0, 4), np.float32), ((4, 0), np.int16)):
        array = in_memory(shape, dtype)
        assert (array.shape, array.dtype) == (shape, dtype)
        assert not array.size or array.ctypes.data % 64 == 0


def test_lent_memory_comes_back_when_nobody_holds_it():
    """A view keeps it; what is lent meanwhile lies elsewhere."""
    allocate = Reused()
    first = allocate((4, 3), np.float32)
    view, place = first[1:].T, first.ctypes.data
    assert (first.shape, first.dtype, place % 64) == ((4, 3), np.float32, 0)
    del first
    assert allocate((4, 3), np.float32).ctypes.data != place
    del view
    lent = [allocate((3, 4), np.int32) for _ in range(2)]
    assert place in [array.ctypes.data for array in lent]
    assert place not in [allocate(shape, np.int32).ctypes.data for shape in ((3, 4), (0, 4), (6, 4))]


def test_a_program_that_has_not_run_yet_keeps_its_batch():
    allocate, results = Reused(), []
    slow = jax.jit(lambda batch: (jnp.linalg.matrix_power(jnp.eye(300), 2**9 - 1).sum() / 300 * batch).sum())
    for value in range(20):
        batch = allocate((64, 64), np.float32)
        batch[:] = value
        results.append(slow(batch))
        del batch
    np.testing.assert_allclose(results, 4096.0 * np.arange(20), rtol=1e-5)


def test_files_that_do_not_fit_say_so_when_they_are_made(tmp_path: Path):
    """Not by SIGBUS at the first row that finds the disk full."""
    with small_disk(tmp_path / "disk", "100k") as disk:
        assert in_files(disk)((100, 100), np.int16).nbytes == 20_000
        with pytest.raises(WorkdirError, match="the disk or quota is full"):
            in_files(disk)((1000, 1000), np.int16)


def test_the_memory_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = host_memory()
    for content, expected in (("1000000", 1_000_000), ("max", whole), ("9223372036854771712", whole)):
        (tmp_path / "memory.max").write_text(content + "\n")
        monkeypatch.setattr("mmjax.data.arrays._LIMITS", (str(tmp_path / "memory.max"), str(tmp_path / "none")))
        assert host_memory() == expected


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
