"""Who proposes trials. A proposal depends on the trials told and on (seed, batch) alone, so that a study which was
killed asks the same again.

Optuna's samplers are made anew for each batch, on a study in memory that holds a window of the trials with their
present, corrected losses; what they leave with a trial (generations, for instance) is kept in the journal and given
back to them.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from studies.inverse.config import StudyConfig
from studies.inverse.search.space import Space

#: Best and latest trials that a sampler sees. GP's time grows with the cube of their number, TPE's in proportion to it
#: for each proposal; and it takes the best 25 at most for good.
WINDOW = {"gp": (60, 40), "nsga2": (100, 400), "tpe": (100, 100)}
WINDOW_OTHERS = (200, 300)


@dataclass(frozen=True)
class Seen:
    """What a sampler is shown.

    Attributes:
        values: (trial, variable).
        losses: (trial, objective), smaller is better.
        violations: name -> (trial,), 0 or less where met.
        attributes: for each trial, what the sampler left with it.
    """

    values: np.ndarray
    losses: np.ndarray
    violations: Mapping[str, np.ndarray]
    attributes: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Proposal:
    """Points (trial, variable), and what the sampler wants kept with each."""

    values: np.ndarray
    attributes: list[dict[str, Any]] = field(default_factory=list)


class Proposer(Protocol):
    """Proposes points."""

    def propose(self, seen: Seen, batch: int, first: int, count: int) -> Proposal:
        """``count`` points for a batch; ``first`` were proposed before them."""
        ...


def batch_seed(seed: int, batch: int) -> int:
    """A seed of 31 bits for one batch of a study."""
    return int(np.random.SeedSequence([seed, batch]).generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class OptunaProposer:
    """One of Optuna's samplers.

    Attributes:
        space: of the variables.
        seed: of the study.
        make: a seed to a sampler.
        objectives: how many.
        spread: of a first batch without any trial, which such a sampler would draw at random.
    """

    space: Space
    seed: int
    make: Callable[[int], BaseSampler]
    objectives: int
    spread: Proposer | None = None

    def propose(self, seen: Seen, batch: int, first: int, count: int) -> Proposal:
        """See :class:`Proposer`."""
        if not len(seen.values) and self.spread is not None:
            return self.spread.propose(seen, batch, first, count)
        with warnings.catch_warnings():
            # Samplers that Optuna calls experimental are asked for by name; what they warn of is known here.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._ask(seen, batch, count)

    def _ask(self, seen: Seen, batch: int, count: int) -> Proposal:
        distributions = self.space.distributions()
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study(
                directions=["minimize"] * self.objectives, sampler=self.make(batch_seed(self.seed, batch))
            )
            study.add_trials(self._trials(seen, distributions))
            for _ in range(count):
                study.ask(dict(distributions))
        finally:
            optuna.logging.set_verbosity(level)
        asked = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        values = np.array([[t.params[n] for n in self.space.names] for t in asked])
        return Proposal(values, [dict(t.system_attrs) for t in asked])

    def _trials(self, seen: Seen, distributions: Mapping[str, Any]) -> list[optuna.trial.FrozenTrial]:
        return [
            create_trial(
                values=seen.losses[i].tolist(),
                params=self.space.as_dict(seen.values[i]),
                distributions=dict(distributions),
                system_attrs=dict(seen.attributes[i]),
                constraints={n: float(v[i]) for n, v in seen.violations.items()} or None,
            )
            for i in range(len(seen.values))
        ]


@dataclass(frozen=True)
class SobolProposer:
    """Scrambled Sobol points, continued from batch to batch (Optuna's own sampler forgets where it was)."""

    space: Space
    seed: int

    def propose(self, seen: Seen, batch: int, first: int, count: int) -> Proposal:  # noqa: ARG002
        """See :class:`Proposer`."""
        from scipy.stats import qmc

        sequence = qmc.Sobol(self.space.size, scramble=True, seed=np.random.default_rng(self.seed))
        if first:  # scipy cannot wind on by none
            sequence.fast_forward(first)
        with warnings.catch_warnings():
            # A batch need not be a power of two: the sequence goes on.
            warnings.simplefilter("ignore", UserWarning)
            unit = sequence.random(count)
        return Proposal(self.space.values(unit))


@dataclass(frozen=True)
class GridProposer:
    """Every combination of so many values a variable, in an order drawn once; afterwards from the start again."""

    space: Space
    seed: int
    side: int

    def propose(self, seen: Seen, batch: int, first: int, count: int) -> Proposal:  # noqa: ARG002
        """See :class:`Proposer`."""
        line = np.linspace(0.0, 1.0, self.side)
        cells = self.side**self.space.size
        order = np.random.default_rng(self.seed).permutation(cells)
        chosen = order[np.arange(first, first + count) % cells]
        index = np.stack(np.unravel_index(chosen, (self.side,) * self.space.size), axis=1)
        return Proposal(self.space.values(line[index]))


def make_proposer(study: StudyConfig, space: Space) -> Proposer:
    """The sampler that a study names."""
    kind, seed = study.sampler.kind, study.sampler.seed
    sobol = SobolProposer(space, seed)
    if kind == "qmc":
        return sobol
    if kind == "grid":
        return GridProposer(space, seed, max(2, math.floor(study.trials ** (1.0 / space.size) + 1e-9)))
    samplers = optuna.samplers
    made: dict[str, Callable[[int], BaseSampler]] = {
        "random": lambda s: samplers.RandomSampler(seed=s),
        "tpe": lambda s: samplers.TPESampler(seed=s, multivariate=True, constant_liar=True, n_startup_trials=1),
        "gp": lambda s: samplers.GPSampler(seed=s, n_startup_trials=1),
        "nsga2": lambda s: samplers.NSGAIISampler(seed=s, population_size=max(2, study.batch)),
        "cmaes": lambda s: samplers.CmaEsSampler(seed=s, n_startup_trials=1, warn_independent_sampling=False),
    }
    spread = sobol if kind in ("tpe", "gp") else None
    return OptunaProposer(space, seed, made[kind], len(study.objectives), spread)


def window_of(kind: str) -> tuple[int, int]:
    """How many of the best and of the latest trials a sampler sees."""
    return WINDOW.get(kind, WINDOW_OTHERS)


def spread_out(unit: np.ndarray, order: Sequence[int], count: int, apart: float) -> list[int]:
    """The first ``count`` of ``order`` that are ``apart`` from each other in the unit cube; nearer ones fill up."""
    chosen: list[int] = []
    for i in itertools.chain(order):
        if len(chosen) == count:
            return chosen
        if not chosen or np.linalg.norm(unit[chosen] - unit[i], axis=1).min() >= apart:
            chosen.append(int(i))
    rest = [int(i) for i in order if int(i) not in set(chosen)]
    return chosen + rest[: count - len(chosen)]
