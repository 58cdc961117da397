"""A stranger's process, quantity, engine and samplers, all of them in this file: first by calls, then as a package.

The process is the Swift-Hohenberg equation (Swift and Hohenberg 1977, doi:10.1103/PhysRevA.15.319) with the potential
form F = int [ -r u^2 / 2 + ((1 + lap) u)^2 / 2 + u^4 / 4 ], du/dt = -M dF/du.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from solvers import Frames, Grid, Process, Qoi
from solvers.accuracy import AccuracyModel
from solvers.grids.spectral_basis import Basis, basis_for
from solvers.integrators.protocol import resolved_scale
from solvers.processes.parameters import Parameter, checked, per_sample, taken, trailing
from solvers.processes.registry import Appearance, CostModel, ParameterInfo
from solvers.qois.analysis import FrameAnalysis
from sweeps.config.samplers import DesignSampler
from sweeps.engines.protocol import Answer, Request
from sweeps.engines.registry import EngineBlock, EngineKind, Tolerance
from sweeps.engines.solver import answer_of


@dataclass(frozen=True)
class SwiftHohenberg:
    """du/dt = M (r u - (1 + lap)^2 u - u^3) with u (batch, *shape)."""

    process: ClassVar[str] = "swift_hohenberg"
    state_axes: ClassVar[str] = "(batch, shape)"
    field_scale: ClassVar[float] = 1.0
    conserves_mean: ClassVar[bool] = False
    needs_periodic_basis: ClassVar[bool] = False

    grid: Grid
    drive: Parameter = 0.3
    mobility: Parameter = 1.0

    def __post_init__(self) -> None:
        checked(self.drive, "drive", 0.0, 1.0)

    def to_scaled(self, states: torch.Tensor) -> torch.Tensor:
        return states[:, None]

    def from_scaled(self, states: torch.Tensor) -> torch.Tensor:
        return states[:, 0]

    def free_energy(self, states: torch.Tensor, gradient: torch.Tensor | None = None) -> torch.Tensor:
        del gradient
        basis = basis_for(self.grid, states.dtype, states.device, tuple(states.shape[-self.grid.ndim :]))
        bending = (basis.forward(states) * (1.0 - basis.k2)).square() @ basis.weights
        square = states.square()
        bulk = 0.25 * square.square().flatten(-self.grid.ndim).mean(-1)
        mean = square.flatten(-self.grid.ndim).mean(-1)
        density = bulk + 0.5 * bending - 0.5 * trailing(self.drive, mean) * mean
        return math.prod(self.grid.lengths) * density

    def time_scale(self, batch: int) -> torch.Tensor:
        return per_sample(self.mobility, batch, "mobility")

    def reduced_kappa(self, batch: int) -> torch.Tensor:
        return torch.full((batch,), 0.4, dtype=torch.float64)

    def equation(self, basis: Basis, batch: int) -> SwiftHohenbergEquation:
        return SwiftHohenbergEquation(basis, per_sample(self.drive, batch, "drive"))

    def take(self, samples: torch.Tensor) -> SwiftHohenberg:
        return taken(self, samples)


class SwiftHohenbergEquation:
    """(1 - k^2)^2 is stiff, r u - u^3 explicit."""

    conserves_mean = False
    order = np.array([3])

    def __init__(self, basis: Basis, drive: torch.Tensor) -> None:
        self.basis, self.drive = basis, drive
        self.stiff = (1.0 - basis.k2).square()[None, None, :]
        self.damping = torch.ones_like(basis.k2)
        self.scale_weights = resolved_scale(basis, torch.ones_like(drive))
        self._rate = drive.to(basis.k2)[:, None, None]

    def select(self, keep: torch.Tensor) -> SwiftHohenbergEquation:
        return SwiftHohenbergEquation(self.basis, self.drive[keep])

    def explicit(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        u = self.basis.inverse(coefficients)
        square = u * u
        return self._rate * coefficients - self.basis.forward(square * u), square.flatten(1).amax(1)

    def stabiliser(self, largest: np.ndarray) -> np.ndarray:
        return np.asarray(0.75 * (3.0 * largest - self.drive.numpy()))


def build_problem(grid: Grid, parameters: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> SwiftHohenberg:
    del options
    return SwiftHohenberg(grid, drive=parameters["drive"], mobility=parameters["mobility"])


def roll_wavenumber(analysis: FrameAnalysis) -> torch.Tensor:
    return analysis.spectrum.mean_wavenumber


class EulerBlock(EngineBlock):
    """Semi-implicit Euler with a step that the user chooses."""

    kind: Literal["euler"]
    step: Literal[0.1, 0.05] = 0.05
    tolerance: Tolerance = 0.1


@dataclass(frozen=True)
class EulerEngine:
    """The engine of an :class:`EulerBlock`."""

    step: float
    name: str = "semi-implicit Euler"
    device: str = "cpu"

    def answer(self, request: Request) -> Answer:
        problem, times = request.problem, request.times.numpy()
        assert isinstance(problem, SwiftHohenberg)
        basis = basis_for(problem.grid, torch.float64, torch.device("cpu"), problem.grid.shape)
        u = basis.forward(request.initial.double()[:, None])
        equation = problem.equation(basis, len(u))
        states = torch.full((*times.shape, *problem.grid.shape), torch.nan, dtype=torch.float64)
        for number in range(round(float(times.max()) / self.step) + 1):
            for sample, column in np.argwhere(np.round(times / self.step) == number):
                states[sample, column] = basis.inverse(u[sample : sample + 1])[0, 0]
            u = (u + self.step * equation.explicit(u)[0]) / (1.0 + self.step * equation.stiff)
        return answer_of(request, Frames(field=states, free_energy=problem.free_energy(states)))


def halton(n: int, dims: int, seed: int) -> np.ndarray:
    from scipy.stats import qmc

    return np.asarray(qmc.Halton(d=dims, seed=np.random.default_rng(seed)).random(n))


PROCESS = Process(
    name="swift_hohenberg",
    parameters=(
        ParameterInfo("mobility", "M", "mobility", "1/time", default=1.0, low=0.0, low_open=True),
        ParameterInfo("drive", "r", "distance from the threshold", default=0.3, low=0.0, high=1.0),
    ),
    problem=build_problem,
    accuracy=AccuracyModel(linear=1.0, square=3100.0, time_factor=0.005),
    appearance=Appearance("Swift-Hohenberg: rolls", headline="roll_wavenumber", mapped=("roll_wavenumber",)),
    starts=("noise", "file"),
    time_scale="mobility",
    quantities=("free_energy", "mean"),
    cost=CostModel(hundred=0.02),
)
QOI = Qoi("roll_wavenumber", "1/length", "mean wavenumber", roll_wavenumber, processes=("swift_hohenberg",), low=0.0)
ENGINE = EngineKind("euler", EulerBlock, build=lambda config: EulerEngine(config.engine.step))
SAMPLER = DesignSampler("halton", halton)
# ---------------------------------------------------------------------------------------------------------------------

import pytest  # noqa: E402
import xarray as xr  # noqa: E402

from phasetwin import main  # noqa: E402
from solvers import register_process, register_qoi  # noqa: E402
from solvers.processes.registry import PROCESSES  # noqa: E402
from solvers.qois.registry import QOIS  # noqa: E402
from studies import Study  # noqa: E402
from sweeps import Sweep, open_sweep, register_engine, register_sampler  # noqa: E402
from sweeps.config.samplers import SAMPLERS  # noqa: E402
from sweeps.engines.registry import unregister_engine  # noqa: E402

SWEEP = """
schema_version: 1
name: rolls
process: swift_hohenberg
grid: {shape: [32, 32], spacing: 0.8}
parameters:
  mobility: [0.5, 1.0]
  drive: [0.2, 0.3, 0.4]
realizations: {count: 2, seed: 0}
initial: {kind: noise, amplitude: 0.1}
times: [0, 5, 10, 20]
engine: ENGINE
cluster: {kind: local, workers: 2, dashboard_address: null}
output: {path: OUTPUT}
verify: {count: 2}
"""


@pytest.fixture
def extended() -> Iterator[None]:
    """The four of them registered for the length of a test."""
    register_process(PROCESS)
    register_qoi(QOI)
    register_engine(ENGINE)
    register_sampler(SAMPLER)
    yield
    SAMPLERS.unregister("halton")
    unregister_engine("euler")
    QOIS.unregister("roll_wavenumber")
    PROCESSES.unregister("swift_hohenberg")


def sweep_file(folder: Path, engine: str, **changes: str) -> Path:
    text = SWEEP.replace("ENGINE", engine).replace("OUTPUT", str(folder / "rolls.zarr"))
    for old, new in changes.items():
        text = text.replace(f"{old}: ", f"{new}: ")
    path = folder / "rolls.yaml"
    path.write_text(text)
    return path


@pytest.mark.usefixtures("extended")
@pytest.mark.parametrize("engine", ["{kind: solver, tolerance: 0.01}", "{kind: euler, step: 0.05, tolerance: 0.05}"])
def test_from_yaml_to_report(engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(tmp_path, engine)
    assert main(["lint", str(path)]) == 0
    assert main(["plan", str(path)]) == 0
    assert "3 trajectories x 2 realizations" in capsys.readouterr().out
    assert main(["run", str(path)]) == 0
    ds = open_sweep(str(tmp_path / "rolls.zarr"), unstack=True)
    assert dict(ds.roll_wavenumber.sizes) == {"mobility": 2, "drive": 3, "realization": 2, "time": 4}
    # Rolls have the wavenumber 1 of the equation, as far as the box lets them.
    assert abs(float(ds.roll_wavenumber.isel(time=-1).mean()) - 1.0) < 0.1
    assert bool((np.diff(ds.free_energy, axis=-1) < 0).all())
    # The collapse over mobility holds for whatever process names the parameter that scales time.
    half, whole = (ds.sel(mobility=m) for m in (0.5, 1.0))
    np.testing.assert_array_equal(half.field.sel(time=20), whole.field.sel(time=10))
    checks = xr.open_zarr(tmp_path / "rolls.zarr", group="verification")
    assert checks.sizes["point"] == 2
    assert bool((checks.within_tolerance == 1).all())
    assert main(["status", str(path)]) == 0
    assert "2 of 2 within the tolerance" in capsys.readouterr().out
    assert main(["report", str(path), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Swift-Hohenberg: rolls" in page
    assert "roll wavenumber" in page.lower()


STUDY = """
schema_version: 1
name: rolls
sweep: rolls.yaml
changes:
  parameters: {mobility: 1.0, drive: 0.3}
  engine: {kind: solver, tolerance: 0.01}
  times: [0, 20]
variables: {drive: {low: 0.1, high: 0.6}, mobility: {low: 0.5, high: 2.0}}
objectives: [{qoi: free_energy, target: -2.0, tolerance: 0.02}]
constraints: [{qoi: roll_wavenumber, max: 2.0}]
trials: 32
batch: 8
verify: {top: 1, random: 0, equivalents: 0}
output: {path: OUTPUT}
"""


@pytest.mark.usefixtures("extended")
def test_a_study(tmp_path: Path) -> None:
    """A quantity of one's own as a constraint, and points taken from shared trajectories of one's own process."""
    from distributed import Client

    sweep_file(tmp_path, "{kind: solver, tolerance: 0.01}")
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("OUTPUT", str(tmp_path / "study")))
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0") as client:
        result = Study.from_yaml(path).run(client, progress=False)
    best = result.best[0]
    assert best["met"]
    # The study's tolerance of the target.
    assert abs(best["qois"]["free_energy"] + 2.0) <= 0.02 * 2.0
    assert best["qois"]["roll_wavenumber"] < 2.0
    assert result.report is not None
    assert "Swift-Hohenberg: rolls, inverse design" in result.report.read_text()


@pytest.mark.usefixtures("extended")
def test_a_sampler_of_designs(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, "{kind: euler}")
    text = path.read_text().replace("drive: [0.2, 0.3, 0.4]", "drive: {low: 0.1, high: 0.5}")
    path.write_text(
        text.replace("mobility: [0.5, 1.0]", "mobility: 1.0") + "design: {sampler: halton, n: 8, seed: 3}\n"
    )
    drive = Sweep.from_yaml(path).plan().parameters["drive"]
    np.testing.assert_array_equal(np.sort(drive), np.sort(0.1 + 0.4 * halton(8, 1, 3)[:, 0]))


WRONG = {
    "process: swift_hohenberg": ("process: swift_hohenburg", "did you mean 'swift_hohenberg'"),
    "drive: [0.2, 0.3, 0.4]": ("drive: [0.2, 3.0]", r"drive.1: found 3, allowed a number in [0, 1]"),
    "mobility: [0.5, 1.0]": ("kappa: [0.5, 1.0]", "allowed mobility, drive for process swift_hohenberg"),
    "step: 0.05": ("step: 0.07", "engine.step: found 0.07, allowed 0.1 or 0.05"),
    "kind: euler": ("kind: eulr", "did you mean 'euler'"),
    "kind: noise, amplitude: 0.1": ("kind: voronoi", "allowed noise, file for process swift_hohenberg"),
}


@pytest.mark.usefixtures("extended")
@pytest.mark.parametrize("right", WRONG)
def test_wrong_values_get_the_usual_line(right: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong, told = WRONG[right]
    path = sweep_file(tmp_path, "{kind: euler, step: 0.05}")
    path.write_text(path.read_text().replace(right, wrong))
    assert main(["lint", str(path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"{path}:")
    assert told in line
    assert line.count("\n") == 1


def test_names_are_taken_once(extended: None) -> None:
    from solvers import InputError

    with pytest.raises(InputError, match="process 'swift_hohenberg': there is one of that name"):
        register_process(replace(PROCESS, time_scale=None))
    assert register_process(PROCESS).name == "swift_hohenberg"


def test_without_registration_the_names_are_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(sweep_file(tmp_path, "{kind: solver}"))]) == 2
    assert "process: found 'swift_hohenberg', allowed 'cahn_hilliard' or 'grain_growth'" in capsys.readouterr().err


ENTRY_POINTS = """
[phasetwin.processes]
rolls = rolls_package:PROCESS
[phasetwin.qois]
rolls = rolls_package:QOI
[phasetwin.engines]
rolls = rolls_package:ENGINE
[phasetwin.samplers]
rolls = rolls_package:SAMPLER
"""


def test_as_an_installed_package(tmp_path: Path) -> None:
    site = tmp_path / "site"
    about = site / "rolls_package-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rolls-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "rolls_package.py").write_text(Path(__file__).read_text().partition("# -----")[0])
    path = sweep_file(tmp_path, "{kind: euler, step: 0.05, tolerance: 0.05}")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(root)])}
    for verb in ("lint", "run", "status"):
        done = subprocess.run(
            [sys.executable, "-m", "phasetwin", verb, str(path)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    assert "2 of 2 within the tolerance" in done.stdout
    ds = xr.open_zarr(tmp_path / "rolls.zarr")
    assert abs(float(ds.roll_wavenumber.isel(time=-1).mean()) - 1.0) < 0.1
