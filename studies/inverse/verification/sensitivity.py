"""How much each variable matters: indices from given data (SALib), of a finished sweep or of a study's own trials, and
Optuna's importances.

Given-data indices need no special design: delta is moment-independent (Plischke, Borgonovo and Smith, Eur. J. Oper.
Res. 226, 536 (2013), doi:10.1016/j.ejor.2012.11.047), S1 the first-order share of the variance (the same reference;
for many points also RBD-FAST, Tarantola, Gatelli and Mara, doi:10.1016/j.ress.2005.06.003), PAWN that of distributions
(Pianosi and Wagener, doi:10.1016/j.envsoft.2015.01.004).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from solvers.processes.registry import all_parameter_names
from sweeps import open_sweep

#: Fewer points say too little.
LEAST = 24
RESAMPLES = 20
#: SALib takes 0 for no seed at all.
SEED = 1
POINTS_TO_A_BIN = 15


@dataclass(frozen=True)
class Indices:
    """Of one quantity."""

    quantity: str  #: its label
    names: tuple[str, ...]  #: of the variables
    delta: np.ndarray  #: (variable,) moment-independent index
    delta_conf: np.ndarray  #: its 95 % half-width
    first: np.ndarray  #: (variable,) first-order index
    first_conf: np.ndarray  #: its 95 % half-width
    pawn: np.ndarray  #: (variable,) median PAWN index
    points: int  #: it was computed from


def given_data(quantity: str, names: Sequence[str], values: np.ndarray, result: np.ndarray) -> Indices | None:
    """Indices from points (point, variable) and results (point,); None for too few points or a constant."""
    from SALib.analyze import delta, pawn

    good = np.isfinite(result)
    values, result = values[good], result[good]
    if len(result) < LEAST or np.ptp(result) == 0 or (np.ptp(values, axis=0) == 0).any():
        return None
    problem = {
        "num_vars": len(names),
        "names": list(names),
        "bounds": [[float(v.min()), float(v.max())] for v in values.T],
    }
    bins = {name: int(np.clip(len(result) // POINTS_TO_A_BIN, 2, 10)) for name in names}
    settings = {"num_resamples": RESAMPLES, "seed": SEED}
    with _quiet():
        moments = delta.analyze(problem, values, result, method="delta", bins_specs=bins, **settings)
        variance = delta.analyze(problem, values, result, method="sobol", **settings)
        shares = pawn.analyze(problem, values, result, S=_slides(len(result)), seed=SEED)
    return Indices(
        quantity=quantity,
        names=tuple(names),
        delta=np.asarray(moments["delta_raw"], dtype=float),
        delta_conf=np.asarray(moments["delta_raw_conf"], dtype=float),
        first=np.asarray(variance["S1"], dtype=float),
        first_conf=np.asarray(variance["S1_conf"], dtype=float),
        pawn=np.asarray(shares["median"], dtype=float),
        points=len(result),
    )


def _slides(points: int) -> int:
    """Conditioning intervals for PAWN, eight points each or more, at most ten.

    SALib 1.6 steps from 0 to 1 in floating point and for some numbers (6 is one) steps beyond 1, which numpy refuses.
    """
    most = min(10, max(1, points // 8))
    return max(s for s in range(1, most + 1) if np.arange(0, 1 + 1 / s, 1 / s)[-1] <= 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """SALib prints, warns, seeds numpy's generator and replaces the format of warnings: all is put back."""
    form, state = warnings.formatwarning, np.random.get_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True):
            yield
    finally:
        warnings.formatwarning = form
        np.random.set_state(state)


def of_sweep(url: str, qoi: str, at: float | None = None) -> Indices | None:
    """Indices of a finished sweep's quantity at a time (None for the last), mean over realizations.

    Raises InputError if there is no store.
    """
    ds = open_sweep(url)
    names = [n for n in all_parameter_names() if n in ds.coords and len(np.unique(ds[n].values)) > 1]
    curve = ds[qoi].mean("realization")
    result = curve.isel(time=-1) if at is None else curve.sel(time=at, method="nearest")
    return given_data(qoi, names, np.stack([ds[n].values for n in names], axis=1), np.asarray(result.values))


def importances(study: optuna.Study) -> list[dict[str, float]]:
    """Optuna's importances for each objective (PED-ANOVA); empty with too few trials."""
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < LEAST:
        return []
    found = []
    for i, direction in enumerate(study.directions):
        sign = -1.0 if direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # It looks for what makes the target low, and warns of that: here it is turned round where more is better.
            warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes the importances", UserWarning)
            evaluator = PedAnovaImportanceEvaluator()
            target = None if len(study.directions) == 1 else (lambda t, i=i, sign=sign: sign * t.values[i])
            try:
                found.append(get_param_importances(study, evaluator=evaluator, target=target))
            except (ValueError, RuntimeError):
                # All values alike: nothing is more important than anything else.
                return []
    return found
