"""The twin's report: ``figures`` draws, ``page`` puts it together in the style of the sweeps' reports."""

from studies.twin.report.page import write_report

__all__ = ["write_report"]
