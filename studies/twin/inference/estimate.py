"""From frames to a posterior: scan, fit, widen the noise where the model misses the frames, ensemble."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from solvers.grids.spectral_basis import basis_for
from studies.twin.inference.deviations import sample_count
from studies.twin.inference.ensemble import Posterior, draw
from studies.twin.inference.linearised_fit import linearise
from studies.twin.inference.residuals import Residuals, residuals_of
from studies.twin.inference.variational import AssimilationProblem, VariationalFit, VariationalProblem
from studies.twin.model.increments import rewhitened
from studies.twin.model.process_model import FirstGuess
from studies.twin.model.weak_form import InteriorEstimate
from studies.twin.observations.frames import GreyScale, ObservedFrames
from studies.twin.processes import TwinProcess

#: Of L-BFGS on each of the growing windows.
FIRST_ITERATIONS = 15
#: Share of the iterations that are enough to continue from the last fit.
WARM_SHARE = 0.4
#: Steps and internal grid are chosen anew where mobility or kappa have moved by this factor.
MOVED = 1.15
#: Beyond this many frames, and between powers of two, the last fit is trusted to be near the next.
ALWAYS_SCAN = 4
#: Weights of the first frames in a mean that shows grains with less noise.
MEAN_OF = (1.0, 0.7, 0.4)
#: Candidates of a scan that are tried.
CANDIDATES = 2
#: Steps of Gauss and Newton at most, and the share of the cost that one must gain for another.
MOST_ROUNDS, WORTHWHILE = 8, 2e-3
#: With an estimate from the interior whose relative standard errors are smaller, the fit begins there first.
SURE = 0.25
#: Prior deviations beyond which a fit is taken only if there is no other: a start that follows the noise of every
#: frame may cost less than a right one, in a material in which nothing moves.
PLAUSIBLE = 4.0


@dataclass
class TwinEstimate:
    """The result of an estimation."""

    fit: VariationalFit  #: the most probable one
    posterior: Posterior  #: the ensemble
    residuals: Residuals  #: of the fit
    start: FirstGuess  #: the first guess to which the increments are added
    calls: int  #: trajectories run, forward or adjoint alike


def estimate(
    problem: AssimilationProblem,
    frames: ObservedFrames,
    members: int,
    steps: int,
    iterations: int,
    seed: int,
    before: TwinEstimate | None = None,
) -> TwinEstimate:
    """The posterior given all frames.

    Args:
        members, steps: of the ensemble and of ES-MDA.
        iterations: of the search from scratch.
        before: the estimate without the last frame; its first frame must be the same.
    """
    search = _Search(problem, frames, iterations)
    start = before.start if before is not None else first_start(problem, frames)
    count = len(frames.times)
    if before is None or count <= ALWAYS_SCAN or count & (count - 1) == 0:
        found = search.from_scratch(start, before.fit if before else None)
        fit, variational, doubt = search.with_other_start(*found)
    else:
        fit, variational = search.descend(start, before.fit, max(8, round(WARM_SHARE * iterations)))
        doubt = start.doubt
    rng = np.random.default_rng([seed, count, 1])
    around = linearise(variational, settled(variational, fit), rng, sample_count(problem.camera, members)).polished()
    residuals = residuals_of(frames, around.fit.predicted, problem.sigma, problem.grey.span)
    around = around.widened(residuals.inflation)
    member_seed = int(np.random.SeedSequence([seed, count, 2]).generate_state(1)[0])
    apart = 0.0 if doubt is None else doubt
    outside = _outside(problem, around.fit.z)
    posterior = draw(around, members, steps, member_seed, apart, problem.process.widening, outside)
    calls = around.fit.calls + variational.calls
    return TwinEstimate(around.fit, posterior, residuals, replace(variational.start, doubt=doubt), calls)


def settled(variational: VariationalProblem, fit: VariationalFit) -> VariationalFit:
    """The fit after steps of Gauss and Newton, while it is above the noise and they lower the cost.

    Around a window of a larger specimen a start has thousands of unknowns that L-BFGS settles slowly: after as many
    iterations as a whole specimen needs, mobilities were up to 8 % off.
    """
    for _ in range(MOST_ROUNDS):
        if fit.cost <= expected_cost(variational.frames):
            break
        found = linearise(variational, fit, np.random.default_rng(0), samples=0).polished().fit
        gained = fit.cost - found.cost
        fit = found
        if gained <= WORTHWHILE * fit.cost:
            break
    return fit


def expected_cost(frames: ObservedFrames) -> float:
    """Cost of a right fit, and a standard deviation more: half a chi-square of as many pixels as are seen."""
    half = 0.5 * float(frames.seen.sum())
    return half + half**0.5


class _Search:
    """Searches for the most probable fit to frames; results are fits with the problems that they solve."""

    def __init__(self, problem: AssimilationProblem, frames: ObservedFrames, iterations: int) -> None:
        self.problem, self.frames, self.iterations = problem, frames, iterations

    def from_scratch(
        self, start: FirstGuess, before: VariationalFit | None, weights: tuple[float, ...] = (1.0,)
    ) -> tuple[VariationalFit, VariationalProblem]:
        """The fit from the best candidate; from a first guess with its grey levels where that costs less.

        Levels read off a histogram may be 6 % of the range off. A first guess with wrong levels is wrong in every cell
        at once, which increments with the spectrum of moved interfaces explain at the expense of kappa.

        Args:
            before: a fit to begin from, beside those of a scan.
            weights: of the first frames in the first guess.
        """
        problem = self.problem
        if len(self.frames.times) == 1:
            at = before or _without_increments(problem, start, np.zeros(len(problem.names)))
            return self.descend(start, at, self.iterations)
        best = self._candidate(start, before)
        if "level_low" in problem.names and len(self.frames.times) > 2:
            values = problem.values(torch.from_numpy(best.z)[None])
            low, high = float(values["level_low"][0]), float(values["level_high"][0])
            levelled = replace(problem, grey=replace(problem.grey, low=low, high=high))
            fresh = first_start(levelled, self.frames, weights)
            found = self.descend(fresh, _without_increments(problem, fresh, best.z, best.calls), self.iterations)
            if rank(found[0]) < rank(best):
                return found
            best.calls = found[0].calls
        return self.descend(start, best, self.iterations)

    def with_other_start(
        self, fit: VariationalFit, variational: VariationalProblem
    ) -> tuple[VariationalFit, VariationalProblem, np.ndarray | None]:
        """The fit from a start in the mean of the first frames, where it costs less; and the doubt of the start.

        In noise (never in clean frames) grains are missed or invented. The mean has less of it, but small grains vanish
        and boundaries move meanwhile: the cost over all frames decides. The difference of the two fits is an error of
        the material from grains that are cut wrongly.
        """
        problem, frames = self.problem, self.frames
        if len(frames.times) < len(MEAN_OF) or problem.noise_share < problem.process.doubtful_noise:
            return fit, variational, variational.start.doubt
        again, other = self.from_scratch(first_start(problem, frames, MEAN_OF), None, MEAN_OF)
        doubt = doubt_of(fit, again, frames)
        calls = fit.calls + again.calls
        if rank(again) < rank(fit):
            fit, variational = again, other
        return replace(fit, calls=calls), variational, doubt

    def _candidate(self, start: FirstGuess, before: VariationalFit | None) -> VariationalFit:
        """From a coarse scan, and from the last fit if there is one: the better of them.

        Further corners of the scan are tried only where the first does not come down to the noise.
        """
        at = _typical(self.problem, np.zeros(len(self.problem.names)))
        rough = VariationalProblem(self.problem, self.frames, start, *at, coarse=True)
        found = [] if before is None else [self.descend(start, before, FIRST_ITERATIONS)[0]]
        count = len(self.frames.times)
        expected = expected_cost(self.frames)
        for z in self._beginnings(rough):
            fit = _without_increments(self.problem, start, z)
            for part in growing(count):
                # A short window hardly determines mobility, which would drift to where nothing moves.
                whole, window = part == count, _Search(self.problem, self.frames.first(part), self.iterations)
                fit, _ = window.descend(start, fit, FIRST_ITERATIONS, material=whole)
            found.append(fit)
            if rank(fit) < expected:
                break
        best = min(found, key=rank)
        best.calls = rough.calls + sum(fit.calls for fit in found)
        return best

    def _beginnings(self, rough: VariationalProblem) -> Iterator[np.ndarray]:
        """Materials z (name,) to begin from: by the interior of the frames where that is sure, then by a scan."""
        inside = interior_of(self.problem, self.frames)
        if inside is not None and max(inside.mobility_error, inside.kappa_error) < SURE:
            yield _z_of(self.problem, inside)
        yield from rough.scan(CANDIDATES)

    def descend(
        self, start: FirstGuess, at: VariationalFit, iterations: int, material: bool = True
    ) -> tuple[VariationalFit, VariationalProblem]:
        """L-BFGS from a fit; again on another window where the material has moved far from the one that chose it."""
        z, w, shape, old = torch.from_numpy(at.z)[None], at.increments[None], at.shape, at.kappa
        calls, grid = at.calls, self.problem.camera.grid
        for _ in range(3):
            mobility, kappa = _typical(self.problem, z[0].numpy())
            variational = VariationalProblem(self.problem, self.frames, start, mobility, kappa)
            w = rewhitened(w, start.amplitude, grid, (shape, old), (variational.window.basis, kappa))
            shape, old = variational.window.shape, kappa
            z, w = variational.minimise(z, w, iterations, material=material)
            if not bool((z.abs() < PLAUSIBLE).all()):
                break  # a window for a material this far out may have a thousand times as many cells
            new_mobility, new_kappa = _typical(self.problem, z[0].numpy())
            calls += variational.calls
            if max(new_mobility / mobility, mobility / new_mobility, new_kappa / kappa, kappa / new_kappa) < MOVED:
                break
        fit = variational.fit_at(z, w, calls)
        variational.calls = 0
        return fit, variational


def _outside(problem: AssimilationProblem, z: np.ndarray) -> np.ndarray:
    """Deviation (name,) of z for what lies outside a window; none where the frames show the whole box."""
    found, values = np.zeros(len(z)), problem.values(torch.from_numpy(z)[None])
    for name, share in problem.process.window_doubt.items() if problem.camera.open else ():
        if name in problem.names:
            at, value = problem.names.index(name), float(values[name][0])
            # Inwards, as a prior may end not far beyond the value.
            found[at] = math.copysign(z[at] - problem.priors[name].z_of(value * (1.0 - abs(share))), share)
    return found


def doubt_of(one: VariationalFit, other: VariationalFit, frames: ObservedFrames) -> np.ndarray:
    """A deviation (name,) of z that comes from not knowing the grains, from fits to two cuts of the frames into grains.

    The variance of two numbers is half their difference squared; times 4 p (1 - p) where one has the probability p,
    1 / (1 + exp(difference of costs)) in units of sqrt(pixels / 2), by which costs of right models differ by chance.
    """
    chance = (0.5 * float(frames.seen.sum())) ** 0.5
    # Where the prior makes both implausible, both count.
    ranks = (rank(one), rank(other)) if min(rank(one), rank(other)) < math.inf else (one.cost, other.cost)
    apart = min(50.0, abs(ranks[0] - ranks[1]) / chance)
    share = 1.0 / (1.0 + math.exp(apart))
    return np.asarray((one.z - other.z) * math.sqrt(2.0 * share * (1.0 - share)))


def rank(fit: VariationalFit) -> float:
    """The cost; infinite for a material more than :data:`PLAUSIBLE` prior deviations out."""
    return fit.cost if np.abs(fit.z).max(initial=0.0) < PLAUSIBLE else math.inf


def first_start(
    problem: AssimilationProblem, frames: ObservedFrames, weights: tuple[float, ...] = (1.0,)
) -> FirstGuess:
    """The first guess, from a mean of the first frames with these weights."""
    shares = np.array(weights) / sum(weights)
    grey = sum(share * frames.filled(i) for i, share in enumerate(shares))
    image = problem.camera.spread(problem.from_grey(np.asarray(grey)))
    noise = problem.process.contrast * problem.noise_share * float(np.sqrt(np.square(shares).sum()))
    return problem.process.model.first_guess(image, problem.camera.grid, noise)


def interior_of(problem: AssimilationProblem, frames: ObservedFrames) -> InteriorEstimate | None:
    """The material by the interior of frames alone, with the best guess of the levels; None where it does not say."""
    field = np.stack([problem.from_grey(frames.filled(i)) for i in range(len(frames.times))])
    noise = problem.process.contrast * problem.noise_share
    pixel = problem.camera.block * problem.camera.grid.spacing
    known = min(problem.grey.spread) == 0.0
    found = problem.process.model.from_interior(field, frames.seen, frames.times, noise, pixel, known)
    return found if found is not None and min(found.mobility, found.kappa) > 0.0 else None


def levels_by_dynamics(frames: ObservedFrames, process: TwinProcess, grey: GreyScale) -> GreyScale:
    """Grey levels as the dynamics of the frames tell them; those of a histogram where they do not.

    Fields rarely reach their levels: in noise, histograms had them up to 30 % of the range off.
    """
    filled = np.stack([frames.filled(i) for i in range(len(frames.times))])
    field = process.field_at((filled - grey.low) / (grey.high - grey.low))
    noise = process.contrast * grey.noise / grey.span
    found = process.model.levels_from_interior(field, frames.seen, frames.times, noise)
    if found is None:
        return grey
    low, high = (grey.low + (grey.high - grey.low) * process.grey_share(level) for level in found)
    return replace(grey, low=low, high=high)


def _z_of(problem: AssimilationProblem, inside: InteriorEstimate) -> np.ndarray:
    z = np.zeros(len(problem.names))
    for name, value in (("mobility", inside.mobility), ("kappa", inside.kappa)):
        if name in problem.names:
            z[problem.names.index(name)] = problem.priors[name].z_of(value)
    return z


def growing(count: int) -> list[int]:
    """Lengths of windows on the way to ``count`` frames.

    The cost of a short window is nearly quadratic, and its minimum lies in the right basin of the next one (Pires,
    Vautard and Talagrand 1996, doi:10.1034/j.1600-0870.1996.00006.x): half the computing, and lower minima.
    """
    lengths = [count]
    while lengths[0] > 4:
        lengths.insert(0, max(3, lengths[0] // 3))
    return lengths


def _without_increments(
    problem: AssimilationProblem, start: FirstGuess, z: np.ndarray, calls: int = 0
) -> VariationalFit:
    """The first guess itself with parameters z, as a fit to begin from."""
    grid = problem.camera.grid
    increments = torch.zeros(start.components, basis_for(grid, torch.float32).size)
    return VariationalFit(z, increments, grid.shape, 1.0, 0.0, np.zeros(0), calls)


def _typical(problem: AssimilationProblem, z: np.ndarray) -> tuple[float, float]:
    values = problem.values(torch.from_numpy(z)[None])
    return float(values["mobility"][0]), float(values["kappa"][0])
