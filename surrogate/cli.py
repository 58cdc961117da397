"""The surrogate room's verbs: train, models, evaluate, bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from solvers.errors import InputError
from surrogate.evaluation.cli import add_commands as add_evaluation
from surrogate.evaluation.frontier.cli import add_commands as add_frontier
from surrogate.models.files import SHIPPED, read_about, shipped
from sweeps.inputs.yaml_source import load_yaml

Recipe = Annotated[Path, typer.Argument(help="A training recipe.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key: --set training.batch=32.")]


def add_commands(app: typer.Typer) -> None:
    """Add this room's verbs to the front door."""
    for command in (train, models, emulate):
        app.command()(command)
    add_evaluation(app)
    add_frontier(app)


def train(
    recipe: Recipe,
    minutes: Annotated[float | None, typer.Option(help="Budget of training time; the recipe's by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the model; runs/models/NAME by default.")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads.", min=1)] = 2,
    start: Annotated[str | None, typer.Option(help="A model whose weights to begin with.", metavar="MODEL")] = None,
    overrides: Overrides = None,
) -> int:
    """Train a model; run again, it goes on from its last checkpoint."""
    from surrogate.training.recipe import Recipe as RecipeModel
    from surrogate.training.run import train_recipe

    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes: found {minutes:g}, allowed a positive number")
    config = load_yaml(recipe, RecipeModel, overrides or ())
    typer.echo(train_recipe(config, minutes, out or Path("runs") / "models" / config.name, threads, start))
    return 0


def emulate(
    stores: Annotated[list[str], typer.Argument(metavar="STORE...", help="Finished sweeps.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the emulator.", show_default=False)],
    level: Annotated[float, typer.Option(help="Nominal coverage of its bands.")] = 0.9,
) -> int:
    """Learn an emulator of statistics from finished sweeps, for `engine: {kind: emulator, model: OUT}`."""
    from surrogate.emulator.build import learn_from_stores

    if not 0.0 < level < 1.0:
        raise InputError(f"--level: found {level:g}, allowed a number in (0, 1)")
    emulator = learn_from_stores(stores, level=level)
    emulator.save(out)
    typer.echo(f"{'quantity':24} {'miss of points left out':>24} {'spread over starts':>20}")
    for name, row in emulator.errors.items():
        unit = " (relative)" if row["scale"] == "relative" else ""
        typer.echo(f"{name:24} {row['left_out']:24.3g} {row['seed_spread']:20.3g}{unit}")
    typer.echo(str(out))
    return 0


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """List the models that come with the program."""
    rows = []
    for name in shipped():
        about = read_about(SHIPPED / name)
        size = sum(f.stat().st_size for f in (SHIPPED / name).iterdir() if f.is_file())
        rows.append(
            {
                "name": name,
                "process": about["process"],
                "kind": about["kind"],
                "sha256": about["weights_sha256"],
                "bytes": size,
                "minutes": about.get("training", {}).get("minutes"),
                "calibrated": bool(about.get("calibration")),
                "folder": str(SHIPPED / name),
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        bands = "calibrated bands" if row["calibrated"] else "no bands"
        typer.echo(f"{row['name']:12} {row['process']:15} {row['kind']:5} {row['bytes'] / 1e6:6.2f} MB  {bands}")
    if not rows:
        typer.echo("no models ship with this version; `phasetwin train RECIPE` makes one")
    return 0
