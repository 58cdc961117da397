"""Against a plain loop: ``study.optimize``, the solver called once a trial, the same starts, the same sampler.

Both end with a solution of the best point by the reference solver. The plain loop is timed until its best trial is as
good as the study's verified optimum; where it never gets there the factor is a lower bound. Told twice: with the
solver at the sweep's tolerance in the loop, and with the reference solver, whose every trial is verified.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna

from inverse_bench.examples import hidden_sets, hidden_study, off
from studies import Study
from sweeps.config import SweepConfig

if TYPE_CHECKING:
    from distributed import Client

NUMBER = 3


def measure(names: Sequence[str], client: Client, folder: Path, plain: int) -> list[str]:
    """Markdown lines."""
    lines = [
        "",
        f"### Against a plain loop (at most {plain} trials)",
        "",
        "| example | study: miss, seconds | plain, solver at the sweep's tolerance: miss, "
        "trials, seconds | factor | plain, "
        "reference solver: miss, trials, seconds | factor |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        hidden = hidden_sets(name, NUMBER + 1)[NUMBER]
        study = hidden_study(name, hidden, NUMBER, client, folder / "speed" / name)
        started = time.monotonic()
        result = study.run(client, progress=False, report=False)
        own = time.monotonic() - started
        reached = off(study, result.best[0])
        cells = [f"{100 * reached:.3f} %, {own:.1f}"]
        for reference in (False, True):
            miss, trials, seconds, done = _plain(study, reached, plain, reference)
            cells.append(f"{100 * miss:.3f} %, {trials}, {seconds:.0f}")
            cells.append(f"{'' if done else '> '}{seconds / own:.0f}")
            print(f"{name}: {cells}", file=sys.stderr)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _plain(study: Study, wanted: float, most: int, reference: bool) -> tuple[float, int, float, bool]:
    """Miss of the best trial, trials and seconds until it was as good as wanted, and whether it was."""
    evaluate = _evaluator(study, reference)
    names = list(study.config.variables.items())
    targets = study.prepare().judge.objectives
    sizes = [abs(t.aim.target) if isinstance(t.aim.target, float) else 1.0 for t in targets]  # type: ignore[union-attr]
    started, best, when = time.monotonic(), np.inf, [0, 0.0]

    def objective(trial: optuna.Trial) -> float:
        nonlocal best
        point = np.array([[trial.suggest_float(n, s.low, s.high, log=s.log) for n, s in names]])
        miss = float((evaluate(point)[0] / sizes).max())
        if miss < best:
            best = miss
        if best <= wanted and not when[0]:
            when[:] = [trial.number + 1, time.monotonic() - started]
            trial.study.stop()
        return miss

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plain = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
    plain.optimize(objective, n_trials=most)
    if not reference:
        # The best of the loop is solved again, as the study's is.
        _evaluator(study, reference=True)(np.array([[plain.best_params[n] for n, _ in names]]))
    total = time.monotonic() - started
    return best, len(plain.trials), total, bool(when[0])


def _evaluator(study: Study, reference: bool) -> Callable[[np.ndarray], np.ndarray]:
    """(point, variable) to losses (point, objective) by one call of the solver with all starts as a batch."""
    import torch

    from solvers.qois import evaluate_qois
    from sweeps.engines import Request, SolverEngine
    from sweeps.problems import build_problem, build_start

    prepared = study.prepare()
    sweep: SweepConfig = prepared.reference if reference else prepared.fallback
    block = sweep.engine
    engine = SolverEngine(block.tolerance, block.dtype)  # type: ignore[union-attr]
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
        request = Request(problem, start, asked, samples)
        frames = engine.rollout(problem, start, asked)
        qois = {n: q.numpy()[None] for n, q in evaluate_qois(request.problem, frames).items()}
        view = _Memory(qois, frames.field.numpy()[None], times)
        features = [t.feature.read(view) for t in prepared.terms]
        return prepared.judge(features).losses

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
