"""report.html: all of it is there, nothing in it is live, and a run does not fail because of it."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from mmjax.cli.main import main
from mmjax.errors import WorkdirError
from mmjax.explain import Importance
from mmjax.report import try_report, write_report, writer
from mmjax.report.explanations import Explanations, RowExplanation
from mmjax.tasks.class_parts import MOST_CLASSES, by_class, calibration, confusions, examples, most_frequent
from tests.fake_runs import fake_run

if TYPE_CHECKING:  # pytest imports the plugin itself
    from tests.fixtures_trained import Trained

pytest_plugins = ("tests.fixtures_trained",)
SCRIPT = "<script>alert(1)</script>"
CHROMIUM = shutil.which("chromium")


class Elements(HTMLParser):
    """Counts tags, and tells of those that are not closed."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.wrong: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def quiet(line: str) -> None:
    del line


def page_of(workdir: Path, **options: bool) -> str:
    return write_report(workdir, **{"baselines": False} | options, log=quiet).read_text(encoding="utf-8")


def test_a_trained_run_is_a_whole_page(trained: "Trained", copy_of: Callable[[Path], Path]):
    """Breaks where a section, a plot or the photos get lost, or the page needs something beside it."""
    workdir = copy_of(trained.workdir)
    lines: list[str] = []
    page = write_report(workdir, log=lines.append).read_text(encoding="utf-8")
    found = Elements(page)
    assert not found.wrong
    assert not found.open
    for anchor in ("glance", "trained", "data", "scores", "held-out", "learning", "importance", "rows"):
        assert f'id="{anchor}"' in page
        assert f'href="#{anchor}"' in page
    assert found.tags.count("svg") == 7  # folds, confusions, calibration, two phases, importance of modalities and columns
    assert "What spoke for" in page
    assert found.tags.count("article") == 12
    assert found.tags.count("img") > 0
    assert "script" not in found.tags
    outside = re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)
    assert not re.search(r'(src|href)="(?!#|data:)', outside)
    assert "://" not in outside
    for text in (
        "MMAE",
        "largest class",
        "logistic regression",
        "gradient boosting",
        "expected calibration error",
        "mean ± std",
    ):
        assert text in page
    assert len(lines) == 2  # baselines are trained once, rows explained once
    assert write_report(workdir, log=lines.append).read_text(encoding="utf-8") == page
    assert len(lines) == 2


def test_photos_can_be_left_out_and_may_be_gone(tmp_path: Path):
    workdir = fake_run(tmp_path / "run", classes=3, photo="a.png")
    assert page_of(workdir).count("<img") == 12
    assert "<img" not in page_of(workdir, photos=False)
    (workdir / "table" / "a.png").unlink()
    page = page_of(workdir)
    assert "<img" not in page
    assert page.count("<article") == 12
    assert "a note that is a good deal longer" in page


def test_nothing_from_the_data_is_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Breaks where a label, a cell, a column or a file's name reaches the page, or a picture in it, unescaped."""
    photo = "<script>alert(1)<&script>.png"  # no slash in a file's name
    names = [SCRIPT, '"><img src=x onerror=alert(2)>', "$x^2", "&amp;"]
    workdir = fake_run(tmp_path / "run", classes=names, text=SCRIPT, column=SCRIPT, photo=photo)
    rows = {
        f"r{i}": RowExplanation(SCRIPT, 0.5, 0.9, {SCRIPT: 0.4, "text": -0.1}, {SCRIPT: 0.2}, {"text": [(0, 3, 0.1)]})
        for i in range(300)
    }
    known = Explanations([Importance(SCRIPT, "column", 0.1, 0.01, 0.2, 0.02)], rows)
    monkeypatch.setattr(writer, "find_explanations", lambda *_: known)
    page = page_of(workdir)
    found = Elements(page)
    assert not found.wrong
    assert "script" not in found.tags
    assert page.lower().count("<script") == 0
    assert found.tags.count("img") == 12
    assert "onerror" not in re.sub(r">[^<]*<", "><", page)  # in no tag
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "What spoke for" in page


@pytest.mark.parametrize(("classes", "rows"), [(2, 400), (5, 1000), (100, 3000)])
def test_few_and_many_classes(tmp_path: Path, classes: int, rows: int):
    page = page_of(fake_run(tmp_path / "run", classes=classes, rows=rows))
    assert page.count("<article") == 12
    assert ("(others)" in page) == (classes > MOST_CLASSES)
    assert ("<details>" in page) == (classes > 12)
    assert len(page) < 4e6


@pytest.mark.slow
def test_a_large_run_is_a_small_page_soon(tmp_path: Path):
    workdir = fake_run(tmp_path / "run", classes=100, rows=100_000, epochs=2000)
    start = time.monotonic()
    page = page_of(workdir)
    assert time.monotonic() - start < 20
    assert len(page) < 4e6
    assert "Every 10th epoch is drawn" in page


def test_an_autoencoder_has_its_own_parts(trained_autoencoder: Path):
    """Breaks where the page asks for classes."""
    page = page_of(trained_autoencoder, baselines=True)
    assert "Errors of rows" in page
    assert "Confusion matrix" not in page
    assert "<article" not in page


def test_scores_by_class_are_those_of_scikit_learn(trained: "Trained"):
    summary = json.loads((trained.workdir / "summary.json").read_text())
    found = pd.read_csv(trained.workdir / "predictions.csv")
    names = list(summary["by_class"])
    expected = precision_recall_fscore_support(found["label"], found["prediction"], labels=names, zero_division=0.0)
    own = np.array([[v[m] for m in ("precision", "recall", "f1", "support")] for v in summary["by_class"].values()]).T
    np.testing.assert_allclose(own, expected)
    took = json.loads((trained.workdir / "run.json").read_text())
    assert took["seconds"] > 0
    assert took["peak_memory_bytes"] > 2**26
    assert {"mmjax", "jax", "python", "platform"} <= took["versions"].keys()


def test_confusions_of_many_classes_keep_every_row():
    draw = np.random.default_rng(0)
    names = [f"c{k}" for k in range(40)]
    frame = pd.DataFrame({"label": draw.choice(names, 500), "prediction": draw.choice(names, 500)})
    counts = confusions(frame, names)
    shown, fewer = most_frequent(names, counts)
    assert counts.sum() == fewer.sum() == 500
    assert len(shown) == MOST_CLASSES + 1
    assert by_class(frame, names)["c3"]["support"] == int((frame["label"] == "c3").sum())


def test_calibration_of_honest_and_of_boastful_probabilities():
    draw = np.random.default_rng(0)
    p_N = draw.uniform(0.5, 1, 20_000)
    assert calibration(p_N, draw.random(20_000) < p_N)[1] < 0.02
    assert calibration(np.ones(100), np.arange(100) % 2 == 0)[1] == pytest.approx(0.5)


def test_rows_worth_looking_at():
    p_NxK = np.array([[0.9, 0.1], [0.2, 0.8], [0.51, 0.49], [0.99, 0.01]])
    frame = pd.DataFrame({"label": ["a", "a", "b", "a"], "prediction": ["a", "b", "a", "a"]})
    best, worst, unsure = examples(frame, p_NxK, ["a", "b"], each=1)
    assert [group.rows[0].place for group in (best, worst, unsure)] == [3, 1, 2]
    assert worst.rows[0].shares == [("b", 0.8), ("a", 0.2)]


def test_a_table_that_is_gone_or_changed_leaves_a_page_without_cells(tmp_path: Path):
    workdir = fake_run(tmp_path / "run", classes=3)
    table = workdir / "table" / "rows.csv"
    table.write_text(re.sub(r"(?m)^r", "s", table.read_text()))
    assert "the table has changed" in page_of(workdir)
    table.unlink()
    page = page_of(workdir, baselines=True)
    assert "Cells and photos are not shown" in page
    assert "There are no simple models to compare with" in page
    assert page.count("<article") == 12


def test_a_report_never_fails_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = [try_report(tmp_path, quiet)]
    workdir = fake_run(tmp_path / "run", classes=2)
    monkeypatch.setattr("mmjax.report.writer.render", lambda page: 1 / 0)
    said.append(try_report(workdir, quiet))
    assert all(line.startswith("The report could not be written: ") for line in said)
    assert "ZeroDivisionError" in said[-1]
    assert not any("\n" in line for line in said)
    (workdir / "predictions.csv").write_text("id,fold,label,prediction\nx,0,a,b\n")
    with pytest.raises(WorkdirError, match="is damaged"):
        write_report(workdir, log=quiet)


def test_damaged_explanations_are_left_out(tmp_path: Path):
    workdir = fake_run(tmp_path / "run", classes=2)
    (workdir / "explanations.json").write_text('{"permutation": [{"name": 1}]}')
    assert "Nothing is explained here" in page_of(workdir)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`train` says last where the report is; `report` writes another."""
    small = [
        "--config.data.max_rows=120",
        "--config.cv.folds=2",
        "--config.train.max_epochs=1",
        f"--config.data.cache={tmp_path}/c",
    ]
    run = ["train", "--config=tabular", *small, f"--workdir={tmp_path}/run"]
    assert main([*run, "--no-report"]) == 0
    assert not (tmp_path / "run" / "report.html").exists()
    before = (tmp_path / "run" / "run.json").read_bytes()
    assert main(run) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {tmp_path}/run/report.html"
    assert (tmp_path / "run" / "run.json").read_bytes() == before  # nothing was trained
    assert main(["report", f"--workdir={tmp_path}/run", f"--out={tmp_path}/mine.html", "--no-photos", "--no-baselines"]) == 0
    assert "gradient boosting" in (tmp_path / "run" / "report.html").read_text()
    assert "gradient boosting" not in (tmp_path / "mine.html").read_text()
    assert main(["report", f"--workdir={tmp_path}/none"]) == 2
    assert main(["report", f"--workdir={tmp_path}/run", f"--out={tmp_path}"]) == 2


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it_without_scrolling_sideways(tmp_path: Path, width: int):
    """Breaks where a table or a plot is wider than the page and has no box of its own to scroll in."""
    page = page_of(
        fake_run(tmp_path / "run", classes=[f"a class with a long name {k}" for k in range(40)], rows=800, photo="a.png")
    )
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    # In a frame, since a window has a least width.
    size = "[d.scrollWidth,d.scrollHeight].join()"
    measure = f"const d=f.contentDocument.documentElement;document.body.setAttribute('data-size',{size})"
    (tmp_path / "inner.html").write_text(page, encoding="utf-8")
    frame = f"<iframe id=f src=inner.html style='border:0;width:{width}px;height:900px' onload=\"{measure}\"></iframe>"
    (tmp_path / "outer.html").write_text(f"<body>{frame}</body>", encoding="utf-8")
    shot = tmp_path / "shot.png"
    base = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    base += [f"--user-data-dir={tmp_path}/profile", f"--window-size={max(width, 500)},900"]
    said = subprocess.run(
        [*base, "--dump-dom", f"file://{tmp_path}/outer.html"], capture_output=True, text=True, timeout=90, check=True
    )
    (found,) = re.findall(r'data-size="(\d+),(\d+)"', said.stdout)
    assert int(found[0]) <= width
    assert int(found[1]) > 3000
    subprocess.run(
        [*base, f"--screenshot={shot}", f"file://{tmp_path}/inner.html"], capture_output=True, timeout=90, check=True
    )
    assert shot.stat().st_size > 10_000
