"""Which parameters and dimensionless groups the frames determine, and which the prior alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from studies.twin.inference.variational import AssimilationProblem
from studies.twin.quantiles import quantiles

#: Posterior over prior spread: below the first a quantity is determined, below the second partly.
DETERMINED, PARTLY = 0.3, 0.8


@dataclass(frozen=True)
class Determined:
    """How well one quantity is known."""

    name: str  #: of the parameter or group
    meaning: str
    value: float  #: posterior median
    low: float  #: 5 % of the posterior
    high: float  #: 95 %
    ratio: float  #: spread of the logarithm, posterior over prior; NaN for what was given
    verdict: str  #: ``determined``, ``partly``, ``not determined`` or ``given``


def identifiability(problem: AssimilationProblem, z: np.ndarray) -> list[Determined]:
    """What posterior members z (member, name) know of the parameters, then of the groups."""
    prior = np.random.default_rng(0).standard_normal((4096, z.shape[1]))
    after, before = (
        {n: v.numpy() for n, v in problem.values(torch.from_numpy(np.ascontiguousarray(m))).items()} for m in (z, prior)
    )
    rows = [_judge(name, "parameter", after[name], before[name]) for name in problem.priors]
    for group in problem.process.groups:
        of = [values["mobility"] ** group.mobility * values["kappa"] ** group.kappa for values in (after, before)]
        rows.append(_judge(group.name, group.meaning, *of))
    return rows


def _judge(name: str, meaning: str, after: np.ndarray, before: np.ndarray) -> Determined:
    spread = float(np.log(before).std())
    if spread < 1e-12:
        value = float(after[0])
        return Determined(name, meaning, value, value, value, float("nan"), "given")
    ratio = float(np.log(after).std()) / spread
    verdict = "determined" if ratio < DETERMINED else "partly" if ratio < PARTLY else "not determined"
    low, value, high = quantiles(after)
    return Determined(name, meaning, float(value), float(low), float(high), ratio, verdict)
