"""The optimisation problem of a study and its sweep, put together and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from solvers.errors import InputError
from solvers.processes.registry import process_named
from studies.inverse.config import TIME, LearnedExplorer, StudyConfig
from studies.inverse.objectives.build import build_criteria
from studies.inverse.objectives.criteria import Criteria
from studies.inverse.space import SearchSpace
from sweeps.config.cross_checks import bounds_violation
from sweeps.config.sweep import FieldsAt, OutputConfig, Retain, SweepConfig, table_columns
from sweeps.engines.reference import reference_tolerance
from sweeps.engines.registry import ENGINES, engine_kind
from sweeps.engines.solver_kind import SolverBlock
from sweeps.inputs.yaml_source import Source, check, from_mapping, read_source

#: Of the solver for points outside a learned engine's domain, where the sweep names no tolerance.
FALLBACK_TOLERANCE = 1e-2


@dataclass(frozen=True)
class DesignProblem:
    """A study with what its sweep determines."""

    study: StudyConfig  #: the file
    #: the sweep on the engine of the trials; parameters, design and output are set for each batch
    exploring: SweepConfig
    confirming: SweepConfig | None  #: the sweep on its own engine, where trials run on another
    reference: SweepConfig  #: the sweep on the reference solver, with fields
    fallback: SweepConfig  #: for points outside a learned engine's domain
    space: SearchSpace  #: of the variables
    criteria: Criteria  #: objectives and constraints


def read_study(path: str | Path, overrides: Iterable[str] = ()) -> tuple[StudyConfig, SweepConfig]:
    """A study file and its sweep; errors name file, line and key."""
    source = read_source(path, tuple(overrides))
    study = check(source, StudyConfig)
    return study, read_sweep(study, source)


def read_sweep(study: StudyConfig, source: Source | None = None) -> SweepConfig:
    """The sweep of a study, with the blocks that the study replaces.

    Raises InputError for a mistake in the sweep's file, at its line, or in ``changes``, at the study's.
    """
    base = read_source(study.sweep)
    if isinstance(base.data, dict):
        for key, value in study.changes.items():
            for known in [k for k in base.lines if k[:1] == (key,)]:
                del base.lines[known]
            base.data[key] = value
            base.overrides[(key,)] = f"changes.{key}"
        if isinstance(base.data.get("output", {}), dict):
            # The study sets for each batch where results go and which fields are kept.
            base.data["output"] = {**base.data.get("output", {}), "retain": "qoi"}
    try:
        return check(base, SweepConfig)
    except InputError as error:
        message = str(error)
    for key in study.changes:
        mark = f"--set changes.{key}: "
        if message.startswith(mark):
            message = _in_the_study(message.removeprefix(mark), source)
    raise InputError(message)


def _in_the_study(message: str, source: Source | None) -> str:
    """A mistake in a block of ``changes``, at its place in the study's file."""
    key = message.split(": ", 1)[0]
    if source is None:
        return f"changes.{message}"
    parts = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    place = source.where(("changes", *parts))[0]
    return message.replace(key, place, 1) if place == f"--set changes.{key}" else f"{place}: changes.{message}"


def design_problem(study: StudyConfig, sweep: SweepConfig) -> DesignProblem:
    """The problem of a study and its sweep; InputError, starting with the key of the study, where they do not fit."""
    _check_variables(study, sweep)
    criteria = build_criteria(study, sweep)
    _check_engines(study, sweep, criteria)
    times = tuple(criteria.field_times)
    lean = _retaining(sweep, FieldsAt(fields_at=times) if times else "qoi")
    own = with_engine(lean, _own_engine(study, sweep))
    exploring = own
    if study.explore is not None and not isinstance(study.explore, LearnedExplorer):
        exploring = with_engine(lean, study.explore.model_dump(mode="json"))
    return DesignProblem(
        study=study,
        exploring=exploring,
        confirming=own if study.explore is not None else None,
        reference=_reference(study, sweep, criteria),
        fallback=with_engine(lean, _fallback(sweep)),
        space=SearchSpace.of(study, sweep),
        criteria=criteria,
    )


def _retaining(sweep: SweepConfig, retain: Retain) -> SweepConfig:
    """The same sweep with other fields kept; its path is set for each batch."""
    return sweep.model_copy(update={"output": OutputConfig(path="unused", retain=retain)})


def with_engine(sweep: SweepConfig, engine: Mapping[str, object]) -> SweepConfig:
    """The same sweep on another engine."""
    data = sweep.model_dump(mode="json")
    data["engine"] = dict(engine)
    return from_mapping(data, SweepConfig, label="engine of the study")


def _own_engine(study: StudyConfig, sweep: SweepConfig) -> dict[str, object]:
    engine = sweep.engine.model_dump(mode="json")
    if study.outside == "solver" and engine.get("outside") == "flag":
        engine["outside"] = _fallback(sweep)
    return engine


def _fallback(sweep: SweepConfig) -> dict[str, object]:
    """The solver's block that the sweep names, or one of its tolerance."""
    for block in (sweep.engine, getattr(sweep.engine, "outside", None)):
        if isinstance(block, SolverBlock):
            return block.model_dump(mode="json")
    return {"kind": "solver", "tolerance": getattr(sweep.engine, "tolerance", FALLBACK_TOLERANCE)}


def _reference(study: StudyConfig, sweep: SweepConfig, criteria: Criteria) -> SweepConfig:
    """The sweep by the reference solver; it keeps fields at the times of the criteria, for the report's pictures."""
    tolerance = study.verify.tolerance or reference_tolerance(sweep)
    device = getattr(sweep.engine, "device", "auto")
    engine = {"kind": "solver", "tolerance": tolerance, "dtype": "float64", "device": device}
    stored = sweep.time_values()
    times = {float(stored[c.feature.times[-1]]) for c in criteria if c.feature.times}
    retain = FieldsAt(fields_at=tuple(sorted(times.union(criteria.field_times))))
    return with_engine(_retaining(sweep, retain), engine)


def _check_variables(study: StudyConfig, sweep: SweepConfig) -> None:
    names = sweep.parameter_names
    for name, spec in study.variables.items():
        if name != TIME and name not in names:
            raise InputError(f"variables.{name}: found {name!r}, allowed {', '.join((*names, TIME))} for this sweep")
        for end, value in (("low", spec.low), ("high", spec.high)):
            allowed = bounds_violation(sweep, name, value) if name != TIME else (None if value > 0 else "a number > 0")
            if allowed:
                raise InputError(f"variables.{name}.{end}: found {value:g}, allowed {allowed}")
    for name in table_columns(sweep.design):
        if name not in study.variables:
            raise InputError(
                f"sweep: found {name} in its table of points, allowed as a variable here or a number there"
            )
    for name, known in sweep.parameters.items():
        if name not in study.variables and not isinstance(known, float | int):
            raise InputError(
                f"sweep: found a range of {name} in it, allowed as a variable here or a number there (`changes`)"
            )
    if TIME in study.variables and sweep.time_values()[-1] <= 0:
        raise InputError(f"variables.{TIME}: found a sweep that ends at time 0, allowed one that runs")
    if TIME in study.variables and process_named(sweep.process).time_scale is None:
        raise InputError(
            f"variables.{TIME}: found process {sweep.process}, allowed a process with a parameter that scales time"
        )


def _check_engines(study: StudyConfig, sweep: SweepConfig, criteria: Criteria) -> None:
    kinds = {"sweep": engine_kind(sweep)}
    if study.explore is not None:
        name = "emulator" if isinstance(study.explore, LearnedExplorer) else study.explore.kind
        kinds["explore"] = ENGINES.get(name)
        if not kinds["sweep"].makes_fields:
            own = kinds["sweep"].name
            raise InputError(f"explore: found an engine before the sweep's {own}, allowed nothing: none is cheaper")
    of_fields = next((c for c in criteria if c.feature.field_times), None)
    for key, kind in kinds.items():
        if of_fields is not None and not kind.makes_fields:
            raise InputError(
                f"{of_fields.key}: found a quantity of fields, allowed with an engine that "
                f"makes fields ({key} is an {kind.name})"
            )


def lint_study(study: StudyConfig, source: Source) -> str:
    """What `phasetwin lint` prints about a valid study; InputError, starting with its key, for another."""
    problem = design_problem(study, read_sweep(study, source))
    goals = ", ".join(criterion.label for criterion in problem.criteria.objectives)
    return f"study, {study.trials} trials over {', '.join(study.variables)} for {goals}"
