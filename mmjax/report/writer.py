"""Writes report.html: one file, which asks no network and runs no script."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from mmjax.errors import ConfigError, MmjaxError
from mmjax.io.atomic import write_text
from mmjax.io.environment import short_versions
from mmjax.report import sections
from mmjax.report.baselines import Baseline, find_baselines
from mmjax.report.contents import AnyPart, Note, Page, Section
from mmjax.report.explanations import HOW, Explanations, find_explanations
from mmjax.report.plots import svg
from mmjax.report.rows import RowReader, cards
from mmjax.report.run_files import RunFiles
from mmjax.tasks.parts import Examples

REPORT = "report.html"
_ROWS = "Some held-out rows with what the model read of them, and what it said."


def write_report(
    workdir: str | Path,
    *,
    photos: bool = True,
    baselines: bool = True,
    explanations: bool = True,
    out: str | Path | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Writes the report of a workdir whose run is finished, or has finished folds.

    Args:
      workdir: of the run.
      photos: whether rows are shown with small pictures of their photos; a report without can be given to anybody.
      baselines: whether simple models are trained on the same folds, once.
      explanations: whether importance is measured and rows are explained, once.
      out: the file; None: report.html in the workdir.
      log: shows a line.

    Returns:
      The file.

    Raises:
      WorkdirError: no fold is finished, a file is damaged, or the report cannot be written.
    """
    folder = Path(workdir)
    file = Path(out) if out else folder / REPORT
    if out and (file.is_dir() or not file.parent.is_dir()):
        raise ConfigError(f"{file}: is a folder, or is in none that is there; name a file.")
    write_text(file, render(make_page(folder, photos=photos, baselines=baselines, explanations=explanations, log=log)))
    return file


def try_report(workdir: str | Path, log: Callable[[str], None], *, baselines: bool = True) -> str:
    """`write_report` at the end of a run, which must not fail because of it: where it is, or why there is none."""
    try:
        return f"Report: {write_report(workdir, baselines=baselines, log=log)}"
    except Exception as error:  # whatever it is: the run is finished, and its results are there
        said = str(error) if isinstance(error, MmjaxError) else f"{type(error).__name__}: {error}"
        return f"The report could not be written: {' '.join(said.split())}"


def make_page(workdir: Path, *, photos: bool, baselines: bool, explanations: bool, log: Callable[[str], None]) -> Page:
    """The report's content.

    Raises:
      WorkdirError: as `write_report`.
    """
    run = RunFiles.read(workdir)
    simple, why_none = _baselines(run, log) if baselines and run.task.predicts_classes else ([], "")
    groups = run.task.examples(run.predictions, run.classes)
    explained, why_unexplained = _explanations(run, groups, log) if explanations and groups else (Explanations(), HOW)
    found = (
        ("glance", "At a glance", list(sections.glance(run, simple))),
        ("trained", "What was trained", list(sections.trained(run))),
        ("data", "The data", list(sections.data(run))),
        ("scores", "Scores on held-out rows", list(sections.scores(run, simple, why_none))),
        ("held-out", "Held-out rows in detail", list(run.task.parts(run.predictions, run.classes))),
        ("learning", "Learning curves", list(sections.learning(run))),
        ("importance", "What the model uses", list(sections.important(explained, run.metric, why_unexplained))),
        ("rows", "Rows worth looking at", _rows(run, groups, explained, photos)),
    )
    began = run.sessions[-1].get("date", "") if run.sessions else ""
    return Page(
        title=f"{run.summary['title']} on {run.name}",
        subtitle=" · ".join(filter(None, (", ".join(run.summary["modalities"]), str(workdir), began))),
        sections=[Section(anchor, title, parts) for anchor, title, parts in found if parts],
        footer=f"Written by mmjax {short_versions()['mmjax']} from the files of the workdir.",
    )


def render(page: Page) -> str:
    """The page as HTML; every text in it is escaped."""
    return _template().render(page=page)


@cache
def _template() -> Template:
    source = resources.files("mmjax.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["svg"] = lambda plot: Markup(svg(plot))  # noqa: S704 - matplotlib escapes what it writes
    return environment.from_string(source)


def _baselines(run: RunFiles, log: Callable[[str], None]) -> tuple[list[Baseline], str]:
    """Those of the run, or none and why."""
    try:
        return find_baselines(run.workdir, run.settings, run.folds, log), ""
    except MmjaxError as error:
        log(f"report: no simple models: {error}")
        return [], f"There are no simple models to compare with: {error}"


def _explanations(run: RunFiles, groups: Sequence[Examples], log: Callable[[str], None]) -> tuple[Explanations, str]:
    """Those of the run and of the rows that are shown, or none and why."""
    places = [example.place for group in groups for example in group.rows]
    ids = run.predictions["id"].tolist()
    try:
        return find_explanations(run.workdir, {int(run.row_n[place]): str(ids[place]) for place in places}, log), ""
    except MmjaxError as error:
        log(f"report: nothing is explained: {error}")
        return Explanations(), f"Nothing is explained here: {error}"


def _rows(run: RunFiles, groups: Sequence[Examples], explained: Explanations, photos: bool) -> list[AnyPart]:
    if not groups:
        return []
    reader, notes = RowReader(run.settings, run.schema), [Note(_ROWS)]
    ids = run.predictions["id"].tolist()
    places = [example.place for group in groups for example in group.rows]
    try:
        reader.read({int(run.row_n[place]): ids[place] for place in places})
    except (MmjaxError, OSError) as error:
        notes.append(Note(f"Cells and photos are not shown: {error}"))
    return [*notes, *cards(groups, reader, run.row_n, ids, explained.rows, photos)]
