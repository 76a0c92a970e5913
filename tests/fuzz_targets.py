"""Fuzz target of the table reader: whatever the bytes, a table or our own error, and nothing else.

`fuzz_table(data)` is what a coverage-guided fuzzer calls; `table_mutants` makes a seeded stream of damaged files without one.
"""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmjax.data.data_report import DataReport
from mmjax.datasets.infer_schema import propose_schema
from mmjax.errors import MmjaxError
from tests.reading import read_file, schema_of

SCHEMA = schema_of(id="id", label="y", categorical=("c",), continuous=("n",), text="t", image="p")
GOOD = "id,c,n,t,p,y\n1,red,1.5,Big dog,a.jpg,yes\n2,,x,,,no\n3,red,inf,don't  stop,b.jpg,yes\n"
QUOTED = 'id,c,n,t,p,y\r\n1,"a ""b"", c",1e3,"two\nlines",../x.jpg,yes\r\n2,NA,-0.0,"weiß, ""so""",http.jpg,no\r\n'
ODD = (b'"', b"\0", b"\r", b"\n\n", b",,,,,", b"\xff\xfe", b"1e999", b"'" * 9, b'"\n', b',"', b"\xef\xbb\xbf", b"\xc3", b"_")


def fuzz_table(data: bytes) -> bool:
    """True if the bytes are a table."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        file.write_bytes(data)
        try:
            propose_schema(file)
        except MmjaxError as error:
            assert_one_sentence(error)
        report = DataReport()
        try:
            table = read_file(file, SCHEMA, report=report)
        except MmjaxError as error:
            assert_one_sentence(error)
            return False
    rows = len(table.ids)
    arrays = (table.categorical, table.continuous, table.words, table.label, table.image)
    assert all(array is not None and len(array) == rows for array in arrays)
    report.dumps().encode()  # what goes into data_report.json can be written
    assert all(line.isprintable() for line in report.summary_lines())
    return True


def assert_one_sentence(error: MmjaxError) -> None:
    assert str(error).endswith(".")
    assert len(str(error)) < 5000  # no file is quoted whole


def seed_tables() -> list[bytes]:
    """Valid files in every encoding the reader knows."""
    marked = [text.encode(code) for text in (GOOD, QUOTED) for code in ("utf-8", "utf-8-sig", "utf-16", "utf-32")]
    return [*marked, QUOTED.encode("cp1252"), GOOD.encode("utf-16-be"), GOOD.replace("\n", "\r").encode()]


def table_mutants(count: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    files = seed_tables()
    for _ in range(count):
        data = bytearray(rng.choice(files) if rng.random() < 0.5 else files[0] * rng.randint(1, 3))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data) + 1)
            kind = rng.randrange(5)
            if kind == 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            elif kind == 1:
                del data[at : at + rng.randint(1, 20)]
            elif kind == 2:
                data[at:at] = rng.choice(ODD)
            elif kind == 3:
                data[at:at] = data[: rng.randint(1, 40)]
            elif rng.random() < 0.2:
                del data[at:]
        yield bytes(data)
