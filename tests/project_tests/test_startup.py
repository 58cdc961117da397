"""What only looks at files and stores starts without the packages that compute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import solvers
import studies
import surrogate
import sweeps
from sweeps import Sweep
from sweeps.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
#: What computes, schedules or draws, and what takes its time to load with them.
COMPUTING = ("torch", "numba", "distributed")
ARRAYS = ("dask", "xarray", "pandas", "scipy")
DRAWING = ("matplotlib", "PIL")
#: For what only reads files and prints.
HEAVY = (*COMPUTING, *ARRAYS, *DRAWING, "zarr")
CODE = """
import sys
{code}
found = [name for name in {heavy} if name in sys.modules]
sys.exit(f"loaded: {{found}}" if found else 0)
"""


def loads_nothing_heavy(code: str, heavy: tuple[str, ...] = HEAVY) -> None:
    program = CODE.format(code=code, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


SMALL: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "process": "cahn_hilliard",
    "grid": {"shape": [16, 16]},
    "parameters": {"kappa": [1.0, 1.5]},
    "initial": {"kind": "noise"},
    "times": [0, 5],
    "engine": {"kind": "solver", "tolerance": 1e-2},
    "cluster": {"kind": "in_process", "dashboard_address": None},
    "verify": {"count": 1},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a few finished points."""
    path = tmp_path_factory.mktemp("startup") / "small.zarr"
    config = {**SMALL, "output": {"path": str(path)}}
    Sweep.from_config(config).run(progress=False)
    return str(path)


EXAMPLES = sorted(path.name for path in (ROOT / "sweeps" / "examples").glob("*.yaml"))
#: Planning ``engine: auto`` measures this machine, where that has not been done.
READ = [(verb, name) for verb in ("lint", "plan") for name in EXAMPLES if (verb, name) != ("plan", "auto.yaml")]
#: Points of a Sobol sequence come from scipy.stats, which loads all of scipy.
SAMPLED = [("plan", "sobol.yaml")]


@pytest.mark.parametrize(("verb", "example"), READ)
def test_sweep_files_are_read_without(verb: str, example: str) -> None:
    heavy = tuple(name for name in HEAVY if name != "scipy") if (verb, example) in SAMPLED else HEAVY
    loads_nothing_heavy(f"from phasetwin import main; assert main(['{verb}', 'sweeps/examples/{example}']) == 0", heavy)


@pytest.mark.parametrize("example", ["domain-size", "pareto", "grain-size"])
def test_studies_are_checked_without(example: str) -> None:
    """Where no target is an image, whose statistics are computed."""
    loads_nothing_heavy(f"from phasetwin import main; assert main(['lint', 'studies/examples/{example}.yaml']) == 0")


@pytest.mark.parametrize("recipe", ["ch-jump", "gsta-spinodal-model"])
def test_recipes_are_checked_without(recipe: str) -> None:
    loads_nothing_heavy(f"from phasetwin import main; assert main(['lint', 'surrogate/recipes/{recipe}.yaml']) == 0")


@pytest.mark.parametrize("verb", ["models", "schema"])
def test_lists_are_printed_without(verb: str) -> None:
    loads_nothing_heavy(f"from phasetwin import main; assert main(['{verb}']) == 0")


def test_stores_are_looked_at_without(store: str) -> None:
    heavy = (*COMPUTING, *ARRAYS, *DRAWING)
    loads_nothing_heavy(f"from phasetwin import main; assert main(['status', {store!r}]) == 0", heavy)
    heavy = (*COMPUTING, *DRAWING, "pydantic", "sweeps.config", "surrogate")
    loads_nothing_heavy(f"from sweeps import open_sweep; assert open_sweep({store!r}).sizes['point'] == 2", heavy)


def test_reports_are_written_without(store: str, tmp_path: Path) -> None:
    heavy = (*COMPUTING, *ARRAYS, "matplotlib.pyplot")
    code = f"from phasetwin import main; assert main(['report', {store!r}, '--out', {str(tmp_path)!r}]) == 0"
    loads_nothing_heavy(code, heavy)


def test_nothing_left_to_do_is_found_without(store: str, tmp_path: Path) -> None:
    """Every object of the store is read and compared with its checksum all the same."""
    file = tmp_path / "small.yaml"
    file.write_text(str(Store.open(store).attributes["config"]))  # JSON is YAML
    run = f"assert main(['run', {str(file)!r}]) == 0"
    loads_nothing_heavy(f"from phasetwin import main; {run}", (*COMPUTING, *ARRAYS, *DRAWING))


def test_a_sweep_in_its_own_process_loads_no_dashboard_that_nobody_looks_at(tmp_path: Path) -> None:
    config = {**SMALL, "cluster": {"kind": "in_process"}, "output": {"path": str(tmp_path / "own.zarr")}}
    run = f"Sweep.from_config({config!r}).run(progress=False)"
    loads_nothing_heavy(f"from sweeps import Sweep; assert {run}.computed == 2", ("bokeh", "xarray", "pandas"))


def test_the_rooms_are_imported_without() -> None:
    loads_nothing_heavy("import solvers, sweeps, surrogate, studies, phasetwin; phasetwin.build_app()")


def test_names_are_there() -> None:
    """Every name that a room offers can be imported, whatever module it is in."""
    for room in (solvers, sweeps, surrogate, studies):
        assert all(hasattr(room, name) for name in room.__all__)
