"""What a newcomer waits for: ``python benchmarks/first_minute.py`` writes docs/benchmarks/first_minute.md.

Every figure is a command in a process of its own, as a user types it: wall time, processor time with that of all its
processes, and the ratio of the wall time to T. T is that of ``python -c "import torch, distributed, zarr, xarray"``,
measured right before it. Medians over rounds.

1. A sweep of 12 small points, the same again with nothing left to do, and what only looks: `lint`, `plan`, `status`,
   `models`, `schema`, `open_sweep`.
2. The main job (sweeps/examples/spinodal.yaml: 64 points, 4 starts, 8 spot checks): warm; its report; cold, with empty
   folders of machine code and of fonts, as after an installation, and the report after that.
3. ``--install`` also installs what `make demo` needs in a clone of this repository, and states time and size; it needs
   a package index. ``--environment FOLDER`` states the size of an environment that is there.

About six minutes on two idle cores.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common import PAGES, ROOT
from common.runs import markdown_table, parser, say

PAGE = PAGES / "first_minute.md"
UNIT = ["-c", "import torch, distributed, zarr, xarray"]
MAIN = ROOT / "sweeps" / "examples" / "spinodal.yaml"
MAIN_STORE, SMALL_STORE = "runs/spinodal.zarr", "runs/small.zarr"
SMALL = """\
schema_version: 1
name: small
process: cahn_hilliard
grid: {shape: [32, 32]}
parameters: {mobility: [0.5, 1.0, 2.0], kappa: [0.5, 1.0, 1.5, 2.0]}
initial: {kind: noise, amplitude: 0.05}
times: {start: 0, stop: 50, count: 6}
engine: {kind: solver, tolerance: 1.0e-2}
"""
# Of the issue that asked for them: of the environment in GB, of a cold run with its report in seconds.
LARGEST_GIB, LONGEST_SECONDS = 1.4, 30.0


@dataclass(frozen=True)
class Cost:
    """Wall and processor seconds of a process and all that it waited for."""

    wall: float
    cpu: float


@dataclass
class Figure:
    """A command of a user's.

    Attributes:
        name: for the table.
        command: arguments of Python.
        limit: what its wall time may be at most, in units of T.
        remove: store that is deleted before.
        cold: run it with a cache folder that is empty at the first cold figure of each round.
        ratios, costs: of all rounds.
    """

    name: str
    command: Sequence[str]
    limit: float | None
    remove: str = ""
    cold: bool = False
    ratios: list[float] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def row(self) -> list[str]:
        wall, cpu = (statistics.median(getattr(cost, name) for cost in self.costs) for name in ("wall", "cpu"))
        held = "" if self.limit is None else "yes" if self.ratio <= self.limit else "**no**"
        limit = "" if self.limit is None else f"{self.limit:g}"
        rounds = ", ".join(f"{ratio:.2f}" for ratio in self.ratios)
        return [self.name, f"{self.ratio:.2f}", limit, held, f"{wall:.2f}", f"{cpu:.2f}", rounds]


def phasetwin(*arguments: str) -> list[str]:
    return ["-m", "phasetwin", *arguments]


def figures() -> list[Figure]:
    """In the order in which each round runs them: a store is made before it is looked at."""
    return [
        Figure("sweep of 12 small points", phasetwin("run", "small.yaml"), 2.0, remove=SMALL_STORE),
        Figure("the same again, nothing left to do", phasetwin("run", "small.yaml"), 0.5),
        Figure("`lint`", phasetwin("lint", "small.yaml"), 0.3),
        Figure("`plan`", phasetwin("plan", "small.yaml"), 0.3),
        Figure("`status`", phasetwin("status", "small.yaml"), 0.3),
        Figure("`models`", phasetwin("models"), 0.3),
        Figure("`schema`", phasetwin("schema"), 0.3),
        Figure("`open_sweep`", ["-c", f"from sweeps import open_sweep; open_sweep({SMALL_STORE!r})"], 0.45),
        Figure("main job, warm", phasetwin("run", str(MAIN)), 3.0, remove=MAIN_STORE),
        Figure("`report` of the main job", phasetwin("report", str(MAIN)), 1.3),
        Figure("main job, cold", phasetwin("run", str(MAIN)), 6.0, remove=MAIN_STORE, cold=True),
        Figure("`report` after it, cold", phasetwin("report", str(MAIN)), None, cold=True),
    ]


def timed(command: Sequence[str], folder: Path, caches: Path | None = None) -> Cost:
    """Run Python in a folder, with its caches elsewhere if asked to; raises where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if caches is not None:
        environment = {k: v for k, v in environment.items() if k not in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR")}
        environment["XDG_CACHE_HOME"] = environment["XDG_CONFIG_HOME"] = str(caches)
    with (folder / "output").open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: status {process.returncode}\n{(folder / 'output').read_text()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def measure(found: Sequence[Figure], folder: Path, rounds: int) -> list[Cost]:
    """Fill the figures in; returns T each time it was measured."""
    units = []
    # Machine code, byte code and files of the disk are there before the first round.
    for command in (figure.command for figure in found if not figure.cold):
        timed(command, folder)
    for number in range(rounds):
        caches = folder / f"caches-{number}"
        for figure in found:
            if figure.remove:
                shutil.rmtree(folder / figure.remove, ignore_errors=True)
            units.append(timed(UNIT, folder))
            cost = timed(figure.command, folder, caches if figure.cold else None)
            figure.costs.append(cost)
            figure.ratios.append(cost.wall / units[-1].wall)
            say(f"{number + 1}: {figure.name}: {cost.wall:.2f} s, {figure.ratios[-1]:.2f} T, cpu {cost.cpu:.2f} s")
    return units


def gibibytes(folder: Path) -> float:
    """What a folder takes on the disk, as `du` counts it, each file once."""
    seen: dict[tuple[int, int], int] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            about = os.lstat(os.path.join(root, name))  # noqa: PTH118 a hundred thousand of them
            seen[about.st_dev, about.st_ino] = about.st_blocks * 512
    return sum(seen.values()) / 2**30


def install(folder: Path) -> tuple[float, float]:
    """Seconds and GiB of what `make demo` installs in a fresh clone of what is committed here."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder / "clone"], check=True)
    started = time.perf_counter()
    subprocess.run(["make", "--silent", ".venv/.ready-user"], cwd=folder / "clone", check=True)
    return time.perf_counter() - started, gibibytes(folder / "clone" / ".venv")


def others(found: Sequence[Figure], installed: tuple[float, float] | None, size: float | None) -> list[list[str]]:
    """Rows of what is not in units of T."""
    walls: Mapping[str, float] = {f.name: statistics.median(cost.wall for cost in f.costs) for f in found}
    first = walls["main job, cold"] + walls["`report` after it, cold"]

    def row(name: str, value: float, unit: str, limit: float | None) -> list[str]:
        held = "" if limit is None else "yes" if value <= limit else "**no**"
        return [name, f"{value:.3g} {unit}", "" if limit is None else f"{limit:g} {unit}", held]

    rows = [row("from an installed clone to the report, cold", first, "s", LONGEST_SECONDS)]
    if installed is not None:
        rows.append(row("installing what `make demo` needs, from an index or pip's cache", installed[0], "s", None))
        size = installed[1]
    if size is not None:
        rows.append(row("size of the environment that `make demo` makes", size, "GiB", LARGEST_GIB))
    return rows


def page(found: Sequence[Figure], units: Sequence[Cost], rest: list[list[str]], load: float) -> str:
    wall, cpu = (statistics.median(getattr(unit, name) for unit in units) for name in ("wall", "cpu"))
    lines = [
        "# The first minute",
        "",
        "Made by `python benchmarks/first_minute.py --install`; its docstring says what is compared. T, the wall time",
        'of `python -c "import torch, distributed, zarr, xarray"`, was '
        f"{wall:.2f} s ({cpu:.2f} s of processor time; median of {len(units)}),",
        f"on {os.cpu_count()} cores with {load:.1f} runnable processes each before the first measurement.",
        "",
        *markdown_table(
            ["command", "T (median)", "at most", "held", "wall, s", "processor, s", "all rounds, T"],
            [figure.row() for figure in found],
        ),
        "",
        *markdown_table(["figure", "", "at most", "held"], rest),
    ]
    return "\n".join(lines) + "\n"


def run(arguments: Namespace, folder: Path) -> None:
    """Measure everything and write the page."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    (folder / "small.yaml").write_text(SMALL)
    found = figures()
    units = measure(found, folder, arguments.rounds)
    installed = install(folder) if arguments.install else None
    size = gibibytes(arguments.environment) if arguments.environment else None
    text = page(found, units, others(found, installed, size), load)
    arguments.page.write_text(text)
    print(text)


def main() -> None:
    """Parse the command line and measure."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--install", action="store_true", help="also install what `make demo` needs, in a fresh clone")
    options.add_argument("--environment", type=Path, help="state the size of this environment")
    options.add_argument("--page", type=Path, default=PAGE)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-minute-") as name:
        run(arguments, Path(name))


if __name__ == "__main__":
    main()
