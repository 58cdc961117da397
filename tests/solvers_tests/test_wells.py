"""Any double well is the standard one in other units: checked against a direct solver in the original units."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from common.spectral import relative_l2, smooth_noise
from validation_cases.reference import Material, cahn_hilliard

from solvers import CahnHilliard, DoubleWell, Grid, InputError, simulate, solve

WELLS = {
    "pfhub": DoubleWell(rho=5.0, ca=0.3, cb=0.7),
    "concentration": DoubleWell(rho=1.0, ca=0.0, cb=1.0),
    "lopsided": DoubleWell(rho=0.1, ca=-2.0, cb=0.5),
}


def slope(well: DoubleWell, c: np.ndarray) -> np.ndarray:
    """f'(c) of f = rho (c - ca)^2 (cb - c)^2, differentiated by hand."""
    return 2 * well.rho * (c - well.ca) * (well.cb - c) * (well.ca + well.cb - 2 * c)


@lru_cache(maxsize=3)
def case(name: str) -> tuple[dict, np.ndarray, list[float], np.ndarray]:
    """Parameters, a start, times and the converged solution at them."""
    well = WELLS[name]
    width, middle = well.cb - well.ca, 0.5 * (well.ca + well.cb)
    height = well.rho * width**2  # W: f'' at the minima is 2 rho width^2, against 2 for the standard well
    parameters = {"kappa": 1.2 * height, "mobility": 0.7}
    start = smooth_noise((32, 32), 0.05 * width, middle + 0.06 * width, seed=4)
    times = [t / (0.7 * height) for t in (5.0, 20.0, 40.0)]
    material = Material(**parameters, bulk_derivative=lambda c: slope(well, c), well_height=height)
    return parameters, start, times, cahn_hilliard(material, start, 1.0, times)


@pytest.mark.parametrize("name", WELLS)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
def test_solution_in_the_original_units(name, tolerance):
    parameters, start, times, exact = case(name)
    well = {"rho": WELLS[name].rho, "ca": WELLS[name].ca, "cb": WELLS[name].cb}
    problem = CahnHilliard(Grid((32, 32)), **parameters, well=well)
    found = simulate(problem, torch.from_numpy(start)[None], times, tolerance)[0].numpy()
    mean = start.mean()
    # Against the deviation from the mean: in a well far from 0 the composition itself would hide any error.
    assert relative_l2(found - mean, exact - mean).max() <= tolerance


def test_the_affine_map_of_solutions_and_energies():
    """c = middle + half_width u: the field maps, time divides by W, the energy multiplies by half_width^2 W."""
    well = WELLS["pfhub"]
    u = torch.from_numpy(smooth_noise((24, 24), 0.2, 0.1, seed=1))[None]
    plain = solve(CahnHilliard(Grid((24, 24)), kappa=1.5), u, [2.0, 10.0], 1e-3)
    mapped = CahnHilliard(Grid((24, 24)), kappa=1.5 * well.scale, well=well)
    c = well.from_scaled(u)
    found = solve(mapped, c, [2.0 / well.scale, 10.0 / well.scale], 1e-3)
    # Round-off, grown while the phases separate.
    assert (well.to_scaled(found.states) - plain.states).abs().max() < 1e-10
    ratio = found.free_energy / plain.free_energy
    assert (ratio / (well.half_width**2 * well.scale) - 1).abs().max() < 1e-10
    # The energy of a given field, in its own units; these cells leave 1e-9 of its quartic part unresolved.
    assert float(mapped.free_energy(c)) == pytest.approx(float(solve(mapped, c, [0.0], 1e-3).free_energy), rel=1e-8)


@pytest.mark.parametrize("name", WELLS)
def test_scaling_round_trip_and_minima(name):
    well = WELLS[name]
    ends = torch.tensor([well.ca, well.cb], dtype=torch.float64)
    assert well.to_scaled(ends).tolist() == pytest.approx([-1.0, 1.0], abs=1e-15)
    c = torch.linspace(well.ca - 1, well.cb + 1, 101, dtype=torch.float64)
    assert (well.from_scaled(well.to_scaled(c)) - c).abs().max() < 1e-14
    assert well.energy_density(ends).abs().max() == 0
    standard = 0.25 * (well.to_scaled(c) ** 2 - 1) ** 2
    scale = well.half_width**2 * well.scale
    assert (well.energy_density(c) - scale * standard).abs().max() < 1e-13 * float(well.energy_density(c).max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": 0.0}, "rho: a positive number"),
        ({"rho": float("nan")}, "rho: a positive number"),
        ({"ca": 0.7, "cb": 0.3}, "`ca < cb` must hold"),
        ({"ca": float("-inf")}, "`ca < cb` must hold"),
    ],
)
def test_wells_outside_their_bounds_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        DoubleWell(**arguments)
