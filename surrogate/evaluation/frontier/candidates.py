"""What computes a case: the solver at tolerances, models at strides of their steps, an emulator of statistics."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
import torch

from solvers.frames import Frames
from solvers.simulation import simulate_frames
from surrogate.emulator.build import learn
from surrogate.emulator.curves import CurveTrajectory, StatisticsCurves
from surrogate.evaluation.candidates import timed
from surrogate.evaluation.cases import ReferenceCase
from surrogate.evaluation.frontier.cases import FrontierCase
from surrogate.evaluation.frontier.rows import Kind
from surrogate.evaluation.statistics import Values, quantities
from surrogate.models.files import fingerprint
from surrogate.models.jump import JumpSurrogate
from surrogate.processes import learned_process
from surrogate.rollout.stepping import StepSchedule
from surrogate.setting import Setting

logger = logging.getLogger("phasetwin")

TOLERANCES = (0.5, 0.3, 0.1, 0.05, 0.02, 0.01, 3e-3, 1e-3)
QUICK_TOLERANCES = (0.5, 0.1, 0.03, 0.01, 3e-3)
DOUBLE_TOLERANCES = (0.1, 0.01)
STRIDES = (0.5, 1.0, 2.0)
#: What an emulator learns from: eight values of kappa, two starts each, none of them the case's.
LEARNED_TRAJECTORIES = 16
_LEARNED_TOLERANCE = 0.05

#: Frames, or from an emulator quantities alone; and the trust (trajectory,).
Answer = tuple[Frames | Values, np.ndarray]
Bind = Callable[[ReferenceCase], Callable[[], Answer]]


@dataclass(frozen=True)
class Candidate:
    """Something that answers a case from its starts.

    Attributes:
        prepare: learns where something is to be learned, and returns what binds trajectories to a call that answers
            them, the way a sweep does. Only that call is part of the cost.
        model, tolerance, dtype, stride: as in :class:`~surrogate.evaluation.frontier.rows.Row`.
        identity: what decides its answers, beside the code.
    """

    name: str
    kind: Kind
    prepare: Callable[[FrontierCase], Bind]
    model: str = ""
    tolerance: float | None = None
    dtype: str = ""
    stride: float | None = None
    identity: Mapping[str, object] = field(default_factory=dict)


def solver_candidates(tolerances: Sequence[float], double: Sequence[float] = ()) -> list[Candidate]:
    """The solver in float32 at some tolerances and in float64 at others."""
    settings = [(t, torch.float32) for t in tolerances] + [(t, torch.float64) for t in double]
    return [_solver(tolerance, dtype) for tolerance, dtype in settings]


def _solver(tolerance: float, dtype: torch.dtype) -> Candidate:
    name = str(dtype).removeprefix("torch.")

    def bind(case: ReferenceCase) -> Callable[[], Answer]:
        inputs = case.inputs()
        return lambda: (simulate_frames(*inputs, tolerance=tolerance, dtype=dtype), np.ones(case.count))

    return Candidate(
        name=f"solver {tolerance:g} {name}",
        kind="solver",
        prepare=lambda _: bind,
        tolerance=tolerance,
        dtype=name,
        identity={"tolerance": tolerance, "dtype": name},
    )


def model_candidates(name_or_path: str, model: JumpSurrogate, strides: Sequence[float] = STRIDES) -> list[Candidate]:
    """A model with its schedule's steps times each stride, as far as the network reaches; equal ones once."""
    reach, plain = float(model.settings.reach), model.schedule
    found: dict[StepSchedule, Candidate] = {}
    # Its own schedule first: a stride that changes nothing is then left out.
    for stride in sorted(strides, key=lambda s: (s != 1.0, s)):
        lengths = tuple(min(length * stride, max(reach, length)) for length in plain.lengths)
        schedule = StepSchedule(tuple(plain.ages), lengths) if stride != 1.0 else plain
        if schedule not in found:
            found[schedule] = _model(name_or_path, model, schedule, stride)
    return list(found.values())


def _model(name_or_path: str, model: JumpSurrogate, schedule: StepSchedule, stride: float) -> Candidate:
    stepping = copy.copy(model)
    stepping.schedule = schedule

    def bind(case: ReferenceCase) -> Callable[[], Answer]:
        inputs = case.inputs()

        def answer() -> Answer:
            prediction = stepping.rollout(*inputs)
            return prediction.frames, np.asarray(prediction.trust)

        return answer

    return Candidate(
        name=model.name if stride == 1.0 else f"{model.name} x{stride:g}",
        kind="model",
        prepare=lambda _: bind,
        model=model.name,
        stride=stride,
        identity={"model": model.name, "fingerprint": fingerprint(name_or_path), "schedule": asdict(schedule)},
    )


def emulator_candidate() -> Candidate:
    """An emulator of statistics, learned from other trajectories of a case's kind."""
    return Candidate(
        name="emulator",
        kind="model",
        prepare=_learned,
        model="emulator",
        identity={"model": "emulator", "trajectories": LEARNED_TRAJECTORIES, "tolerance": _LEARNED_TOLERANCE},
    )


def _learned(spec: FrontierCase) -> Bind:
    other = replace(spec, name=f"{spec.name}-learning", trajectories=LEARNED_TRAJECTORIES).case()
    curves, seconds = _curves(other)
    emulator = learn(curves)
    logger.info(f"{spec.name}: the emulator learned from {LEARNED_TRAJECTORIES} trajectories that took {seconds:.1f} s")
    names = ["mobility", *emulator.parameter_groups]

    def bind(case: ReferenceCase) -> Callable[[], Answer]:
        known = {name: np.broadcast_to(case.parameters[name], case.count) for name in names}
        times = np.tile(case.times, (case.count, 1))

        def answer() -> Answer:
            found = emulator.predict(known, times)
            return found.mean, found.trust

        return answer

    return bind


def _curves(case: ReferenceCase) -> tuple[StatisticsCurves, float]:
    """Quantities of a case's trajectories, solved one by one to save memory, and the seconds that took."""
    start = learned_process(case.process).random_start
    setting = Setting(case.process, case.grid.shape, "periodic", 1.0, start)
    parameters = {n: np.broadcast_to(case.parameters[n], case.count) for n in setting.learned.parameter_groups}
    groups = setting.groups(parameters)
    mobility = np.broadcast_to(case.parameters["mobility"], case.count)
    tau = setting.scaled_time(mobility)[:, None] * case.times
    trajectories, seconds = [], 0.0
    for i in range(case.count):
        inputs = case.inputs([i])
        frames, spent = timed(partial(simulate_frames, *inputs, tolerance=_LEARNED_TOLERANCE, dtype=torch.float32))
        seconds += spent
        values = {}
        for name, found in quantities(inputs[0], frames).items():
            offset, factor = setting.unit(name)
            values[name] = (found[0] - offset) / factor
        site = tuple(float(f"{v[i]:.12g}") for v in groups.values())
        trajectories.append(CurveTrajectory(site, (case.name, i), False, tau[i], values))
    return StatisticsCurves(setting, tuple(groups), tuple(trajectories), {}), seconds
