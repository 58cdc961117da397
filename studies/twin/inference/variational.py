"""Fits material, grey levels and start to all frames: strong-constraint 4D-Var through a differentiable window.

Le Dimet and Talagrand (1986), doi:10.3402/tellusa.v38i2.11706. The cost is that of a Gaussian posterior,

    J = 1/2 sum ((y - h(z, w)) / sigma)^2 + 1/2 |z|^2 + 1/2 |w|^2,

z the standard normal variables of the parameters and grey levels, w the whitened increments of the start. L-BFGS
minimises it; a coarse scan over mobility and kappa comes first, for there are minima at tiny mobilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from solvers.errors import InputError
from studies.twin.model.increments import increment_spread, where_uncertain
from studies.twin.model.process_model import FirstGuess
from studies.twin.model.window import Window
from studies.twin.observations.frames import Camera, GreyScale, ObservedFrames
from studies.twin.priors import Fixed, Prior
from studies.twin.processes import TwinProcess

#: Names of the grey levels among the estimated values.
LEVELS = ("level_low", "level_high")
#: Values of z in the scan.
SCAN = {"mobility": (-2.5, -1.8, -1.2, -0.6, 0.0, 0.6, 1.2, 1.8, 2.5), "kappa": (-1.5, -0.75, 0.0, 0.75, 1.5)}
#: First guess of how well the data determine z, which scales the search.
_FIRST_SCALE = 0.15
#: Standard deviation of the start where no frame shows it, share of the field's range.
UNSEEN = 0.3
#: Members of one batch.
CHUNK = 16
#: No field is this large: the steps were too long for the material.
_BEYOND = 3.0


@dataclass
class AssimilationProblem:
    """What is fixed while estimating."""

    process: TwinProcess  #: of the twin
    camera: Camera  #: from cells to pixels
    priors: dict[str, Prior]  #: of the parameters, in order
    grey: GreyScale  #: noise and levels
    model_error: float  #: floor of the noise, share of the grey range

    @property
    def names(self) -> list[str]:
        estimated = [name for name, prior in self.priors.items() if not isinstance(prior, Fixed)]
        return [*estimated, *LEVELS] if min(self.grey.spread) > 0 else estimated

    @property
    def sigma(self) -> float:
        """Standard deviation that residuals are measured with, grey values."""
        return float(np.hypot(self.grey.noise, self.model_error * self.grey.span))

    @property
    def noise_share(self) -> float:
        return self.sigma / self.grey.span

    def values(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """Parameters and levels by name, (batch,) each, from z (batch, name)."""
        columns, known = dict(zip(self.names, z.T, strict=True)), z.new_zeros(len(z))
        found = {name: prior.value(columns.get(name, known)) for name, prior in self.priors.items()}
        for name, at, spread in zip(LEVELS, (self.grey.low, self.grey.high), self.grey.spread, strict=True):
            found[name] = at + spread * columns.get(name, known)
        return found

    def to_grey(self, field: torch.Tensor, values: dict[str, torch.Tensor]) -> torch.Tensor:
        """Frames (batch, time, y, x) of the field, as grey values."""
        low, high = (values[n][:, None, None, None].to(field.dtype) for n in LEVELS)
        return low + (high - low) * self.process.grey_share(field)

    def from_grey(self, grey: np.ndarray) -> np.ndarray:
        """Grey values as the field, with the best guess of the levels."""
        return self.process.field_at((grey - self.grey.low) / (self.grey.high - self.grey.low))


@dataclass
class VariationalFit:
    """The most probable start and parameters."""

    z: np.ndarray  #: float64 (name,)
    increments: torch.Tensor  #: float32 (component, F) whitened, on the window's internal grid
    shape: tuple[int, ...]  #: cells of that grid
    kappa: float  #: that chose the window, and the increments' spectrum
    cost: float  #: at the minimum
    predicted: np.ndarray  #: (time, pixel y, pixel x) grey values
    calls: int  #: trajectories of the window that were run, forward or adjoint alike


class VariationalProblem:
    """The cost of a window, which begins at the first of ``frames``, and its minimisation; see the module.

    Typical values of ``mobility`` and ``kappa`` choose steps and internal grid.
    """

    def __init__(
        self,
        problem: AssimilationProblem,
        frames: ObservedFrames,
        start: FirstGuess,
        mobility: float,
        kappa: float,
        coarse: bool = False,
    ) -> None:
        self.problem, self.frames, self.start = problem, frames, start
        grid = problem.camera.grid
        self.window = Window(problem.process, grid, frames.times, mobility, kappa, coarse=coarse)
        basis = self.window.basis
        self.base = basis.forward(problem.process.model.values_of(start, grid, basis.shape).to(basis.k2.dtype))
        self.kappa = kappa
        self.spread = increment_spread(start.amplitude, basis, kappa)
        seen = torch.from_numpy(frames.seen)
        self.weight = torch.where(seen, 1.0 / problem.sigma**2, 0.0).float()
        self.data = torch.from_numpy(np.nan_to_num(frames.grey)).float()
        self.where = where_uncertain(problem.process, basis.inverse(self.base), grid)
        if problem.camera.open:
            # What no frame shows may be anything that the process makes.
            outside = torch.from_numpy(problem.camera.outside(basis.shape)).to(self.where)
            self.where = self.where + outside * (UNSEEN * problem.process.contrast / start.amplitude - self.where)
        self.calls = 0
        self.last_cost = torch.zeros(0)

    def begin(self, w: torch.Tensor) -> torch.Tensor:
        """Coefficients of the start (batch, component, F) from whitened increments."""
        return self.base + self.increments(w)

    def increments(self, w: torch.Tensor) -> torch.Tensor:
        """Increments of the start (batch, component, F) from whitened ones."""
        basis = self.window.basis
        return basis.forward(self.where * basis.inverse(self.spread * w))

    def predict(self, z: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames as grey values (batch, time, pixel y, pixel x), and the last state (batch, component, F)."""
        values = self.problem.values(z)
        self.calls += len(z)
        frames, last = self.window.run(start, values)
        return self.problem.to_grey(self.problem.camera.view(frames), values), last

    def fit_at(self, z: torch.Tensor, w: torch.Tensor, calls: int) -> VariationalFit:
        """The fit of a batch of one, as :meth:`minimise` returns it."""
        with torch.no_grad():
            predicted, _ = self.predict(z, self.begin(w))
        cost, seen = float(self.last_cost[0]), predicted[0].double().numpy()
        return VariationalFit(z[0].numpy(), w[0], self.window.shape, self.kappa, cost, seen, calls)

    def with_best_levels(self, z: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        """z with the grey levels that fit frames of the field (batch, time, pixel y, pixel x) best.

        They enter linearly: two normal equations a sample. At the best levels the cost's gradient with respect to
        them vanishes, so they need not be searched for.
        """
        names, grey = self.problem.names, self.problem.grey
        if "level_low" not in names:
            return z
        share = self.problem.process.grey_share(field).detach()
        design = torch.stack([1.0 - share, share], 1)
        spread = torch.tensor(grey.spread, dtype=torch.float64)
        left = torch.einsum("bityx,bjtyx,tyx->bij", design, design, self.weight).double()
        off = self.data - (grey.low * design[:, 0] + grey.high * design[:, 1])
        right = torch.einsum("bityx,btyx,tyx->bi", design, off, self.weight).double()
        matrix = left * spread[:, None] * spread[None] + torch.eye(2, dtype=torch.float64)
        out = z.clone()
        # A run that diverges has none: its levels stay.
        solved, failed = torch.linalg.solve_ex(matrix, (right * spread)[..., None])
        levels = solved[..., 0].detach()
        usable = ((failed == 0) & torch.isfinite(levels).all(1))[:, None]
        out[:, names.index("level_low") :] = torch.where(usable, levels, out[:, names.index("level_low") :])
        return out

    def misfit(self, predicted: torch.Tensor) -> torch.Tensor:
        """Half the sum of squared, weighted residuals (batch,) float64."""
        residual = predicted - self.data
        return 0.5 * (self.weight * residual.square()).double().sum((1, 2, 3))

    def moving_misfit(self, predicted: torch.Tensor) -> torch.Tensor:
        """As :meth:`misfit`, without the part that is the same in all frames after the first: (batch,) float64.

        A first guess changes while it relaxes. The misfit that this leaves is constant in time and would favour
        materials in which nothing moves.
        """
        if len(self.frames.times) < 3:
            return self.misfit(predicted)
        residual, weight = (predicted - self.data)[:, 1:], self.weight[1:]
        still = (weight * residual).sum(1, keepdim=True) / weight.sum(0).clamp_min(1e-12)
        return 0.5 * (weight * (residual - still).square()).double().sum((1, 2, 3))

    def scan(self, taken: int = 3) -> list[np.ndarray]:
        """The best few corners of a coarse scan over mobility and kappa, as z (name,), best first.

        Raises InputError where every corner diverges.
        """
        names = self.problem.names
        axes = {name: SCAN[name] if name in names else (0.0,) for name in ("mobility", "kappa")}
        found: list[tuple[float, np.ndarray]] = []
        for m in axes["mobility"]:
            zs = torch.zeros(len(axes["kappa"]), len(names), dtype=torch.float64)
            for name, column in (("mobility", [m] * len(zs)), ("kappa", axes["kappa"])):
                if name in names:
                    zs[:, names.index(name)] = torch.tensor(column, dtype=torch.float64)
            cost, zs = self._scanned(zs)
            # One corner per mobility: those that differ in kappa alone lead to the same minimum.
            good = [(float(c), z.numpy()) for c, z in zip(cost, zs, strict=True) if np.isfinite(float(c))]
            found += sorted(good, key=lambda pair: pair[0])[:1]
        if not found:
            raise InputError("parameters: found no values that follow the frames, allowed priors that include them")
        found.sort(key=lambda pair: pair[0])
        return [z for _, z in found[:taken]]

    def _scanned(self, zs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Costs of corners (corner, name), infinite for runs that diverge, and the corners with the best levels."""
        values = self.problem.values(zs)
        mobility, kappa = float(values["mobility"][0]), max(float(values["kappa"].min()), 0.1)
        rough = VariationalProblem(self.problem, self.frames, self.start, mobility, kappa, coarse=True)
        with torch.no_grad():
            frames, _ = rough.window.run(rough.base.expand(len(zs), -1, -1), values)
            seen = self.problem.camera.view(frames)
            lost = ~torch.isfinite(seen).flatten(1).all(1) | (seen.abs().flatten(1).amax(1) > _BEYOND)
            seen = torch.where(lost[:, None, None, None], 0.0, seen)
            zs = rough.with_best_levels(zs, seen)
            predicted = self.problem.to_grey(seen, self.problem.values(zs))
            cost = rough.moving_misfit(predicted) + 0.5 * zs.square().sum(1)
            cost[lost] = torch.inf
        self.calls += len(zs)
        return cost, zs

    def minimise(
        self, z: torch.Tensor, w: torch.Tensor, iterations: int, material: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Minimise the sum of the costs of a batch, from z (batch, name) and w (batch, component, F).

        Without ``material`` the start alone is varied; with 0 iterations the grey levels alone, which are always the
        best ones. The costs are in ``last_cost``: infinite, and z and w those given, where every search diverges.
        """
        scale = _FIRST_SCALE
        while True:
            found = self._search(z, w, iterations, scale if material else None)
            if bool(torch.isfinite(self.last_cost).all()):
                return found
            # The search tried a material that the window's steps cannot follow: again, in smaller steps.
            if scale < 1e-4 or not iterations:
                self.last_cost = torch.full_like(self.last_cost, torch.inf)
                return z, w
            scale *= 0.2

    def _search(
        self, z: torch.Tensor, w: torch.Tensor, iterations: int, scale: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """L-BFGS with z in units of ``scale``; None leaves the parameters as they are."""
        unit = _FIRST_SCALE if scale is None else scale
        x = (z / unit).clone().requires_grad_(True)
        v = w.clone().requires_grad_(True)
        free = [t for t, wanted in ((x, scale is not None), (v, True)) if wanted and t.numel()]
        best_z = z

        def cost() -> torch.Tensor:
            nonlocal best_z
            now = x * unit
            frames, _ = self.window.run(self.begin(v), self.problem.values(now))
            self.calls += len(z)
            seen = self.problem.camera.view(frames)
            now = self.with_best_levels(now, seen)
            best_z = now.detach()
            priors = 0.5 * now.square().sum(1) + 0.5 * v.double().square().sum((1, 2))
            return self.misfit(self.problem.to_grey(seen, self.problem.values(now))) + priors

        if free and iterations:
            optimiser = torch.optim.LBFGS(
                free, max_iter=iterations, history_size=40, line_search_fn="strong_wolfe", tolerance_change=1e-7
            )

            def closure() -> torch.Tensor:
                optimiser.zero_grad()
                total = cost().sum()
                total.backward()
                self.calls += len(z)
                return total

            optimiser.step(closure)
        with torch.no_grad():
            self.last_cost = cost()
        return best_z, v.detach()
