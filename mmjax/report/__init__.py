"""A finished workdir as one page that needs nothing else: report.html."""

from mmjax.report.baselines import known_baselines
from mmjax.report.writer import REPORT, try_report, write_report

__all__ = ["REPORT", "known_baselines", "try_report", "write_report"]
