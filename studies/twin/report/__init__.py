"""The twin's report: one HTML page, its pictures, and an animation."""

from studies.twin.report.page import write_report

__all__ = ["write_report"]
