"""`mmjax report`: a finished workdir as one page."""

from collections.abc import Sequence
from pathlib import Path

from mmjax.cli.arguments import Parser


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      MmjaxError: as `write_report`.
    """
    parser = Parser("report", "Writes one page that needs nothing else: what was trained, scores, plots, rows to look at.")
    parser.add_argument("--workdir", required=True, help="as given to train")
    parser.add_argument("--out", default="", help="the file; report.html in the workdir if left out")
    parser.add_argument("--no-photos", action="store_true", help="rows are shown without their photos")
    parser.add_argument("--no-baselines", action="store_true", help="no simple models are trained on the same folds")
    parser.add_argument("--no-explanations", action="store_true", help="importance is not measured, and no row explained")
    args = parser.parse(arguments)
    from mmjax.report import write_report  # noqa: PLC0415 - jax is imported once the arguments are known to be right
    from mmjax.train.execution import runtime  # noqa: PLC0415

    shown = {"photos": not args.no_photos, "baselines": not args.no_baselines, "explanations": not args.no_explanations}
    file = write_report(Path(args.workdir), **shown, out=args.out or None, log=runtime.log)
    runtime.log(f"Report: {file}")
    return 0
