"""A sweep as an object: read the file, plan, run, verify, look. What computes is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.config.sweep import SweepConfig
from sweeps.inputs.yaml_source import from_mapping, load_yaml
from sweeps.plan.plan import Plan, make_plan

if TYPE_CHECKING:
    from distributed import Client

    from sweeps.execution.run import RunResult


class Sweep:
    """A parameter sweep, from its resolved configuration."""

    def __init__(self, config: SweepConfig) -> None:
        self.config = config

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Sweep:
        """Read a sweep file; ``overrides`` are ``key.path=value`` texts, each replacing one value of the file.

        Raises:
            InputError: naming file, line and key, what was found and what is allowed.
        """
        return cls(load_yaml(Path(path), SweepConfig, overrides=tuple(overrides)))

    @classmethod
    def from_config(cls, config: SweepConfig | dict[str, Any]) -> Sweep:
        """From a configuration, or the dictionary a file would hold."""
        if isinstance(config, SweepConfig):
            return cls(config)
        return cls(from_mapping(config, SweepConfig, label="configuration"))

    @property
    def store(self) -> str:
        return self.config.output.path

    @cached_property
    def _plan(self) -> Plan:
        return make_plan(self.config)

    def plan(self) -> Plan:
        """What will be computed; touches nothing."""
        return self._plan

    def run(self, client: Client | None = None, progress: bool = True, check: bool = True) -> RunResult:
        """Compute what is not in the store yet, then verify a few points.

        Args:
            client: Dask client to use; None starts what ``cluster`` says.
            progress: show a bar or lines on stderr, and the messages of the logger ``phasetwin``.
            check: first read all that the store holds; what is damaged is computed again.

        Raises:
            InputError: for an engine that is not there, a store of another sweep, or one in use.
        """
        from sweeps.execution.run import run_plan

        return run_plan(self.plan(), client, progress, check)

    def verify(self, client: Client | None = None, progress: bool = True, count: int | None = None) -> RunResult:
        """Solve a few points again to a tighter tolerance and store how far off they were.

        ``client`` and ``progress`` are as in :meth:`run`; ``count`` is how many points, by default ``verify.count``.

        Raises:
            InputError: if there is no store of this sweep, or nothing in it is done.
        """
        from sweeps.execution.run import verify_plan

        return verify_plan(self.plan(), client, progress, count)

    def status(self) -> dict[str, Any]:
        """How far the store is; see :func:`sweeps.monitoring.status.status`."""
        from sweeps.monitoring.status import status

        return status(self.store)

    def report(self, out_dir: str | Path | None = None) -> Path:
        """Write an HTML report from the store alone; returns its path."""
        from sweeps.report import write_report

        return write_report(self.store, Path(out_dir) if out_dir else None)
