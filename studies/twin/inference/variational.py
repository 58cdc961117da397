"""Fits material, grey levels and start to all frames at once: strong-constraint 4D-Var through a differentiable window.

Le Dimet and Talagrand (1986), doi:10.3402/tellusa.v38i2.11706. The cost is that of a Gaussian posterior,

    J = 1/2 sum ((y - h(z, w)) / sigma)^2 + 1/2 |z|^2 + 1/2 |w|^2,

z the standard normal variables of the parameters and grey levels, w the whitened increments of the start. L-BFGS
minimises it; a coarse scan over mobility and kappa comes first, for there are minima at tiny mobilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from solvers.errors import InputError
from studies.twin.model.forward import Material, Window
from studies.twin.model.start import FirstGuess, increment_spread, where_uncertain
from studies.twin.observations.frames import Camera, GreyScale, ObservedFrames
from studies.twin.priors import estimated

#: Values of z in the scan.
SCAN = {"mobility": (-2.5, -1.8, -1.2, -0.6, 0.0, 0.6, 1.2, 1.8, 2.5), "kappa": (-1.5, -0.75, 0.0, 0.75, 1.5)}
#: First guess of how well the data determine z, which scales the search.
_FIRST_SCALE = 0.15
#: No composition or phi is this large: the steps were too long for the material.
_BEYOND = 3.0


@dataclass
class AssimilationProblem:
    """What is fixed while estimating.

    Attributes:
        process: ``cahn_hilliard`` or ``grain_growth``.
        camera: from cells to pixels.
        priors: of the parameters, in order.
        grey: noise and levels.
        model_error: floor of the noise, share of the grey range.
    """

    process: str
    camera: Camera
    priors: dict[str, object]
    grey: GreyScale
    model_error: float

    @property
    def names(self) -> list[str]:
        """Names of the entries of z."""
        levels = ["level_low", "level_high"] if min(self.grey.spread) > 0 else []
        return [n for n, prior in self.priors.items() if estimated(prior)] + levels

    @property
    def sigma(self) -> float:
        """Standard deviation that residuals are measured with, grey values."""
        return float(np.hypot(self.grey.noise, self.model_error * self.grey.span))

    def values(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """Parameters and levels by name, (batch,) each, from z (batch, name)."""
        index = {name: i for i, name in enumerate(self.names)}
        found = {}
        for name, prior in self.priors.items():
            column = z[:, index[name]] if name in index else z.new_zeros(len(z))
            found[name] = prior.value(column)  # type: ignore[attr-defined]
        for name, at, spread in zip(
            ("level_low", "level_high"), (self.grey.low, self.grey.high), self.grey.spread, strict=True
        ):
            found[name] = at + spread * z[:, index[name]] if name in index else z.new_full((len(z),), at)
        return found

    def material(self, values: dict[str, torch.Tensor]) -> Material:
        """The material among the values."""
        return Material(values["mobility"], values["kappa"], values.get("gamma"))

    def to_grey(self, field: torch.Tensor, values: dict[str, torch.Tensor]) -> torch.Tensor:
        """Frames (batch, time, y, x) of c or phi, as grey values."""
        low, high = (values[n][:, None, None, None].to(field.dtype) for n in ("level_low", "level_high"))
        share = 0.5 * (field + 1.0) if self.process == "cahn_hilliard" else field
        return low + (high - low) * share

    def from_grey(self, grey: np.ndarray) -> np.ndarray:
        """Grey values as c or phi, with the best guess of the levels."""
        share = (grey - self.grey.low) / (self.grey.high - self.grey.low)
        return 2.0 * share - 1.0 if self.process == "cahn_hilliard" else share


@dataclass
class VariationalFit:
    """The most probable start and parameters.

    Attributes:
        z: float64 (name,).
        increments: float32 (component, F) whitened, on the window's internal grid.
        shape: cells of that grid.
        kappa: that chose the window, and the increments' spectrum.
        cost: at the minimum.
        predicted: (time, pixel y, pixel x) grey values.
        calls: trajectories of the window that were run, forward or adjoint alike.
    """

    z: np.ndarray
    increments: torch.Tensor
    shape: tuple[int, ...]
    kappa: float
    cost: float
    predicted: np.ndarray
    calls: int
    history: list[float] = field(default_factory=list)


class VariationalProblem:
    """The cost of a window and its minimisation; see the module.

    Args:
        problem: what is fixed.
        frames: the observed frames; the first is the start of the window.
        start: first guess.
        mobility, kappa: typical values, which choose steps and internal grid.
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
        self.base = start.base(grid, basis)
        self.kappa = kappa
        self.spread = increment_spread(start.amplitude, basis, kappa)
        seen = torch.from_numpy(frames.seen)
        self.weight = torch.where(seen, 1.0 / problem.sigma**2, 0.0).float()
        self.data = torch.from_numpy(np.nan_to_num(frames.grey)).float()
        self.where = where_uncertain(problem.process, basis.inverse(self.base), grid)
        self.calls = 0
        self.best_z = torch.zeros(0)
        self.last_cost = torch.zeros(0)

    def begin(self, w: torch.Tensor) -> torch.Tensor:
        """Coefficients of the start (batch, component, F) from whitened increments."""
        basis = self.window.basis
        return self.base + basis.forward(self.where * basis.inverse(self.spread * w))

    def predict(self, z: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames as grey values (batch, time, pixel y, pixel x), and the last state (batch, component, F)."""
        values = self.problem.values(z)
        self.calls += len(z)
        frames, last = self.window.run(start, self.problem.material(values))
        return self.problem.to_grey(self.problem.camera.view(frames), values), last

    def with_best_levels(self, z: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        """z with the grey levels that fit frames of c or phi (batch, time, pixel y, pixel x) best.

        They enter linearly: two normal equations a sample. At the best levels the cost's gradient with respect to
        them vanishes, so they need not be searched for.
        """
        names, grey = self.problem.names, self.problem.grey
        if "level_low" not in names:
            return z
        share = (0.5 * (field + 1.0) if self.problem.process == "cahn_hilliard" else field).detach()
        design = torch.stack([1.0 - share, share], 1)
        spread = torch.tensor(grey.spread, dtype=torch.float64)
        left = torch.einsum("bityx,bjtyx,tyx->bij", design, design, self.weight).double()
        off = self.data - (grey.low * design[:, 0] + grey.high * design[:, 1])
        right = torch.einsum("bityx,btyx,tyx->bi", design, off, self.weight).double()
        matrix = left * spread[:, None] * spread[None] + torch.eye(2, dtype=torch.float64)
        out = z.clone()
        out[:, names.index("level_low") :] = torch.linalg.solve(matrix, (right * spread)[..., None])[..., 0].detach()
        return out

    def misfit(self, predicted: torch.Tensor, data: torch.Tensor | None = None) -> torch.Tensor:
        """Half the sum of squared, weighted residuals (batch,) float64."""
        residual = predicted - (self.data if data is None else data)
        return 0.5 * (self.weight * residual.square()).double().sum((1, 2, 3))

    def moving_misfit(self, predicted: torch.Tensor) -> torch.Tensor:
        """As :meth:`misfit`, without what is the same in all frames after the first: (batch,) float64.

        A first guess fits its frame badly once it has relaxed. That misfit stands still and would favour materials in
        which nothing moves.
        """
        if len(self.frames.times) < 3:
            return self.misfit(predicted)
        residual, weight = (predicted - self.data)[:, 1:], self.weight[1:]
        still = (weight * residual).sum(1, keepdim=True) / weight.sum(0).clamp_min(1e-12)
        return 0.5 * (weight * (residual - still).square()).double().sum((1, 2, 3))

    def scan(self, taken: int = 3) -> list[np.ndarray]:
        """The best few corners of a coarse scan over mobility and kappa, as z (name,), best first."""
        names = self.problem.names
        lines = {name: SCAN[name] if name in names else (0.0,) for name in ("mobility", "kappa")}
        found: list[tuple[float, np.ndarray]] = []
        for m in lines["mobility"]:
            zs = torch.zeros(len(lines["kappa"]), len(names), dtype=torch.float64)
            for name, column in (("mobility", [m] * len(zs)), ("kappa", lines["kappa"])):
                if name in names:
                    zs[:, names.index(name)] = torch.tensor(column, dtype=torch.float64)
            values = self.problem.values(zs)
            small = float(values["kappa"].min())
            rough = VariationalProblem(
                self.problem, self.frames, self.start, float(values["mobility"][0]), max(small, 0.1), coarse=True
            )
            with torch.no_grad():
                frames, _ = rough.window.run(rough.base.expand(len(zs), -1, -1), self.problem.material(values))
                seen = self.problem.camera.view(frames)
                lost = ~torch.isfinite(seen).flatten(1).all(1) | (seen.abs().flatten(1).amax(1) > _BEYOND)
                seen = torch.where(lost[:, None, None, None], 0.0, seen)
                zs = rough.with_best_levels(zs, seen)
                predicted = self.problem.to_grey(seen, self.problem.values(zs))
                cost = rough.moving_misfit(predicted) + 0.5 * zs.square().sum(1)
                cost[lost] = torch.inf
            self.calls += len(zs)
            # One corner a mobility: those that differ in kappa alone end in the same place.
            good = [(float(c), z.numpy()) for c, z in zip(cost, zs, strict=True) if np.isfinite(float(c))]
            found += sorted(good, key=lambda pair: pair[0])[:1]
        if not found:
            raise InputError("parameters: found no values that follow the frames, allowed priors that include them")
        found.sort(key=lambda pair: pair[0])
        return [z for _, z in found[:taken]]

    def minimise(
        self,
        z: torch.Tensor,
        w: torch.Tensor,
        iterations: int,
        free_z: bool = True,
        free_w: bool = True,
        scale: Sequence[float] | None = None,
        data: torch.Tensor | None = None,
        centre: torch.Tensor | None = None,
        material: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Minimise the sum of the costs of a batch.

        Args:
            z, w: (batch, name) float64 and (batch, component, F) float32 to begin with.
            iterations: of L-BFGS.
            free_z, free_w: what is varied.
            scale: (name,) expected posterior deviations of z.
            data, centre: perturbed frames (batch, ...) and prior means of w, for sampling.
            material: whether mobility, kappa and gamma move with ``free_z``; grey levels do.

        Returns:
            z and w.
        """
        scale_row = torch.as_tensor(scale if scale is not None else [_FIRST_SCALE] * z.shape[1], dtype=torch.float64)
        x = (z / scale_row).clone().requires_grad_(True)
        v = w.clone().requires_grad_(True)
        free = [t for t, wanted in ((x, free_z and material), (v, free_w)) if wanted and t.numel()]

        def cost() -> torch.Tensor:
            now = x * scale_row
            values = self.problem.values(now)
            frames, _ = self.window.run(self.begin(v), self.problem.material(values))
            self.calls += len(z)
            seen = self.problem.camera.view(frames)
            if free_z:
                now = self.with_best_levels(now, seen)
                values = self.problem.values(now)
            self.best_z = now.detach()
            offset = v if centre is None else v - centre
            priors = 0.5 * now.square().sum(1) + 0.5 * offset.double().square().sum((1, 2))
            return self.misfit(self.problem.to_grey(seen, values), data) + priors

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
        if not bool(torch.isfinite(self.last_cost).all()):
            # A step into a material that no step of the window can follow; the search begins where it was.
            return self._again(z, w, iterations, free_z, free_w, scale_row, data, centre, material)
        return self.best_z, v.detach()

    def _again(
        self,
        z: torch.Tensor,
        w: torch.Tensor,
        iterations: int,
        free_z: bool,
        free_w: bool,
        scale: torch.Tensor,
        data: torch.Tensor | None,
        centre: torch.Tensor | None,
        material: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The search once more in smaller steps, or nowhere at all where even that fails."""
        if float(scale.max()) < 1e-4 or not iterations:
            self.last_cost = torch.full_like(self.last_cost, torch.inf)
            return z, w
        smaller = (0.2 * scale).tolist()
        return self.minimise(z, w, iterations, free_z, free_w, smaller, data, centre, material)
