"""Error against cost of public peers and of this project's solver on Cahn-Hilliard problems, side by side.

``simulate`` is asked for a tolerance, as a user does; peers are tried at many settings, of which the cheapest that
reaches that error counts. All peers solve one problem, the fastest of them two more.

python benchmarks/peers.py --make-env    makes benchmarks/.envs/peers (once)
python benchmarks/peers.py               the full run; writes docs/benchmarks/peers.{csv,md,png}
python benchmarks/peers.py --quick       a smoke run of a few settings; writes to benchmarks/.cache/quick
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from common import PAGES, cache_folder
from common.runs import parser, say
from peers_bench.contender import MODULES, OURS, contenders_of
from peers_bench.measure import Clients, Point, interleave, scanned, time_round
from peers_bench.problem import PROBLEMS, TRAJECTORIES, reference_file
from peers_bench.report import Run, plot, write_csv, write_markdown
from peers_bench.worker import Client, WorkerFailedError, make_environment, python_of_peers, versions


def _arguments() -> argparse.Namespace:
    given = parser(__doc__)
    given.add_argument("--make-env", action="store_true", help="make the peers' environment and stop")
    given.add_argument("--quick", action="store_true", help="every 7th setting, 4 trajectories")
    given.add_argument("--rounds", type=int, help="interleaved timing rounds (default 5, quick 1); 0 only scans")
    given.add_argument("--fresh", action="store_true", help="scan the peers' settings again (kept in .cache otherwise)")
    given.add_argument("--only", nargs="+", metavar="MODULE", choices=MODULES, help=f"of {', '.join(MODULES)}")
    given.add_argument("--problems", nargs="+", choices=tuple(PROBLEMS), default=tuple(PROBLEMS), metavar="PROBLEM")
    last = (os.cpu_count() or 1) - 1
    given.add_argument("--core", type=int, default=last, help="core to run on (default: the last)")
    given.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what tables and plot show")
    given.add_argument("--out", type=Path, help="folder for the results")
    arguments = given.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 1 if arguments.quick else 5
    return arguments


def _measure(clients: Clients, arguments: argparse.Namespace) -> list[Point]:
    """Scan or recall, then time; returns timed points first, then those only scanned."""
    quick = arguments.quick
    trajectories = 4 if quick else TRAJECTORIES
    groups: list[list[Point]] = []
    others: list[Point] = []
    for client in clients.values():
        chosen, rest = scanned(client, trajectories, every=7 if quick else 1, fresh=arguments.fresh)
        groups.append(chosen)
        others += rest
    points = interleave(groups)
    for number in range(arguments.rounds):
        say(f"timing round {number + 1}: {len(points)} points")
        time_round(clients, points, budget=0.1 if quick else 0.4)
    return [point for group in groups for point in group] + others


def _start(arguments: argparse.Namespace) -> Clients:
    clients: Clients = {}
    for name in arguments.problems:
        problem = PROBLEMS[name]
        reference = reference_file(problem, min(problem.judged, 4 if arguments.quick else TRAJECTORIES))
        for module in arguments.only or MODULES:
            for contender in contenders_of(module):
                if contender.indices(name):
                    clients[contender.name, name] = Client(module, contender, problem, reference, arguments.core)
    return clients


def main() -> int:
    """Command line entry."""
    arguments = _arguments()
    if arguments.make_env:
        make_environment()
        return 0
    if not python_of_peers().exists():
        say("peers.py: no environment yet; run `python benchmarks/peers.py --make-env` first")
        return 2
    out = arguments.out or (cache_folder() / "quick" if arguments.quick else PAGES)
    out.mkdir(parents=True, exist_ok=True)
    clients = _start(arguments)
    try:
        points = _measure(clients, arguments)
    except WorkerFailedError as failure:
        say(f"peers.py: {failure}")
        return 1
    finally:
        for client in clients.values():
            client.close()
    if not arguments.rounds:
        return 0
    contenders = list({name: client.contender for (name, _), client in clients.items()}.values())
    ours = list(dict.fromkeys(name for (name, _), client in clients.items() if client.module == OURS))
    run = Run(points, contenders, arguments.clock, versions())
    write_csv(run, out / "peers.csv")
    write_markdown(run, ours[0] if ours else "", out / "peers.md", "peers.png")
    plot(run, ours, out / "peers.png")
    print(out / "peers.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
