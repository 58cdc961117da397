"""Samplers of studies by name: the word after ``sampler: {kind: ...}``, and the function that proposes trials.

A sampler of your own is a function, or an object that is called like one, of four arguments::

    import numpy as np
    import studies

    def around_the_best(space, seed, trials, count):
        rng = np.random.default_rng(seed)
        if not len(trials.values):
            return space.values(rng.random((count, space.size)))
        best = space.unit(trials.values)[np.argmin(trials.losses[:, 0])]
        near = best + 0.1 * rng.standard_normal((count, space.size))
        return space.values(np.clip(near, 0.0, 1.0))

    studies.register_sampler(studies.SamplerKind("around_the_best", around_the_best))

or the same :class:`SamplerKind` as an entry point of an installed package in the group ``phasetwin.samplers``. What it
returns must depend on its arguments alone: then a study that was killed goes on with the same trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from solvers.registries import Reference, Registry

if TYPE_CHECKING:
    from studies.inverse.config import StudyConfig
    from studies.inverse.space import SearchSpace


@dataclass(frozen=True)
class TrialWindow:
    """The trials that a sampler sees: the best and the latest, in the order in which they were proposed."""

    values: np.ndarray  #: (trial, variable)
    losses: np.ndarray  #: (trial, objective), smaller is better, corrected by what the solver found since
    #: constraint -> (trial,), 0 or less where met; ``domain`` for trials outside an engine's domain
    violations: Mapping[str, np.ndarray]
    attributes: Sequence[Mapping[str, object]]  #: for each trial, what the sampler stored with it
    batch: int  #: number of the batch that is asked for
    proposed: int  #: points that the sampler proposed for earlier batches
    study: StudyConfig  #: the study's file


@dataclass(frozen=True)
class Proposal:
    """Points (trial, variable), and with each what the sampler wants stored (JSON values); empty for nothing."""

    values: np.ndarray
    attributes: list[dict[str, object]] = field(default_factory=list)


class Sampler(Protocol):
    """Proposes trials."""

    def __call__(self, space: SearchSpace, seed: int, trials: TrialWindow, count: int) -> np.ndarray | Proposal:
        """``count`` points within the box, (count, variable).

        Args:
            space: the variables: names, bounds, and maps from and to the unit cube.
            seed: of this batch; another one for each batch of a study.
            trials: what was found so far.
            count: points wanted.
        """
        ...


@dataclass(frozen=True)
class SamplerKind:
    """A sampler with what studies need to know of it."""

    name: str  #: as it stands in YAML files
    sampler: Reference  #: see :class:`Sampler`
    several_objectives: bool = True  #: whether it takes more than one
    #: whether it takes violations; else trials that violate something are shown to it with losses above all others, and
    #: without violations
    constraints: bool = True
    variables: int = 1  #: fewest variables that it takes
    #: how many of the best and of the latest trials it sees. With a window, the time that a proposal takes does not
    #: grow with the number of trials.
    window: tuple[int, int] = (200, 300)

    def refusal(self, objectives: int, variables: int) -> str | None:
        """What of a problem it cannot take; None for nothing."""
        if objectives > 1 and not self.several_objectives:
            return "several objectives"
        if variables < self.variables:
            return "one variable" if variables == 1 else f"{variables} variables"
        return None


_OPTUNA, _SEQUENCES = "studies.inverse.samplers.optuna_samplers", "studies.inverse.samplers.sequences"

_OWN = (
    # The time of a proposal is proportional to the trials that TPE sees; it takes 25 of them at most for good ones.
    SamplerKind("tpe", f"{_OPTUNA}:tpe", window=(100, 100)),
    # GP's time grows with the cube of the trials it sees.
    SamplerKind("gp", f"{_OPTUNA}:gp", window=(60, 40)),
    SamplerKind("nsga2", f"{_OPTUNA}:nsga2", window=(100, 400)),
    SamplerKind("cmaes", f"{_OPTUNA}:cmaes", several_objectives=False, constraints=False, variables=2),
    SamplerKind("qmc", f"{_SEQUENCES}:sobol"),
    SamplerKind("random", f"{_OPTUNA}:random"),
    SamplerKind("grid", f"{_SEQUENCES}:grid"),
)

SAMPLERS: Registry[SamplerKind] = Registry("sampler.kind", "phasetwin.samplers", _OWN, only=SamplerKind)


def register_sampler(kind: SamplerKind) -> SamplerKind:
    """Make a sampler known to this program, see the module's text.

    Raises:
        InputError: for a name that another sampler has.
    """
    return SAMPLERS.register(kind)
