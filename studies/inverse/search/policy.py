"""Decides what a study does next: sample, refine, follow a trajectory, confirm, verify or stop.

Decisions depend on the state of the search and on earlier decisions alone, so that a study that was killed repeats
them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from studies.inverse.config import StudyConfig
from studies.inverse.objectives.criteria import INFEASIBLE
from studies.inverse.objectives.pareto import improvement
from studies.inverse.search.acquisition import evenly_along, known_front
from studies.inverse.search.fidelity import FidelityLevels, SearchState
from studies.inverse.search.shared_trajectories import POINTS, on_trajectory, time_variable

#: Cycles of sampling and refining without gain after which the search counts as settled.
PATIENCE = 2
#: Gain that counts: share of a distance, or of the extent of a front.
GAIN, FRONT_GAIN = 0.02, 0.02
#: Refinements between two samplings.
REFINEMENTS = 3

ActionKind = Literal["sample", "refine", "trajectory", "confirm", "verify", "stop"]
#: Actions that propose new trials.
PROPOSING = ("sample", "refine", "trajectory")


@dataclass(frozen=True)
class Action:
    """What to do."""

    #: ``sample`` asks the sampler, ``refine`` the model, ``trajectory`` takes points on the trajectory of one trial;
    #: ``confirm`` and ``verify`` evaluate trials at a higher fidelity
    kind: ActionKind
    count: int = 0  #: trials to propose
    trials: tuple[int, ...] = ()  #: positions in the history to evaluate, or the one whose trajectory is meant
    candidates: int = 0  #: how many of them were chosen for their merit; the rest was picked at random
    why: str = ""  #: reason to stop


@dataclass
class SearchPolicy:
    """Decides the next action."""

    study: StudyConfig
    levels: FidelityLevels
    proposed: int = 0  #: trials so far
    rounds: int = 0  #: of verification so far
    _refined: int = 0
    _stale: int = 0
    _best: float = np.inf
    _front: np.ndarray | None = field(default=None)
    _last: ActionKind = "stop"
    _verified_outside: bool = False
    _followed: list[np.ndarray] = field(default_factory=list)

    def next(self, state: SearchState) -> Action:
        """The next action."""
        if self.study.stop == "budget" and self._left > 0:
            action = self._explore(state)
        else:
            action = self._pareto(state) if self.levels.criteria.is_pareto else self._single(state)
        self._last = action.kind
        if action.kind in PROPOSING:
            self.proposed += action.count
        if action.kind == "sample":
            self._refined = 0
            self._update_gain(state)
        elif action.kind == "refine":
            self._refined += 1
        elif action.kind == "verify":
            self.rounds += 1
            self._refined = 0
        return action

    def _update_gain(self, state: SearchState) -> None:
        """Before each sampling: whether the cycle since the last one gained anything."""
        rows = np.flatnonzero(state.trusted & state.assessment.feasible)
        if not rows.size:
            return
        if self.levels.criteria.is_pareto:
            front = state.assessment.losses[known_front(state)]
            gained = self._front is None or improvement(front, self._front) > FRONT_GAIN
            self._front = front
        else:
            best = float(state.assessment.merit[rows].min())
            gained = best < self._best - self._needed(best)
            self._best = min(best, self._best)
        self._stale = 0 if gained else self._stale + 1

    def _needed(self, merit: float) -> float:
        """Gain on a merit that counts."""
        if self.levels.criteria.all_targets:
            return GAIN * merit
        return self.levels.criteria.objectives[0].loss.allowed(merit)

    @property
    def _left(self) -> int:
        return self.study.trials - self.proposed

    @property
    def _settled(self) -> bool:
        return self._stale >= PATIENCE or self._left <= 0

    def _explore(self, state: SearchState) -> Action:
        """Refine where there are enough trials for a model, at most ``REFINEMENTS`` times between samplings."""
        refine = min(self.study.sampler.refine, self._left)
        enough = int(state.trusted.sum()) >= 2 * self.levels.space.size + 2
        if refine and enough and self._refined < REFINEMENTS:
            return Action("refine", count=refine)
        return Action("sample", count=min(self.study.batch, self._left))

    def _single(self, state: SearchState) -> Action:
        """The next action for one objective, or for several targets."""
        criteria, rows, best = self.levels.criteria, state.candidates(), state.best_verified()
        losses, merit = state.assessment.losses, state.assessment.merit
        if best is not None and bool(criteria.met(losses[[best]])[0]):
            return Action("stop", why="a verified optimum meets every target")
        promising = rows.size > 0 and bool(criteria.met(losses[rows[:1]])[0])
        better = rows.size > 0 and (best is None or self._better(state, float(merit[rows[0]]), best))
        if self.rounds < self.study.verify.rounds and (promising or (self._settled and better)):
            return self._follow(state, int(rows[0])) or self._verify(state, self._chosen(state, rows))
        if self._settled and not better:
            action = self._outside_domain(state, best)
            if action is not None:
                return action
            if best is not None:
                return Action("stop", why="no candidate is predicted better than the verified optimum")
        if self._left <= 0:
            return Action("stop", why="the budget of trials is spent")
        return self._explore(state)

    def _follow(self, state: SearchState, row: int) -> Action | None:
        """Make trials of points on the candidate's trajectory, which the solver will compute along with it."""
        space, values = self.levels.space, self.levels.history.points[state.trials[row]]
        count = min(POINTS - 1, self._left)
        known = bool(self._followed) and bool(on_trajectory(space, np.array(self._followed), values).any())
        if time_variable(space) is None or count < 1 or known:
            return None
        self._followed.append(values)
        return Action("trajectory", count=count, trials=(int(state.trials[row]),))

    def _chosen(self, state: SearchState, rows: np.ndarray) -> list[int]:
        """The best candidates, and the trials on the trajectory of the best one."""
        points = self.levels.history.points[state.trials[rows]]
        own = on_trajectory(self.levels.space, points, points[0])
        return [*rows[own].tolist(), *rows[~own][: self.study.verify.top - 1].tolist()]

    def _outside_domain(self, state: SearchState, best: int | None) -> Action | None:
        """Verify trials outside the engine's domain that may be better than all inside.

        Predictions there, by the engine or by a model of what is known inside, are not trusted; they only choose what
        the solver is asked for. Its results correct both, and more is proposed.
        """
        if self.rounds >= self.study.verify.rounds:
            return None
        refine = min(self.study.sampler.refine, self._left)
        if self._verified_outside and self._last == "verify" and refine > 0:
            return Action("refine", count=refine)
        possible = ~state.trusted & ~state.verified
        possible &= ~np.isin(state.trials, list(self.levels.verified.failed))
        rows = np.flatnonzero(possible)
        merit = state.assessment.merit[rows]
        model = self.levels.model(state) if rows.size else None
        if model is not None:
            merit = np.fmin(merit, model.assess(state.unit[rows]).merit)
        better = [
            int(rows[i])
            for i in np.argsort(merit, kind="stable")
            if merit[i] < INFEASIBLE and (best is None or self._better(state, float(merit[i]), best))
        ]
        if not better:
            return None
        self._verified_outside = True
        return self._verify(state, better[: self.study.verify.top])

    def _better(self, state: SearchState, merit: float, best: int) -> bool:
        """Whether a predicted merit is better than that of the best verified trial by a gain that counts."""
        verified = float(state.assessment.merit[best])
        return verified - merit > self._needed(verified)

    def _pareto(self, state: SearchState) -> Action:
        if not self._settled:
            return self._explore(state)
        front, solved = known_front(state), known_front(state, only_verified=True)
        new = [int(row) for row in front if not state.verified[row]]
        losses = state.assessment.losses
        if solved.size and (not new or improvement(losses[front], losses[solved]) <= FRONT_GAIN):
            return Action("stop", why="the verified front is the predicted one")
        if new and self.rounds < self.study.verify.rounds:
            refine = min(self.study.sampler.refine, self._left)
            if self.rounds and self._last == "verify" and refine > 0:
                return Action("refine", count=refine)
            return self._verify(state, evenly_along(new, self.study.verify.top))
        return Action("stop", why="the rounds of verification are spent" if new else "the budget of trials is spent")

    def _verify(self, state: SearchState, rows: list[int]) -> Action:
        trials = [int(state.trials[row]) for row in rows]
        count = len(trials)
        if self.rounds == 0:
            trials += self._random(trials)
        level = self.levels.confirmed
        unknown = tuple(t for t in trials if not level.knows(t)) if level is not None else ()
        if unknown:
            return Action("confirm", trials=unknown, candidates=len(unknown))
        return Action("verify", trials=tuple(trials), candidates=count)

    def _random(self, but: list[int]) -> list[int]:
        """Other trials inside the engine's domain, picked by seed, for the engine's error all over the box."""
        history = self.levels.history
        possible = np.flatnonzero(history.usable & history.inside)
        possible = possible[~np.isin(possible, but)]
        order = np.random.default_rng([self.study.sampler.seed, 1]).permutation(possible.size)
        return possible[order[: self.study.verify.random]].tolist()
