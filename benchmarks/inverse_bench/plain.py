"""The loop that a user would write: Optuna's TPE, one call of the solver for each trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna

from studies import Study
from sweeps.config.sweep import SweepConfig


@dataclass(frozen=True)
class Plain:
    """What a plain loop did.

    Attributes:
        miss: of its best trial, by its own solver.
        trials: number of calls.
        seconds, cpu_s: of all calls; one thread.
        done: whether the wanted miss was reached.
        best: parameters of the best trial, (point, variable) with one point.
    """

    miss: float
    trials: int
    seconds: float
    cpu_s: float
    done: bool
    best: np.ndarray


def loop(study: Study, wanted: float, most: int, limit_s: float, reference: bool) -> Plain:
    """Ask, solve, tell, until a trial is as good as wanted, ``most`` are asked, or the time is up."""
    evaluate, scale = evaluator(study, reference), sizes(study)
    variables = list(study.config.variables.items())
    started, spent = time.monotonic(), time.process_time()

    def objective(trial: optuna.Trial) -> float:
        point = np.array([[trial.suggest_float(n, s.low, s.high, log=s.log) for n, s in variables]])
        miss = float((evaluate(point)[0] / scale).max())
        if miss <= wanted or time.monotonic() - started > limit_s:
            trial.study.stop()
        return miss

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plain = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
    plain.optimize(objective, n_trials=most)
    best = np.array([[plain.best_params[n] for n, _ in variables]])
    seconds, cpu_s = time.monotonic() - started, time.process_time() - spent
    return Plain(plain.best_value, len(plain.trials), seconds, cpu_s, plain.best_value <= wanted, best)


def sizes(study: Study) -> np.ndarray:
    """What a miss of each objective is relative to: the target; distances to curves are relative already."""
    targets = [getattr(c.loss, "target", 1.0) for c in study.prepare().criteria.objectives]
    return np.array([abs(t) if isinstance(t, float) else 1.0 for t in targets])


def evaluator(study: Study, reference: bool) -> Callable[[np.ndarray], np.ndarray]:
    """(point, variable) to losses (point, objective) by one call of the solver, all starts as a batch.

    Args:
        study: whose problem, starts and objectives are taken.
        reference: at the tolerance that decides; else at that of the sweep.
    """
    import torch

    from solvers.qois import evaluate_qois
    from sweeps.engines.solver import SolverEngine
    from sweeps.plan.problems import build_problem, build_start

    prepared = study.prepare()
    sweep: SweepConfig = prepared.reference if reference else prepared.fallback
    block = sweep.engine
    engine = SolverEngine(block.tolerance, block.dtype)  # type: ignore[attr-defined]
    count = sweep.realizations.count
    times = sweep.time_values()

    def evaluate(point: np.ndarray) -> np.ndarray:
        columns = prepared.space.columns(point)
        constants = {n: np.full(1, float(v)) for n, v in sweep.parameters.items() if isinstance(v, float | int)}
        values = {**constants, **columns}
        samples = {n: torch.full((count,), float(values[n][0]), dtype=torch.float64) for n in sweep.parameter_names}
        start = build_start(sweep, samples, torch.arange(count))
        asked = torch.from_numpy(np.tile(times * values["mobility"][0], (count, 1)))
        problem = build_problem(sweep, {n: v for n, v in samples.items() if n != "mobility"})
        frames = engine.rollout(problem, start, asked)
        qois = {n: q.numpy()[None] for n, q in evaluate_qois(problem, frames).items()}
        view = _Memory(qois, frames.field.numpy()[None], times)
        features = [c.feature.read(view) for c in prepared.criteria]  # type: ignore[arg-type]
        return prepared.criteria.assess(features).losses

    return evaluate


class _Memory:
    """Looks like a store of one point to a feature."""

    def __init__(self, qois: dict[str, np.ndarray], fields: np.ndarray, times: np.ndarray) -> None:
        self._qois, self._fields, self.times = qois, fields, times

    def get(self, name: str) -> np.ndarray:
        """(point, realization, time)."""
        return self._qois[name]

    def field(self, time: float) -> np.ndarray:
        """(point, realization, y, x)."""
        return self._fields[:, :, int(np.abs(self.times - time).argmin())]
