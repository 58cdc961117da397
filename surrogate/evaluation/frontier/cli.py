"""``phasetwin bench frontier``: error against cost of the solver and of the learned models."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from surrogate.evaluation.frontier.bench import Result

Process = Annotated[
    str | None, typer.Option("--process", help="cahn_hilliard or grain_growth; both by default.", show_default=False)
]
Cases = Annotated[
    list[str] | None, typer.Option("--case", metavar="NAME", help="Only this case; may be repeated.")
]  # fmt: skip
Models = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="MODEL", help="A model's name or folder; may be repeated. All that ship, if none."),
]
Rounds = Annotated[int | None, typer.Option("--rounds", min=1, help="Timed runs of each; 3, or 1 with --quick.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Torch threads.")]
Quick = Annotated[bool, typer.Option("--quick", help="64 x 64 cells alone, fewer trajectories and tolerances.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for tables and pictures.")]
References = Annotated[
    Path | None, typer.Option("--references", help="Folder of the truths; OUT/references by default.")
]  # fmt: skip
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again what the folder has already.")]
Emulator = Annotated[
    bool, typer.Option(help="Learn an emulator from other trajectories: with large boxes what takes longest.")
]


def add_commands(app: typer.Typer) -> None:
    """Add ``bench frontier`` to the front door."""
    bench = typer.Typer(help="Benchmarks on this machine.", no_args_is_help=True)
    # A callback keeps the name of a group with a single command.
    bench.callback()(lambda: None)
    bench.command("frontier")(frontier)
    app.add_typer(bench, name="bench")


def frontier(
    process: Process = None,
    case: Cases = None,
    model: Models = None,
    rounds: Rounds = None,
    threads: Threads = 1,
    quick: Quick = False,
    out: Out = Path("runs/frontier"),
    references: References = None,
    fresh: Fresh = False,
    emulator: Emulator = True,
) -> int:
    """Measure error against cost per trajectory of the solver and of every model; write tables and pictures.

    An interrupted run goes on where it stopped. What the models that ship were measured to do on one thread is also
    what `engine: {kind: auto}` decides by.
    """
    from surrogate.evaluation.frontier.bench import Lineup, quick_lineup, run
    from surrogate.evaluation.frontier.cases import chosen_cases
    from surrogate.evaluation.frontier.report import write_report
    from surrogate.evaluation.frontier.rows import RowFile
    from surrogate.models.files import shipped

    cases = chosen_cases(process, case or (), quick)
    models = model or shipped()
    lineup = quick_lineup(models) if quick else Lineup(models=models, emulator=emulator)
    count = rounds or (1 if quick else 3)
    keep = RowFile(out / "frontier.json")
    result = run(cases, lineup, keep, references or out / "references", count, threads, fresh)
    if threads == 1 and sorted(models) == shipped():
        _publish(result)
    path = write_report(out, result, _command())
    typer.echo(str(path))
    return 0


def _publish(result: Result) -> None:
    """Adds a run to this machine's table."""
    from surrogate.evaluation.frontier.machine import machine_table

    table = machine_table()
    for case in result.cases:
        table.add([row for row in result.rows if row.case == case.name], (case.name, case.trajectories))


def _command() -> str:
    """The command line as typed, the program by its name alone."""
    return shlex.join(["phasetwin", *sys.argv[1:]])
