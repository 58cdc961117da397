"""Optuna's samplers.

One is created for each batch, on a study in memory that holds the window of trials with their corrected losses. What it
stores with a trial (the generation, for instance) is kept in the journal and given back to it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.inverse.samplers.registry import Proposal, TrialWindow
from studies.inverse.samplers.sequences import sobol

if TYPE_CHECKING:
    from studies.inverse.config import StudyConfig
    from studies.inverse.space import SearchSpace


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """No messages of Optuna below errors, and no warnings that a feature is experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


@dataclass(frozen=True)
class OptunaSampler:
    """One of Optuna's samplers as a :class:`studies.inverse.samplers.registry.Sampler`."""

    make: Callable[[int, StudyConfig], BaseSampler]  #: seed and study to Optuna's sampler
    #: whether a first batch without any trial is a Sobol sequence, where Optuna would draw at random
    sobol_first: bool = False

    def __call__(self, space: SearchSpace, seed: int, trials: TrialWindow, count: int) -> np.ndarray | Proposal:
        """See :class:`studies.inverse.samplers.registry.Sampler`."""
        if self.sobol_first and not len(trials.values):
            return sobol(space, seed, trials, count)
        with quiet_optuna():
            directions = [StudyDirection.MINIMIZE] * len(trials.study.objectives)
            study = optuna.create_study(directions=directions, sampler=self.make(seed, trials.study))
            study.add_trials(_frozen(space, trials))
            for _ in range(count):
                study.ask(dict(space.distributions()))
        asked = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        values = np.array([space.as_row(trial.params) for trial in asked])
        return Proposal(values, [dict(trial.system_attrs) for trial in asked])


def _frozen(space: SearchSpace, trials: TrialWindow) -> list[FrozenTrial]:
    return [
        create_trial(
            values=trials.losses[i].tolist(),
            params=space.as_dict(trials.values[i]),
            distributions=dict(space.distributions()),
            system_attrs=dict(trials.attributes[i]),
            constraints={n: float(v[i]) for n, v in trials.violations.items()} or None,
        )
        for i in range(len(trials.values))
    ]


tpe = OptunaSampler(
    lambda seed, _: TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=1), sobol_first=True
)
gp = OptunaSampler(lambda seed, _: GPSampler(seed=seed, n_startup_trials=1), sobol_first=True)
nsga2 = OptunaSampler(lambda seed, study: NSGAIISampler(seed=seed, population_size=max(2, study.batch)))
cmaes = OptunaSampler(lambda seed, _: CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False))
random = OptunaSampler(lambda seed, _: RandomSampler(seed=seed))
