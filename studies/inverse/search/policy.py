"""What a study does next: sample, refine, fan out, confirm, verify or stop. A function of what is known, so that a
study which was killed takes the same way again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from studies.inverse.config import StudyConfig
from studies.inverse.objectives.merit import INFEASIBLE, improvement
from studies.inverse.search.acquisition import known_front, spread_front
from studies.inverse.search.fidelity import Ladder, Standing
from studies.inverse.search.shared_trajectories import FAN, family, scaling

#: Cycles of sampling and refining without gain after which the search counts as settled.
PATIENCE = 2
#: Gain that counts: share of a distance, or spans of a front.
GAIN, FRONT_GAIN = 0.02, 0.02
#: Refinements between two samplings.
REFINEMENTS = 3

Kind = Literal["sample", "refine", "fan", "confirm", "verify", "stop"]


@dataclass(frozen=True)
class Action:
    """What to do.

    Attributes:
        kind: of it.
        count: trials to ask.
        trials: positions in the history, for a higher rung; the one to fan out.
        candidates: how many of them are there for their merit; the rest was picked at random.
        why: to stop.
    """

    kind: Kind
    count: int = 0
    trials: tuple[int, ...] = ()
    candidates: int = 0
    why: str = ""


@dataclass
class Search:
    """Decides.

    Attributes:
        spent: trials asked so far.
        rounds: of verification so far.
    """

    study: StudyConfig
    ladder: Ladder
    spent: int = 0
    rounds: int = 0
    _refined: int = 0
    _stale: int = 0
    _best: float = np.inf
    _front: np.ndarray | None = field(default=None)
    _last: Kind = "stop"
    _looked_beyond: bool = False
    _fanned: list[np.ndarray] = field(default_factory=list)

    def next(self, standing: Standing) -> Action:
        """The next action."""
        if self.study.stop == "budget" and self._left > 0:
            action = self._explore(standing)
        else:
            action = self._pareto(standing) if self.ladder.judge.is_pareto else self._single(standing)
        self._last = action.kind
        self._count(action, standing)
        return action

    def _count(self, action: Action, standing: Standing) -> None:
        if action.kind == "sample":
            self._refined = 0
        if action.kind == "refine":
            self._refined += 1
        if action.kind in ("sample", "refine", "fan"):
            self.spent += action.count
        if action.kind == "sample":
            self._look(standing)
        if action.kind == "verify":
            self.rounds += 1
            self._refined = 0

    def _look(self, standing: Standing) -> None:
        """Before each sampling: has the cycle since the last one gained anything?"""
        rows = np.flatnonzero(standing.believed & standing.judged.feasible)
        if not rows.size:
            return
        if self.ladder.judge.is_pareto:
            front = standing.judged.losses[known_front(standing)]
            gained = self._front is None or improvement(front, self._front) > FRONT_GAIN
            self._front = front
        else:
            best = float(standing.judged.merit[rows].min())
            gained = best < self._best - self._needed(best)
            self._best = min(best, self._best)
        self._stale = 0 if gained else self._stale + 1

    def _needed(self, merit: float) -> float:
        if self.ladder.judge.all_targets:
            return GAIN * merit
        return self.ladder.judge.objectives[0].aim.allowed(merit)

    @property
    def _left(self) -> int:
        return self.study.trials - self.spent

    def _explore(self, standing: Standing) -> Action:
        """Refine where there is a model, at most so often between samplings."""
        refine = min(self.study.sampler.refine, self._left)
        enough = int(standing.believed.sum()) >= 2 * self.ladder.space.size + 2
        if refine and enough and self._refined < REFINEMENTS:
            return Action("refine", count=refine)
        return Action("sample", count=min(self.study.batch, self._left))

    def _single(self, standing: Standing) -> Action:
        judge, rows = self.ladder.judge, self.ladder.candidates(standing)
        best = self.ladder.best_verified(standing)
        held = best is not None and bool(judge.met(standing.judged.losses[[best]])[0])
        if held:
            return Action("stop", why="a verified optimum meets every target")
        promising = rows.size > 0 and bool(judge.met(standing.judged.losses[rows[:1]])[0])
        better = rows.size > 0 and (best is None or self._better(standing, float(standing.judged.merit[rows[0]]), best))
        settled = self._stale >= PATIENCE or self._left <= 0
        if self.rounds < self.study.verify.rounds and (promising or (settled and better)):
            return self._fan(standing, int(rows[0])) or self._verify(standing, self._chosen(standing, rows))
        if settled and not better:
            action = self._beyond(standing, best)
            if action is not None:
                return action
            if best is not None:
                return Action("stop", why="no candidate is predicted better than the verified optimum")
        if self._left <= 0:
            return Action("stop", why="the budget of trials is spent")
        return self._explore(standing)

    def _fan(self, standing: Standing, row: int) -> Action | None:
        """Make trials of what lies on the candidate's trajectory, which the solver will give along with it."""
        space, values = self.ladder.space, self.ladder.history.points[standing.trials[row]]
        count = min(FAN - 1, self._left)
        known = bool(self._fanned) and bool(family(space, np.array(self._fanned), values).any())
        if scaling(space) is None or count < 1 or known:
            return None
        self._fanned.append(values)
        return Action("fan", count=count, trials=(int(standing.trials[row]),))

    def _chosen(self, standing: Standing, rows: np.ndarray) -> list[int]:
        """The best candidates, and what lies on the trajectory of the very best."""
        points = self.ladder.history.points[standing.trials[rows]]
        own = family(self.ladder.space, points, points[0])
        return [*rows[own].tolist(), *rows[~own][: self.study.verify.top - 1].tolist()]

    def _beyond(self, standing: Standing, best: int | None) -> Action | None:
        """Ask the solver about trials outside the engine's domain that may be better than all inside.

        What the engine says there, or a model of what is known inside, is no reason to believe in them, but one to
        look. What the solver says corrects both, and more is proposed.
        """
        if self.rounds >= self.study.verify.rounds:
            return None
        refine = min(self.study.sampler.refine, self._left)
        if self._looked_beyond and self._last == "verify" and refine > 0:
            return Action("refine", count=refine)
        possible = ~standing.believed & ~standing.verified
        possible &= ~np.isin(standing.trials, list(self.ladder.verified.failed))
        rows = np.flatnonzero(possible)
        merit = standing.judged.merit[rows]
        model = self.ladder.model(standing) if rows.size else None
        if model is not None:
            merit = np.fmin(merit, model.judged(standing.unit[rows]).merit)
        better = [
            int(rows[i])
            for i in np.argsort(merit, kind="stable")
            if merit[i] < INFEASIBLE and (best is None or self._better(standing, float(merit[i]), best))
        ]
        if not better:
            return None
        self._looked_beyond = True
        return self._verify(standing, better[: self.study.verify.top])

    def _better(self, standing: Standing, merit: float, best: int) -> bool:
        """Whether a merit that is predicted is better than the best verified by more than what is allowed."""
        gain = float(standing.judged.merit[best] - merit)
        return gain > (
            GAIN * standing.judged.merit[best]
            if self.ladder.judge.all_targets
            else self._needed(float(standing.judged.merit[best]))
        )

    def _pareto(self, standing: Standing) -> Action:
        settled = self._stale >= PATIENCE or self._left <= 0
        if not settled:
            return self._explore(standing)
        front = known_front(standing)
        solved = known_front(standing, only_verified=True)
        new = [int(r) for r in front if not standing.verified[r]]
        losses = standing.judged.losses
        if solved.size and (not new or improvement(losses[front], losses[solved]) <= FRONT_GAIN):
            return Action("stop", why="the verified front is the predicted one")
        if new and self.rounds < self.study.verify.rounds:
            refine = min(self.study.sampler.refine, self._left)
            if self.rounds and self._last == "verify" and refine > 0:
                return Action("refine", count=refine)
            return self._verify(standing, spread_front(new, self.study.verify.top))
        return Action("stop", why="the rounds of verification are spent" if new else "the budget of trials is spent")

    def _verify(self, standing: Standing, rows: list[int]) -> Action:
        trials = [int(standing.trials[r]) for r in rows]
        count = len(trials)
        if self.rounds == 0:
            trials += self._random(trials)
        rung = self.ladder.confirmed
        if rung is not None:
            unknown = tuple(t for t in trials if not rung.knows(t))
            if unknown:
                return Action("confirm", trials=unknown, candidates=len(unknown))
        return Action("verify", trials=tuple(trials), candidates=count)

    def _random(self, but: list[int]) -> list[int]:
        """Trials of this study's own engine, picked by seed, for the error everywhere."""
        history = self.ladder.history
        possible = np.flatnonzero(history.usable & history.inside)
        possible = possible[~np.isin(possible, but)]
        order = np.random.default_rng([self.study.sampler.seed, 1]).permutation(possible.size)
        return possible[order[: self.study.verify.random]].tolist()
