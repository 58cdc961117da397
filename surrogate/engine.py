"""The learned engines: a surrogate, which makes fields, and an emulator, which knows statistics alone.

What they answer carries bands and trust. A model is loaded once in each process.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from solvers.errors import InputError
from sweeps.config.sweep import SolverEngine as SolverBlock
from sweeps.config.sweep import SweepConfig
from sweeps.engines.solver import Answer, Request, SolverEngine, answer_of, resolve_device, solver_engine
from sweeps.plan.problems import build_problem


@dataclass(frozen=True)
class SurrogateEngine:
    """A learned stepper.

    Attributes:
        model: see :class:`surrogate.models.jump.JumpSurrogate`.
        name: stored with every sample.
        fallback: solves what lies outside the model's domain; None leaves it to the model, flagged.
    """

    model: Any
    name: str
    fallback: SolverEngine | None = None

    def answer(self, request: Request) -> Answer:
        """See :class:`sweeps.engines.solver.Engine`."""
        prediction = self.model.rollout(request.problem, request.initial, request.times)
        answer = answer_of(request, prediction.frames)
        answer.values |= _named(self.model.bands(prediction, answer.values))
        answer.modelled = prediction.lead > 0
        answer.trust = prediction.trust.astype(np.float32)
        answer.reasons = list(prediction.reasons)
        if self.fallback is not None:
            _solve_again(answer, request, self.fallback, np.flatnonzero(answer.trust < 1))
        return answer


def _named(bands: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """``<qoi>_low`` and ``<qoi>_high``."""
    return {f"{name}_{end}": band[i] for name, band in bands.items() for i, end in enumerate(("low", "high"))}


def _solve_again(answer: Answer, request: Request, solver: SolverEngine, rows: np.ndarray) -> None:
    """Put the solver's answer in the place of a model's, for some samples; its bands are its tolerance."""
    assert answer.modelled is not None and answer.trust is not None  # noqa: PT018
    if not len(rows):
        return
    index = torch.from_numpy(rows)
    part = Request(
        problem=request.problem.take(index),
        initial=request.initial[index],
        times=request.times[index],
        samples={n: v[index] for n, v in request.samples.items()},
        fields=request.fields,
    )
    solved = solver.answer(part)
    for name, values in solved.values.items():
        answer.values[name][rows] = values
        margin = solver.tolerance * np.abs(values)
        answer.values[f"{name}_low"][rows], answer.values[f"{name}_high"][rows] = values - margin, values + margin
    for name, values in solved.fields.items():
        answer.fields[name][rows] = values
    answer.finite[rows] = solved.finite
    answer.modelled[rows] = False
    answer.trust[rows] = 1.0
    for row in rows.tolist():
        answer.reasons[row] = ""
        answer.engine_of[row] = solver.name


@dataclass(frozen=True)
class EmulatorEngine:
    """Statistics of finished sweeps at other parameters; see :class:`surrogate.emulator.emulator.Emulator`.

    Attributes:
        emulator: the emulator.
        setting: the sweep's, in whose units it answers.
        start: parameters of the start, ``amplitude`` or ``grains``.
        name: stored with every sample.
    """

    emulator: Any
    setting: Any
    start: dict[str, float]
    name: str

    def answer(self, request: Request) -> Answer:
        """See :class:`sweeps.engines.solver.Engine`."""
        batch = len(request.times)
        known = {n: v.numpy() for n, v in request.samples.items()} | self.start
        parameters = {n: v for n, v in known.items() if n in self._parameters()} | {"mobility": 1.0}
        found = self.emulator.predict(
            {n: np.broadcast_to(np.asarray(v, dtype=np.float64), (batch,)) for n, v in parameters.items()},
            request.times.double().numpy(),
            setting=self.setting,
        )
        values = found.mean | _named({name: (found.low[name], found.high[name]) for name in found.mean})
        finite = np.isfinite(found.mean["free_energy"])
        return Answer(values, {}, finite, np.ones_like(finite), found.trust.copy(), list(found.reasons))

    def _parameters(self) -> set[str]:
        from surrogate.emulator.curves import PARAMETERS

        return {name for name, group in PARAMETERS.items() if group in self.emulator.groups}


def surrogate_engine(config: SweepConfig) -> SurrogateEngine:
    """The surrogate of a sweep.

    Raises:
        InputError: for a model that is not there, damaged, of the other process, without calibrated bands, or that
            cannot take the sweep's grid.
    """
    block: Any = config.engine
    device = resolve_device(block.device)
    try:
        model = _load(block.model, device)
        if not hasattr(model, "rollout"):
            raise InputError(f"model {model.name}: found a network of kind {model.kind}, allowed one of kind jump")
        model.check(_any_problem(config))
        if model.calibration is None:
            raise InputError(
                f"model {model.name}: has no calibrated bands; "
                f"`phasetwin evaluate {block.model} --calibrate` makes them"
            )
    except InputError as error:
        raise InputError(f"engine.model: {error}") from None
    fallback = None
    if isinstance(block.outside, SolverBlock):
        fallback = solver_engine(block.outside, "solver (outside the model's domain)")
    if block.precision == "bfloat16":
        return SurrogateEngine(_in_bfloat16(model), f"surrogate {model.name} in bfloat16", fallback)
    return SurrogateEngine(model, f"surrogate {model.name}", fallback)


@dataclass(frozen=True)
class _InBfloat16:
    """A jump network whose matrix products and convolutions are in bfloat16; what goes in and comes out is float32.

    Around the network alone: transforms of the solver's frames and energies are matrix products as well.
    """

    net: Any
    device: str

    def _casting(self) -> torch.autocast:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    def features(self, field: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """See :meth:`surrogate.networks.jump.JumpNet.features`."""
        with self._casting():
            return self.net.features(field, groups)

    def changes(self, features: torch.Tensor, owners: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """See :meth:`surrogate.networks.jump.JumpNet.changes`."""
        with self._casting():
            return self.net.changes(features, owners, lengths)


def _in_bfloat16(model: Any) -> Any:
    """A model like another, sharing its weights; the other stays as it is."""
    low = copy.copy(model)
    low.net = _InBfloat16(model.net, model.device)
    return low


@lru_cache(maxsize=4)
def _load(name: str, device: str) -> Any:
    from surrogate import load_surrogate

    return load_surrogate(name, device)


def _any_problem(config: SweepConfig) -> Any:
    names = ("kappa", "mobility_contrast", "gamma", "composition")
    values = {"kappa": 1.0, "mobility_contrast": 0.0, "gamma": 1.5, "composition": 0.0}
    return build_problem(config, {n: torch.full((1,), values[n], dtype=torch.float64) for n in names})


def emulator_engine(config: SweepConfig) -> EmulatorEngine:
    """The emulator of a sweep.

    Raises:
        InputError: for an emulator that is not there, damaged, or of another process, box or kind of start, or one
            without some of the sweep's parameters or quantities.
    """
    from solvers.qois import qois_of
    from surrogate.emulator.curves import Setting

    block: Any = config.engine
    try:
        emulator = _load_emulator(block.model)
        well = config.well
        wells = (well.rho, well.ca, well.cb) if well else (0.25, -1.0, 1.0)
        grid = config.grid
        setting = Setting(config.process, grid.shape, grid.boundary, grid.spacing, config.initial.kind, *wells)
        if not setting.same_curves(emulator.setting):
            own = emulator.setting
            raise InputError(
                f"emulator {block.model}: found {config.process}, {grid.shape} cells, {grid.boundary}, start "
                f"{config.initial.kind}, allowed {own.process}, {own.shape} cells, {own.boundary}, start {own.start}"
            )
        missing = [name for name in qois_of(config.process) if name not in emulator.fits]
        if missing:
            raise InputError(f"emulator {block.model}: has not learned {', '.join(missing)}")
    except InputError as error:
        raise InputError(f"engine.model: {error}") from None
    start = {n: float(v) for n in ("amplitude", "grains") if (v := getattr(config.initial, n, None)) is not None}
    return EmulatorEngine(emulator, setting, start, f"emulator {block.model}")


@lru_cache(maxsize=4)
def _load_emulator(folder: str) -> Any:
    from surrogate.emulator.emulator import Emulator

    return Emulator.load(folder)
