"""The verbs about sweeps: new, lint, plan, run, status, report, verify, schema.

Commands return their exit status: 0 done, 1 some points failed. Wrong input raises InputError, which the
front door turns into one line and status 2. What reads arrays or draws is imported where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvers.errors import InputError
from sweeps.config.sweep import SweepConfig
from sweeps.engines.registry import check_engine, engine_kind
from sweeps.inputs.examples import examples, new_file
from sweeps.inputs.kinds import json_schema, kind_of
from sweeps.inputs.yaml_source import check, load_yaml, located, read_source
from sweeps.plan.description import describe_plan, many, plan_summary
from sweeps.plan.designs import point_count
from sweeps.sweep import Sweep

if TYPE_CHECKING:
    from sweeps.execution.run import RunResult

File = Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file.", show_default=False)]
FileOrStore = Annotated[
    str, typer.Argument(metavar="FILE", help="The YAML file, or the store itself.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the file; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Address = Annotated[str | None, typer.Option("--address", help="Use a running Dask scheduler, tcp://HOST:PORT.")]
#: Failed points that are named one by one; the store names them all.
NAMED = 20


def add_commands(app: typer.Typer) -> None:
    """Add this room's verbs to the front door."""
    for command in (new, lint, plan, run, status, report, verify, schema):
        app.command()(command)


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The example; without one they are listed.")] = "",
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The new file; KIND.yaml by default.", show_default=False)
    ] = None,
) -> int:
    """Begin with a commented example file."""
    if not kind:
        raise InputError(f"new: found no KIND, allowed {', '.join(examples())}")
    written = new_file(kind, file)
    example = examples()[kind]
    typer.echo(f"{', '.join(map(str, written))}: {example.about}")
    typer.echo(f"next: phasetwin {example.kind.verb} {written[0]}")
    return 0


def lint(file: File, overrides: Overrides = None) -> int:
    """Check a YAML file without running anything."""
    source = read_source(file, overrides or ())
    kind = kind_of(source.data)
    config = check(source, kind.load())
    with located(file, overrides or ()):
        what = kind.describe(config, source)
    if isinstance(config, SweepConfig):
        what = f"{what}, {many(point_count(config), 'point')} x {many(config.realizations.count, 'realization')}"
    typer.echo(f"{file}: ok ({what})")
    if isinstance(config, SweepConfig):
        _note_engine(config)
    return 0


def _note_engine(config: Any) -> None:
    if engine_kind(config).check is None:
        return
    try:
        check_engine(config)
    except InputError as error:
        typer.echo(f"note: it cannot run yet: {error}")


def plan(file: File, overrides: Overrides = None, as_json: Json = False) -> int:
    """Show what a sweep will compute, and about what it will take."""
    with located(file, overrides or ()):
        planned = _sweep(file, overrides).plan()
    typer.echo(json.dumps(plan_summary(planned), indent=2) if as_json else describe_plan(planned))
    return 0


def run(
    file: File,
    overrides: Overrides = None,
    address: Address = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="First read what the store holds and redo what is damaged.")
    ] = True,
) -> int:
    """Run a sweep; what an earlier run finished is kept."""
    with located(file, overrides or ()):
        result = _sweep(file, overrides, address).run(check=check)
    typer.echo(f"{result.store}: {result.computed} points computed, {result.reused} reused, in {result.wall_s:.1f} s")
    return _outcome(result)


def verify(file: File, overrides: Overrides = None, address: Address = None) -> int:
    """Solve a few points again to a tighter tolerance and say whether the tolerance held."""
    with located(file, overrides or ()):
        result = _sweep(file, overrides, address).verify()
    failed = _outcome(result)
    return 1 if result.missed else failed


def status(
    file: FileOrStore,
    overrides: Overrides = None,
    as_json: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Also read every object and compare checksums.")] = False,
) -> int:
    """Show how far a sweep is, from its store alone."""
    from sweeps.monitoring import status as of_stores

    store = _store(file, overrides)
    found = of_stores.status(store, curves=as_json)
    if check:
        found["damaged"] = of_stores.check_store(store)
    typer.echo(json.dumps(found, indent=2) if as_json else of_stores.describe_status(found))
    if check and not as_json:
        typer.echo(of_stores.describe_damage(found["damaged"]))
    return 1 if found.get("damaged") else 0


def report(
    file: FileOrStore,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the report.")] = None,
) -> int:
    """Write the report of a sweep, from its store alone."""
    from sweeps.report import write_report

    store = _store(file, overrides)
    typer.echo(str(write_report(store, out)))
    return 0


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The kind of YAML file.")] = "sweep",
) -> int:
    """Print the JSON Schema of a kind of YAML file."""
    typer.echo(json.dumps(json_schema(kind), indent=2))
    return 0


def _sweep(file: Path, overrides: Sequence[str] | None, address: str | None = None) -> Sweep:
    extra = [f"cluster={json.dumps(_running(file, overrides, address))}"] if address else []
    return Sweep.from_yaml(file, overrides=(*(overrides or ()), *extra))


def _running(file: Path, overrides: Sequence[str] | None, address: str) -> dict[str, Any]:
    """The cluster at an address, with the file's own certificates where the address is an encrypted one."""
    source = read_source(file, overrides or ())
    cluster = source.data.get("cluster") if isinstance(source.data, dict) else None
    tls = cluster.get("tls") if isinstance(cluster, dict) else None
    encrypted = address.startswith(("tls://", "wss://")) and isinstance(tls, dict)
    return {"address": address, **({"tls": tls} if encrypted else {})}


def _store(target: str, overrides: Sequence[str] | None) -> str:
    """The store that a file writes to, or the store itself."""
    if "://" in target or Path(target).is_dir():
        if overrides:
            raise InputError(f"--set {overrides[0]}: found a store, {target}, allowed with a YAML file")
        return target

    return load_yaml(target, SweepConfig, overrides or ()).output.path


def _outcome(result: RunResult) -> int:
    """Say what was verified; name what failed or missed the tolerance, on stderr."""
    if result.verified:
        typer.echo(f"{result.verified} of {result.points} points verified against a tighter solve")
    if result.untrusted:
        typer.echo(
            f"{result.untrusted} of {result.points} points not to be trusted; `phasetwin status` says why", err=True
        )
    if result.over_tolerance:
        typer.echo(f"{len(result.over_tolerance)} trajectories may exceed the tolerance asked for", err=True)
    for word, items in (
        ("failed", result.failed),
        ("over tolerance", result.over_tolerance),
        ("spot check missed", result.missed),
        ("spot check without a solution", result.unchecked),
    ):
        for item in items[:NAMED]:
            typer.echo(f"{word}: {item}", err=True)
        if len(items) > NAMED:
            typer.echo(f"{word}: {len(items) - NAMED} more; `phasetwin status` counts them", err=True)
    return 1 if result.failed or result.unchecked else 0
