"""The kinds of engine that a sweep can name: one object each, this project's and those of installed packages.

An engine of your own is an :class:`EngineKind` handed to :func:`register_engine`, or the entry point of an installed
package in the group ``phasetwin.engines``::

    class MyBlock(EngineBlock):
        kind: Literal["mine"]
        tolerance: Tolerance = 1e-2

    register_engine(EngineKind("mine", block=MyBlock, build=lambda config: MyEngine(config.engine.tolerance)))

``build`` makes something with ``name``, ``device`` and ``answer`` (:class:`sweeps.engines.protocol.Engine`). Nothing
here loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints

from solvers.errors import InputError
from solvers.registries import Reference, Registry, resolve
from sweeps.inputs.strict_model import BlockOf, StrictModel, rebuild_models

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig
    from sweeps.engines.protocol import Engine

Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
Tolerance = Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)]


class EngineBlock(StrictModel):
    """The block ``engine:`` of a file. Kinds of engine derive theirs from it; ``kind`` is a Literal there."""

    kind: str

    def key_data(self) -> dict[str, Any]:
        """What of the block decides the numbers, for the keys of points: JSON values, without devices."""
        data = self.model_dump(mode="json")
        data.pop("device", None)
        return data

    def model_fingerprint(self) -> str:
        """Hash of what of a model decides numbers, bands and trust; raises InputError where it is lost."""
        return ""

    def weights_sha256(self) -> str:
        """sha256 of a model's weights, as its folder states it; empty where there is none."""
        return ""

    @property
    def mixes_engines(self) -> bool:
        """Whether some samples may be computed by another engine than the rest."""
        return False


@dataclass(frozen=True)
class EngineKind:
    """A kind of engine.

    Attributes:
        name: the word after ``kind:``.
        block: its :class:`EngineBlock`.
        build: :class:`SweepConfig` -> :class:`Engine`.
        check: :class:`SweepConfig` -> None, raises InputError for an engine that cannot run here; None where nothing
            can be wrong that the block does not say.
        resolve: :class:`SweepConfig` -> (configuration with another engine, :class:`EngineChoice`); for kinds that
            stand for another, which have no ``build``.
        makes_fields: whether it gives fields beside statistics.
        has_bands: whether its quantities have bands and its samples a trust; spot checks then judge the bands.
        learned: whether it is a model learned from data.
        cost: (:class:`SweepConfig`, number of trajectories, frames of 64 x 64 cells) -> seconds of one core; None takes
            the solver's estimate.
        report_note: configuration as a store holds it -> one sentence on the engine for the report.
        fingerprint: see :class:`solvers.processes.registry.Process`.
    """

    name: str
    block: Reference
    build: Reference | None = None
    check: Reference | None = None
    resolve: Reference | None = None
    makes_fields: bool = True
    has_bands: bool = False
    learned: bool = False
    cost: Reference | None = None
    report_note: Reference | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class EngineChoice:
    """What a kind of engine that stands for another chose.

    Attributes:
        requested: the block, and whether it was for fields or statistics.
        engine: the block in its place.
        reason: one line, with the measured figures.
        measured: the measurements that decided.
    """

    requested: Mapping[str, Any]
    engine: Mapping[str, Any]
    reason: str
    measured: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


#: Every kind known here. ``surrogate``, ``emulator`` and ``auto`` are the room's above, named and not imported.
ENGINES: Registry[EngineKind] = Registry(
    "engine.kind", "phasetwin.engines", ("sweeps.engines.solver_kind:ENGINE", "surrogate.engine_kinds:ENGINES")
)


def register_engine(kind: EngineKind) -> EngineKind:
    """Make a kind of engine known here and to the workers of the sweeps started here.

    Raises:
        InputError: for a name that another kind has.
    """
    kind = ENGINES.register(kind)
    rebuild_models()
    return kind


def unregister_engine(name: str) -> None:
    """Take back what :func:`register_engine` added."""
    ENGINES.unregister(name)
    rebuild_models()


def engine_kind(config: SweepConfig) -> EngineKind:
    return ENGINES.get(config.engine.kind)


AnyEngineBlock = Annotated[EngineBlock, BlockOf(ENGINES)]


def build_engine(config: SweepConfig) -> Engine:
    """The engine of a sweep; raises InputError for a device that is not there."""
    check_device(config.engine)
    engine: Engine = resolve(engine_kind(config).build)(config)
    return engine


def check_engine(config: SweepConfig) -> None:
    """Refuse an engine that cannot run here, before anything is written.

    Raises:
        InputError: for a device that is not there, and for whatever the kind of engine refuses.
    """
    check_device(config.engine)
    check = engine_kind(config).check
    if check is not None:
        resolve(check)(config)


def check_device(block: EngineBlock) -> None:
    """Raises InputError for a device that is not there."""
    device = str(getattr(block, "device", "auto"))
    if device.startswith("cuda") and resolve_device("auto") != "cuda":
        raise InputError(f"engine.device: found {device}, but torch finds no GPU here; use auto or cpu")


def resolve_device(device: str) -> str:
    """``auto`` is the GPU where torch finds one."""
    if device != "auto":
        return device
    if version("torch").endswith("+cpu"):
        return "cpu"  # a build without GPUs, known without loading it
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
