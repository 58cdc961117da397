"""The report of a study: one page, and its figures as PNG files beside it, in the style of the sweeps' reports.

``data`` gathers what is shown; ``history``, ``landscape``, ``parity`` and ``pictures`` draw; ``page`` puts it together.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.inverse.search.fidelity import SearchState
    from studies.inverse.search.runner import StudyRunner


def write_report(
    runner: StudyRunner, state: SearchState, best: list[dict[str, Any]], equivalents: dict[str, Any] | None
) -> Path:
    """Write ``report/index.html`` in the study's folder; returns its path."""
    from studies.inverse.report.data import gather
    from studies.inverse.report.page import study_page

    return study_page(gather(runner, state, best, equivalents)).write(runner.folder / "report")
