"""``phasetwin bench frontier``: error against cost of the solver and of the learned models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surrogate.evaluation.cli import command_line
from surrogate.models.files import shipped

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
    from surrogate.evaluation.frontier import bench, cases, report, rows

    models = model or shipped()
    lineup = bench.quick_lineup(models) if quick else bench.Lineup(models=models, emulator=emulator)
    result = bench.run(
        cases.chosen_cases(process, case or (), quick),
        lineup,
        rows.RowFile(out / "frontier.json"),
        references or out / "references",
        rounds or (1 if quick else 3),
        threads,
        fresh,
    )
    if threads == 1 and sorted(models) == shipped():
        table = rows.machine_table()
        for done in result.cases:
            table.add([row for row in result.rows if row.case == done.name], (done.name, done.trajectories))
    typer.echo(str(report.write_report(out, result, command_line())))
    return 0
