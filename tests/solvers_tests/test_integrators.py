"""Time integrators: weights on polynomials, orders, and one conformance suite for every scheme and equation."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch
from common.spectral import smooth_noise

from solvers import CahnHilliard, GrainGrowth, Grid, InputError
from solvers.grids.spectral_basis import basis_for
from solvers.integrators import SCHEMES, AdaptiveMultistep, kernels, make_scheme
from solvers.integrators.fixed_step import phi_functions
from solvers.integrators.predictor_corrector import CompiledPasses
from solvers.integrators.torch_passes import TorchPasses
from solvers.integrators.trajectory import rollout
from solvers.processes import pointwise as forces

STABILISATION = {"euler": 1.0, "sbdf2": 1.0, "sbdf3": 1.0, "etdrk2": 0.0, "etdrk4": 0.0}


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


class TestWeights:
    def history(self, seed: int, batch: int = 50) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        step = np.exp(rng.uniform(-3, 3, batch))
        # Step ratios between 1/4 and 4: wider than any controller makes them.
        first, second = (step * np.exp(rng.uniform(-1.4, 1.4, batch)) for _ in range(2))
        return step, np.stack([np.zeros(batch), first, first + second])

    @staticmethod
    def weights(step: np.ndarray, ages: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Extrapolation and BDF weights (3, batch) and b h (batch,)."""
        rows = [kernels.multistep_weights(*row) for row in zip(step, ages[1], ages[2], strict=True)]
        return tuple(np.array([row[i] for row in rows]).T for i in range(3))

    @pytest.mark.parametrize("seed", range(4))
    def test_extrapolation_is_exact_for_degree_two_and_bdf_for_degree_three(self, seed):
        step, ages = self.history(seed)
        extrapolation, bdf, beta_h = self.weights(step, ages)
        for degree in range(4):
            # Monomials about the present time, in units of the step, so that every value is of order one.
            past = [(-age / step) ** degree for age in ages]
            slope = degree / step
            scale = 1.0 + sum(abs(w * p) for w, p in zip(bdf, past, strict=True))
            found = sum(w * p for w, p in zip(bdf, past, strict=True)) + beta_h * slope
            # A dozen roundings of terms of this size.
            assert np.all(np.abs(found - 1.0) <= 1e-14 * scale)
            if degree <= 2:
                ahead = sum(w * p for w, p in zip(extrapolation, past, strict=True))
                scale = 1.0 + sum(abs(w * p) for w, p in zip(extrapolation, past, strict=True))
                assert np.all(np.abs(ahead - 1.0) <= 1e-14 * scale)

    def test_equal_steps_give_the_textbook_weights(self):
        extrapolation, bdf, beta_h = self.weights(np.array([0.5]), np.array([[0.0], [0.5], [1.0]]))
        assert np.concatenate(extrapolation) == pytest.approx([3.0, -3.0, 1.0], rel=1e-14)
        assert np.concatenate(bdf) == pytest.approx([18 / 11, -9 / 11, 2 / 11], rel=1e-14)
        assert beta_h[0] == pytest.approx(0.5 * 6 / 11, rel=1e-14)

    def test_history_that_does_not_exist_lowers_the_order(self):
        far = 1e200
        extrapolation, bdf, beta_h = self.weights(np.full(2, 0.5), np.array([[0.0, 0.0], [0.5, far], [far, 2 * far]]))
        np.testing.assert_allclose(np.stack(extrapolation), [[2.0, 1.0], [-1.0, 0.0], [0.0, 0.0]], atol=1e-15)
        np.testing.assert_allclose(np.stack(bdf), [[4 / 3, 1.0], [-1 / 3, 0.0], [0.0, 0.0]], atol=1e-15)
        assert beta_h == pytest.approx([1 / 3, 0.5], rel=1e-14)

    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_lagrange_interpolation_is_exact_below_its_degree(self, count):
        rng = np.random.default_rng(count)
        nodes = np.sort(rng.uniform(0, 2, count))[::-1]
        points = np.append(rng.uniform(nodes[-1], nodes[0], 7), nodes)
        times = np.full((1, kernels.SLOTS), np.nan)
        times[0, [(2 - j) % kernels.SLOTS for j in range(count)]] = nodes  # the newest is in slot 2
        by_slot = np.empty((len(points), kernels.SLOTS))
        owners = np.zeros(len(points), dtype=int)
        kernels.interpolation_weights(times, np.array([count]), 2, owners, points, by_slot)
        weights = by_slot[:, [(2 - j) % kernels.SLOTS for j in range(count)]]
        assert weights[-count:] == pytest.approx(np.eye(count), abs=1e-13)
        for degree in range(count):
            # Random nodes may lie close: rounding is amplified by the size of the weights.
            bound = 1e-14 * np.abs(weights).sum(1) * 2.0**degree
            assert np.all(np.abs(weights @ nodes**degree - points**degree) <= bound)


@pytest.mark.parametrize("z", [0.0, -1e-12, -1e-6, -1e-3, -0.1, -1.0, -3.0, -30.0, -1e3, -1e5, 0.5, 2.0])
def test_phi_functions_against_eighty_digits(z):
    getcontext().prec = 80
    exact = [Decimal(z).exp()]
    for order in range(3):
        limit = Decimal(1) / math.factorial(order)
        exact.append((exact[-1] - limit) / Decimal(z) if z else Decimal(1) / math.factorial(order + 1))
    found = phi_functions(torch.tensor([z], dtype=torch.float64), 3)
    for order, (value, wanted) in enumerate(zip(found, exact, strict=True)):
        # The formulas cancel to a few times 1e-15 near |z| = 1/2, where the series takes over; absolute, because the
        # functions are of order one where that matters.
        assert abs(float(value) - float(wanted)) <= 2e-14 + 1e-14 * abs(float(wanted)), order


class TestOrder:
    """A box small enough that the stiffest mode is resolved in time, where alone a scheme shows its order."""

    grid = Grid((16, 16))
    stop = 2.0

    @pytest.fixture(scope="class")
    @classmethod
    def exact(cls) -> torch.Tensor:
        return cls().fixed("etdrk4", 0.00125)

    def equation(self):
        return CahnHilliard(self.grid).equation(basis_for(self.grid), 1)

    def start(self) -> torch.Tensor:
        field = torch.from_numpy(smooth_noise(self.grid.shape, 0.4, 0.1, seed=3))
        return basis_for(self.grid).forward(field[None, None])

    def fixed(self, name: str, step: float) -> torch.Tensor:
        state, scheme = self.start(), make_scheme(name, self.equation(), step, STABILISATION[name])
        for _ in range(round(self.stop / step)):
            state = scheme(state)
        return state

    # Finer steps for the lower orders, whose asymptotic range starts there. Observed orders may miss the nominal
    # one by the next term of the error, a few per cent at these steps.
    @pytest.mark.parametrize(
        ("name", "step", "order", "margin"),
        [
            ("euler", 0.005, 1, 0.1),
            ("sbdf2", 0.01, 2, 0.25),
            ("sbdf3", 0.01, 3, 0.35),
            ("etdrk2", 0.02, 2, 0.3),
            ("etdrk4", 0.01, 4, 0.5),
        ],
    )
    def test_fixed_step(self, exact, name, step, order, margin):
        coarse, fine = (relative(self.fixed(name, h), exact) for h in (step, step / 2))
        assert math.log2(coarse / fine) == pytest.approx(order, abs=margin)

    def test_adaptive_converges_with_its_tolerance(self, exact):
        errors, costs = [], []
        for step_tolerance in (1e-6, 1e-8):
            stepper = AdaptiveMultistep(self.equation(), self.start(), step_tolerance)
            while stepper.time[0] < self.stop:
                stepper.step()
            errors.append(relative(stepper.interpolate(np.array([0]), np.array([self.stop]))[0], exact))
            costs.append(stepper.evaluations)
        # Third order, an estimate of fourth: evaluations go as tolerance^(-1/4), errors as tolerance^(3/4).
        order = math.log(errors[0] / errors[1]) / math.log(costs[1] / costs[0])
        assert order > 2.5
        assert errors[1] < 1e-6


def cahn_hilliard(boundary: str, contrast: float):
    grid = Grid((16, 20), boundary=boundary)
    problem = CahnHilliard(grid, kappa=torch.tensor([1.0, 1.5]), mobility_contrast=contrast)
    fields = [smooth_noise(grid.shape, 0.3, mean, seed) for mean, seed in ((0.0, 1), (0.2, 2))]
    return problem, torch.from_numpy(np.stack(fields))[:, None]


def grain_growth(boundary: str):
    grid = Grid((16, 20), boundary=boundary)
    fields = [[0.5 + smooth_noise(grid.shape, 0.2, 0.0, 10 * b + g) for g in range(3)] for b in range(2)]
    return GrainGrowth(grid, kappa=torch.tensor([1.0, 1.5])), torch.from_numpy(np.array(fields))


CASES = {
    "cahn_hilliard-periodic": lambda: cahn_hilliard("periodic", 0.0),
    "cahn_hilliard-no_flux": lambda: cahn_hilliard("no_flux", 0.0),
    "cahn_hilliard-variable-periodic": lambda: cahn_hilliard("periodic", 0.9),
    "grain_growth-periodic": lambda: grain_growth("periodic"),
    "grain_growth-no_flux": lambda: grain_growth("no_flux"),
}
STOP = 1.0
# Relative distance from the converged answer at these settings; each about three times the largest observed, so that a
# scheme that loses an order, or solves another equation, fails.
SETTINGS = {
    "euler": (0.005, 5e-3),
    "sbdf2": (0.01, 2e-4),
    "sbdf3": (0.01, 2.5e-5),
    "etdrk2": (0.01, 4e-5),
    "etdrk4": (0.01, 2e-7),
    "adaptive": (1e-7, 4e-6),
}


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request):
    problem, start = CASES[request.param]()
    basis = basis_for(problem.grid)
    initial = basis.forward(start)
    return problem, initial, advance("etdrk4", 0.0025, problem, initial)


def advance(name: str, setting: float, problem, initial: torch.Tensor) -> torch.Tensor:
    equation = problem.equation(basis_for(problem.grid), len(initial))
    if name == "adaptive":
        found = torch.full_like(initial, torch.nan)
        for states in rollout(equation, initial, np.full((len(initial), 1), STOP), setting):
            found[torch.from_numpy(states.samples)] = states.coefficients
        return found
    scheme, state = make_scheme(name, equation, setting, STABILISATION[name]), initial
    for _ in range(round(STOP / setting)):
        state = scheme(state)
    return state


class TestConformance:
    def test_every_scheme_is_tried(self):
        assert set(SETTINGS) == {*SCHEMES, "adaptive"}

    @pytest.mark.parametrize("name", sorted(SETTINGS))
    def test_converges_to_the_same_answer_and_keeps_the_mean(self, case, name):
        problem, initial, exact = case
        setting, bound = SETTINGS[name]
        found = advance(name, setting, problem, initial)
        for sample in range(len(initial)):
            assert relative(found[sample], exact[sample]) < bound
        if isinstance(problem, CahnHilliard):
            # The mean's own coefficient has no source: rounding of the transforms alone.
            drift = (found[:, :, 0] - initial[:, :, 0]).abs().max()
            assert drift <= 1e-14


@pytest.mark.parametrize("together", [2, 7, 1000])
def test_states_yielded_together_are_those_yielded_one_after_the_other(case, together):
    """Several times within a step, the same time twice, time 0, and samples that end early included."""
    problem, initial, _ = case
    times = np.stack([np.linspace(0.0, STOP, 40), np.repeat(np.linspace(0.0, 0.2 * STOP, 20), 2)])[: len(initial)]

    def states(together: int) -> torch.Tensor:
        equation = problem.equation(basis_for(problem.grid), len(initial))
        found = initial.new_full((*times.shape, *initial.shape[1:]), torch.nan)
        for part in rollout(equation, initial, times, 1e-4, together=together):
            assert found[part.samples, part.times].isnan().all()  # each is yielded once
            found[part.samples, part.times] = part.coefficients
        return found

    assert torch.equal(states(together), states(1))
    assert not states(together).isnan().any()


class TestAdaptiveSteps:
    def stepper(self, batch: int, step_tolerance: float = 1e-4) -> AdaptiveMultistep:
        grid = Grid((16, 16))
        fields = torch.from_numpy(np.stack([smooth_noise(grid.shape, 0.3, 0.0, seed) for seed in range(batch)]))
        basis = basis_for(grid)
        return AdaptiveMultistep(
            CahnHilliard(grid).equation(basis, batch), basis.forward(fields[:, None]), step_tolerance
        )

    @pytest.mark.parametrize("batch", [1, 2])
    @pytest.mark.parametrize("attempt", range(4))
    def test_an_overflown_attempt_is_repeated_with_a_smaller_step(self, batch, attempt, monkeypatch):
        """At whichever of the evaluations that also renew the scale of errors, or do not."""
        stepper = self.stepper(batch)
        for _ in range(20 + attempt):
            stepper.step()
        time, step = stepper.time.copy(), stepper.step_size.copy()
        whole = stepper.equation.explicit

        def overflowing(coefficients):
            explicit, largest = whole(coefficients)
            explicit[0] *= torch.inf
            return explicit, largest

        with monkeypatch.context() as patch:
            patch.setattr(stepper.equation, "explicit", overflowing)
            accepted = stepper.step()
        assert not accepted[0]
        assert stepper.time[0] == time[0]
        assert stepper.step_size[0] < step[0]
        for _ in range(20):
            stepper.step()
        assert (stepper.time > time).all()
        assert not stepper.diverged.any()
        assert torch.isfinite(stepper.newest()).all()

    def test_a_sample_that_never_succeeds_diverges_and_leaves_the_others_alone(self):
        together, alone = self.stepper(2), self.stepper(1)
        whole = together.equation.explicit

        def broken(coefficients):
            explicit, largest = whole(coefficients)
            explicit[1] = torch.nan
            return explicit, largest

        together.equation.explicit = broken
        for _ in range(60):
            together.step()
            alone.step()
        assert together.diverged.tolist() == [False, True]
        assert together.time[1] == 0.0
        # The order of additions may differ between a batch and a single sample.
        assert relative(together.newest()[0], alone.newest()[0]) < 1e-12
        assert together.time[0] == pytest.approx(alone.time[0], rel=1e-9)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    @pytest.mark.parametrize("components", [1, 3])
    def test_compiled_and_torch_passes_are_the_same_sums(self, dtype, components):
        """The second are for GPUs; on the CPU both can run."""
        rng = torch.Generator().manual_seed(0)
        grid, batch = Grid((12, 10)), 3
        basis = basis_for(grid, dtype)
        kappa = torch.tensor([0.5, 1.0, 2.0])
        equation = (
            CahnHilliard(grid, kappa=kappa).equation(basis, batch)
            if components == 1
            else GrainGrowth(grid, kappa=kappa).equation(basis, batch)
        )
        size = components * basis.size
        arrays = [torch.randn(batch, rows, size, generator=rng, dtype=dtype) for rows in (8, 4)]
        both = [kind(equation, *(a.clone() for a in arrays)) for kind in (CompiledPasses, TorchPasses)]
        held = [(b._history, b._predictions) for b in both[:1]]
        weights = np.random.default_rng(0).standard_normal((batch, 2, 4))
        weights[:, :, 1] = 0.0
        beta_h = np.array([0.1, 0.5, 2.0])
        answers = []
        for passing in both:
            passing.stabilise(np.array([0.5, 0.2, 1.0]))
            passing.stabilise(np.array([0.7, 0.2, 0.5]), np.array([0.2, 0.0, -0.5]))
            square, largest = passing.attempt(weights, beta_h, 1)
            magnitude = np.zeros(batch)
            passing.scale(0.3, 1, magnitude)
            answers.append([square, largest, magnitude])
        close = 50 * torch.finfo(dtype).eps
        for compiled, plain in zip(*answers, strict=True):
            np.testing.assert_allclose(compiled, plain, rtol=close, atol=close * np.abs(plain).max())
        predictions = (passing._predictions.reshape(-1) for passing in both)
        np.testing.assert_allclose(*predictions, rtol=close, atol=20 * close)
        # What the cube makes of random values is large, and so is its rounding.
        states = both[1]._states.numpy().reshape(batch, 4, size), both[1]._terms.numpy().reshape(batch, 4, size)
        history = held[0][0].reshape(batch, 8, size)
        np.testing.assert_allclose(
            history, np.concatenate(states, axis=1), rtol=close, atol=close * np.abs(history).max()
        )

    @pytest.mark.parametrize("shape", [(9, 8), (5, 6, 7)])
    def test_compiled_forces_are_those_of_torch(self, shape, monkeypatch):
        grid = Grid(shape)
        basis = basis_for(grid)
        rng = torch.Generator().manual_seed(1)
        for components, problem in ((1, CahnHilliard(grid)), (4, GrainGrowth(grid, gamma=torch.tensor([1.5, 1.0])))):
            equation = problem.equation(basis, 2)
            start = basis.forward(torch.randn(2, components, *shape, generator=rng, dtype=torch.float64))
            compiled = equation.explicit(start)
            for module in ("solvers.processes.cahn_hilliard", "solvers.processes.grain_growth"):
                monkeypatch.setattr(f"{module}.compilable", lambda _: False)
            plain = equation.explicit(start)
            monkeypatch.undo()
            for a, b in zip(compiled, plain, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)

    def test_the_largest_value_is_not_finite_where_a_field_is_not(self):
        for value in (np.inf, -np.inf, np.nan):
            u = np.full((1, 40), 0.5)
            u[0, 17] = value
            largest = np.zeros(1)
            forces.double_well_force(u.copy(), largest)
            assert not np.isfinite(largest[0])
            forces.grain_force(u[:, None], np.array([1.5]), np.empty(40), largest)
            assert not np.isfinite(largest[0])

    def test_the_mean_is_pinned(self):
        stepper = self.stepper(2)
        before = stepper.newest()[:, :, 0].clone()
        for _ in range(50):
            stepper.step()
        states = stepper.interpolate(np.arange(2), stepper.time)
        assert torch.equal(states[:, :, 0], before)

    def test_interpolation_lies_within_the_last_step_and_meets_its_end(self):
        stepper = self.stepper(1, 1e-6)
        for _ in range(30):
            before = stepper.newest().clone()
            start = float(stepper.time[0])
            stepper.step()
        end = float(stepper.time[0])
        found = stepper.interpolate(np.zeros(3, dtype=int), np.array([start, 0.5 * (start + end), end]))
        # Interpolation through stored states: round-off at the nodes.
        assert relative(found[0], before[0]) < 1e-13
        assert relative(found[2], stepper.newest()[0]) < 1e-13
        assert relative(found[1], 0.5 * (found[0] + found[2])) < 1e-3


def test_unknown_scheme_is_named_with_what_exists():
    problem, initial = CASES["cahn_hilliard-periodic"]()
    equation = problem.equation(basis_for(problem.grid), len(initial))
    with pytest.raises(InputError, match="euler, sbdf2, sbdf3, etdrk2, etdrk4, but got 'rk4'"):
        make_scheme("rk4", equation, 0.1, 0.0)


def test_variable_mobility_needs_the_periodic_basis():
    problem, initial = cahn_hilliard("no_flux", 0.5)
    with pytest.raises(InputError, match="mirror"):
        problem.equation(basis_for(problem.grid), len(initial))
