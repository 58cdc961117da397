"""The lowest rung in the frontier: an emulator of statistics, learned from other trajectories of a case's kind."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from solvers.simulation import simulate_frames
from surrogate.emulator.build import learn
from surrogate.emulator.curves import CurveTrajectory, StatisticsCurves
from surrogate.emulator.emulator import Emulator
from surrogate.evaluation.frontier.cases import CAHN_HILLIARD, GRAIN_GROWTH, Case
from surrogate.evaluation.frontier.errors import Values, quantities
from surrogate.setting import Setting

#: What it learns from: eight values of kappa, two starts each, none of them the case's.
TRAJECTORIES = 16
TOLERANCE = 0.05
NAME = "emulator"


def learning_case(case: Case) -> Case:
    """The same kind of trajectories from other starts."""
    return replace(case, name=f"{case.name}-learning", trajectories=TRAJECTORIES)


def identity() -> dict[str, Any]:
    """What decides its answers, beside the code."""
    return {"model": NAME, "trajectories": TRAJECTORIES, "tolerance": TOLERANCE}


def _setting(case: Case) -> Setting:
    start = "voronoi" if case.process == GRAIN_GROWTH else "noise"
    return Setting(case.process, (case.cells, case.cells), "periodic", 1.0, start)


def _parameters(case: Case) -> dict[str, np.ndarray]:
    """Name -> (trajectory,), mobility left out."""
    kappa = case.kappa()
    if case.process == GRAIN_GROWTH:
        others = {"gamma": 1.5, "grains": float(case.grains())}
    else:
        others = {
            "composition": case.composition, "mobility_contrast": case.contrast, "amplitude": case.amplitude
        }  # fmt: skip
    return {"kappa": kappa, **{name: np.full(len(kappa), value) for name, value in others.items()}}


def _mobility(case: Case) -> np.ndarray:
    return case.kappa() ** (-0.5 if case.process == CAHN_HILLIARD else -1.0)


def learned(case: Case) -> tuple[Emulator, float]:
    """The emulator of a case, and the seconds that its trajectories took."""
    other, setting = learning_case(case), _setting(case)
    problem, initial, times = other.problem(), other.initial(), other.times()
    groups = setting.groups(_parameters(other))
    tau = setting.scaled_time(_mobility(other))[:, None] * times.numpy()
    trajectories, seconds = [], 0.0
    for i in range(other.trajectories):  # one by one: large boxes would not fit memory together
        row = torch.tensor([i])
        started = time.perf_counter()
        frames = simulate_frames(problem.take(row), initial[row], times[row], tolerance=TOLERANCE, dtype=torch.float32)
        seconds += time.perf_counter() - started
        values = {}
        for name, found in quantities(problem.take(row), frames).items():
            offset, factor = setting.unit(name)
            values[name] = (found[0] - offset) / factor
        site = tuple(float(f"{v[i]:.12g}") for v in groups.values())
        trajectories.append(CurveTrajectory(site, (other.name, i), False, tau[i], values))
    curves = StatisticsCurves(setting, tuple(groups), tuple(trajectories), {})
    return learn(curves), seconds


def emulated(case: Case, emulator: Emulator) -> tuple[Values, np.ndarray, float]:
    """Quantity -> (trajectory, time), trust (trajectory,), and the seconds of the answer."""
    parameters = {**_parameters(case), "mobility": _mobility(case)}
    known = {name: values for name, values in parameters.items() if name == "mobility" or name in _asked(emulator)}
    started = time.perf_counter()
    found = emulator.predict(known, case.times().numpy())
    return found.mean, found.trust, time.perf_counter() - started


def _asked(emulator: Emulator) -> set[str]:
    return {name for name, group in emulator.setting.learned.parameter_groups.items() if group in emulator.groups}
