"""The learned engines as kinds of engine: their blocks in the file.

Registered with ``sweeps.engines.registry`` by name, so that sweeps need not import this room. Loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from solvers.errors import InputError
from solvers.qois.registry import qois_of
from solvers.registries import resolve
from surrogate.emulator.files import read_summary
from surrogate.models.files import fingerprint, folder_of, read_about, read_weights
from surrogate.networks.registry import NETWORKS
from sweeps.engines.registry import Device, EngineBlock, EngineKind, Tolerance
from sweeps.engines.solver_kind import SolverBlock
from sweeps.inputs.paths import content_hash
from sweeps.plan.cost_estimate import FRAME_SECONDS

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig

#: Seconds of one core for 64 x 64 cells: up to where a network takes over, and at each frame for width^2 times blocks.
START_SECONDS, NETWORK_SECONDS = 0.03, 2.1e-8


def _outside_form(value: object) -> str:
    return "flag" if isinstance(value, str) else "solver"


class SurrogateBlock(EngineBlock):
    """A learned stepper, by registered name or path.

    Samples outside its domain are flagged, or given to the solver: ``outside: {kind: solver, tolerance: 0.01}``.
    ``precision: bfloat16`` has the network multiply in bfloat16, for devices that are faster so; its weights, what it
    adds to and the solver's frames stay as they are. Bands are those of float32: spot checks tell whether they hold.
    """

    kind: Literal["surrogate"]
    model: Annotated[str, Field(min_length=1)]
    outside: Annotated[
        Annotated[Literal["flag"], Tag("flag")] | Annotated[SolverBlock, Tag("solver")],
        Discriminator(_outside_form),
    ] = "flag"
    device: Device = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"

    def key_data(self) -> dict[str, Any]:
        """The block with the model replaced by what is in its files, wherever they are."""
        data = {**super().key_data(), "model": self.model_fingerprint()}
        if isinstance(data.get("outside"), dict):
            data["outside"].pop("device", None)
        if data.get("precision") == "float32":
            data.pop("precision")  # as it was before there was a choice: stores keep their keys
        return data

    def model_fingerprint(self) -> str:
        return fingerprint(self.model)

    def weights_sha256(self) -> str:
        return str(read_about(folder_of(self.model))["weights_sha256"])

    @property
    def mixes_engines(self) -> bool:
        """Whether samples outside the model's domain are solved."""
        return isinstance(self.outside, SolverBlock)


class EmulatorBlock(EngineBlock):
    """Statistics only, by registered name or path."""

    kind: Literal["emulator"]
    model: Annotated[str, Field(min_length=1)]

    def key_data(self) -> dict[str, Any]:
        """The block with the model replaced by what is in its files, wherever they are."""
        return {**super().key_data(), "model": self.model_fingerprint()}

    def model_fingerprint(self) -> str:
        return content_hash(self.model)

    def weights_sha256(self) -> str:
        return str(read_summary(Path(self.model))["sha256"])


class AutoBlock(EngineBlock):
    """The cheapest engine that was measured to meet the tolerance on this machine.

    With ``retain: qoi`` that is a tolerance of statistics, otherwise of fields. Whatever lies outside the domain of a
    chosen model, the solver does.
    """

    kind: Literal["auto"]
    tolerance: Tolerance = 1e-3
    dtype: Literal["float64", "float32"] = "float32"
    device: Device = "auto"


def check_surrogate(config: SweepConfig) -> None:
    """Refuse a model before anything is written.

    Raises:
        InputError: for a model that is not there, damaged, of another process, without calibrated bands, or that
            cannot take the sweep's grid.
    """
    block = config.engine
    assert isinstance(block, SurrogateBlock)
    try:
        folder = folder_of(block.model)
        about = read_about(folder)
        name = about["name"]
        kind = NETWORKS[about["kind"]]
        if not kind.rollouts:
            raise InputError(f"model {name}: found a network of kind {about['kind']}, allowed one of kind jump")
        read_weights(folder, about)
        if config.process != about["process"]:
            raise InputError(f"model {name}: found a problem of {config.process}, allowed {about['process']}")
        if kind.check_cells is not None:
            resolve(kind.check_cells)(name, about["settings"], config.grid.shape, config.grid.boundary)
        if not about.get("calibration"):
            raise InputError(
                f"model {name}: has no calibrated bands; `phasetwin evaluate {block.model} --calibrate` makes them"
            )
    except InputError as error:
        raise InputError(f"engine.model: {error}") from None


def surrogate_seconds(config: SweepConfig, trajectories: int, frames: float) -> float:
    """Guess of what a sweep takes, seconds of one core: the solver's start, the network at each frame, and the rest.

    Measured with `ch-jump` and `gg-jump`; the multiplications of their networks grow as width^2 times blocks.
    """
    block = config.engine
    assert isinstance(block, SurrogateBlock)
    settings = read_about(folder_of(block.model))["settings"]
    network = NETWORK_SECONDS * settings.get("width", 48) ** 2 * settings.get("blocks", 6)
    return trajectories * START_SECONDS * math.prod(config.grid.shape) / 64**2 + frames * (network + FRAME_SECONDS)


def emulator_seconds(config: SweepConfig, trajectories: int, frames: float) -> float:  # noqa: ARG001
    """The same of an emulator."""
    return frames * FRAME_SECONDS


def surrogate_note(config: Mapping[str, Any]) -> str:
    """For reports: the quantities of a sweep that have no bands, as the model was not calibrated for them; empty for
    none, and where the model is not there any more.

    Args:
        config: of the sweep, as its store holds it.
    """
    try:
        about = read_about(folder_of(config["engine"]["model"]))
    except InputError:
        return ""
    known = (about.get("calibration") or {}).get("qois", {})
    return _without(config, known, "bands", "the model was not calibrated for them")


def emulator_note(config: Mapping[str, Any]) -> str:
    """The same for quantities that the emulator has not learned, which are NaN."""
    try:
        known = read_summary(Path(config["engine"]["model"]))["fits"]
    except InputError:
        return ""
    return _without(config, known, "values", "the emulator has not learned them")


def _without(config: Mapping[str, Any], known: Container[str], what: str, why: str) -> str:
    missing = [name for name in qois_of(config["process"]) if name not in known]
    return f"No {what} for {', '.join(missing)}: {why}." if missing else ""


ENGINES = (
    EngineKind(
        "surrogate",
        block=SurrogateBlock,
        build="surrogate.engine:surrogate_engine",
        report_note=surrogate_note,
        check=check_surrogate,
        has_bands=True,
        learned=True,
        cost=surrogate_seconds,
        fingerprint="",
    ),
    EngineKind(
        "emulator",
        block=EmulatorBlock,
        build="surrogate.emulator_engine:emulator_engine",
        report_note=emulator_note,
        check="surrogate.emulator_engine:emulator_engine",
        makes_fields=False,
        has_bands=True,
        learned=True,
        cost=emulator_seconds,
        fingerprint="",
    ),
    EngineKind("auto", block=AutoBlock, resolve="surrogate.auto_engine:choose", fingerprint=""),
)
