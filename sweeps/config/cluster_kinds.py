"""The kinds of cluster that a sweep can run on: one object each, with all that others need to know of it.

A kind of your own is a :class:`ClusterKind` handed to :func:`register_cluster`, or the entry point of an installed
package in the group ``phasetwin.clusters``. Nothing here loads Dask.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from solvers.errors import InputError
from solvers.registries import Reference, Registry
from sweeps.inputs.strict_model import rebuild_models


@dataclass(frozen=True)
class ClusterKind:
    """A kind of cluster.

    Attributes:
        name: the word after ``kind:``.
        block: its model, a :class:`sweeps.config.cluster.ClusterBlock` whose ``kind`` is ``Literal[name]``.
        start: (block, tasks) -> a Dask cluster, or a :class:`distributed.Client` where the scheduler runs already;
            ``tasks`` is how many there will be at once. Both are closed at the end of the run.
        exposure: block -> a line for each way in which others than this machine can reach the scheduler; None where
            none can.
        needs: (module, package): what must be installed beside this package, as its extra ``name``; None for nothing.
        choose: (block, :class:`sweeps.cluster.choice.Work`) -> :class:`sweeps.cluster.choice.ClusterChoice`; for kinds
            that stand for another. Their ``start`` is for work of which nothing is known.
        in_process: whether tasks run in the process that starts it, which ends where a worker process would.
    """

    name: str
    block: Reference
    start: Reference
    exposure: Reference | None = None
    needs: tuple[str, str] | None = None
    choose: Reference | None = None
    in_process: bool = False

    def check_installed(self) -> None:
        """Raises InputError where what it needs is missing."""
        if self.needs is None:
            return
        module, package = self.needs
        try:
            import_module(module)
        except ImportError:
            extra = f"pip install 'phasetwin[{self.name}]'"
            raise InputError(f"cluster.kind: {self.name} needs {package}, which is not installed; {extra}") from None


#: Every kind known here.
CLUSTERS: Registry[ClusterKind] = Registry("cluster.kind", "phasetwin.clusters", ("sweeps.config.cluster:KINDS",))


def register_cluster(kind: ClusterKind) -> ClusterKind:
    """Make a kind of cluster known to this program.

    Raises:
        InputError: for a name that another kind has.
    """
    CLUSTERS.register(kind)
    rebuild_models()
    return kind
