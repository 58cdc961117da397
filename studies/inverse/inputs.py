"""A study and its sweep, put together and checked: everything that can be wrong is said before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solvers.errors import InputError
from studies.inverse.config import TIME, LearnedExplorer, StudyConfig
from studies.inverse.objectives.aims import Term
from studies.inverse.objectives.build import build_terms
from studies.inverse.objectives.merit import Judge
from studies.inverse.search.space import Space
from sweeps.config.cross_checks import bounds_violation
from sweeps.config.sweep import FieldsAt, OutputConfig, SweepConfig, table_columns
from sweeps.inputs.yaml_source import Source, apply_override, check, from_mapping, read_source

#: Of a solver that takes what an emulator is not trusted with, where the sweep names none.
FALLBACK_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Prepared:
    """A study with all that its sweep decides.

    Attributes:
        study: the file.
        exploring: the sweep that trials are run as; its parameters, design and output are each batch's own.
        confirming: the sweep's own engine, where trials run on another.
        reference: the same points by the reference solver, with fields.
        fallback: for points outside an emulator's domain.
        space: of the variables.
        judge: of the terms.
    """

    study: StudyConfig
    exploring: SweepConfig
    confirming: SweepConfig | None
    reference: SweepConfig
    fallback: SweepConfig
    space: Space
    judge: Judge
    terms: list[Term] = field(default_factory=list)


def read_study(path: str | Path, overrides: Iterable[str] = ()) -> tuple[StudyConfig, SweepConfig]:
    """A study file and its sweep.

    Raises:
        InputError: naming file, line and key.
    """
    source = read_source(path)
    for override in overrides:
        apply_override(source, override)
    study = check(source, StudyConfig)
    return study, read_sweep(study, source)


def read_sweep(study: StudyConfig, source: Source | None = None) -> SweepConfig:
    """The sweep of a study, with the blocks that the study replaces.

    Raises:
        InputError: for a mistake in the sweep's file, at its line, or in ``changes``, at the study's.
    """
    base = read_source(study.sweep)
    if isinstance(base.data, dict):
        for key, value in study.changes.items():
            for known in [k for k in base.lines if k[:1] == (key,)]:
                del base.lines[known]
            base.data[key] = value
            base.overrides[(key,)] = f"changes.{key}"
        if isinstance(base.data.get("output", {}), dict):
            # Where results go and which fields are kept is the study's own affair, batch by batch.
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


def study_from(config: StudyConfig | dict[str, Any]) -> StudyConfig:
    """From a configuration, or the dictionary a file would hold."""
    return config if isinstance(config, StudyConfig) else from_mapping(config, StudyConfig, label="configuration")


def prepare(study: StudyConfig, sweep: SweepConfig) -> Prepared:
    """Check what the two say together.

    Raises:
        InputError: starting with the key of the study at fault.
    """
    _check_variables(study, sweep)
    objectives, constraints = build_terms(study, sweep)
    terms = [*objectives, *constraints]
    _check_engines(study, sweep, terms)
    times = sorted({t for term in terms for t in term.feature.field_times})
    lean = sweep.model_copy(
        update={"output": OutputConfig(path="unused", retain=FieldsAt(fields_at=tuple(times)) if times else "qoi")}
    )
    own = with_engine(lean, _own_engine(study, sweep))
    exploring = own
    if study.explore is not None and not isinstance(study.explore, LearnedExplorer):
        exploring = with_engine(lean, study.explore.model_dump(mode="json"))
    return Prepared(
        study=study,
        exploring=exploring,
        confirming=own if study.explore is not None else None,
        reference=_reference(study, sweep, terms),
        fallback=with_engine(lean, _fallback(sweep)),
        space=Space.of(study, sweep),
        judge=Judge(objectives, constraints),
        terms=terms,
    )


def with_engine(sweep: SweepConfig, engine: dict[str, Any]) -> SweepConfig:
    """The same sweep on another engine."""
    data = sweep.model_dump(mode="json")
    data["engine"] = engine
    return from_mapping(data, SweepConfig, label="engine of the study")


def _own_engine(study: StudyConfig, sweep: SweepConfig) -> dict[str, Any]:
    engine = sweep.engine.model_dump(mode="json")
    if engine["kind"] == "surrogate" and study.outside == "solver" and engine["outside"] == "flag":
        engine["outside"] = _fallback(sweep)
    return engine


def _fallback(sweep: SweepConfig) -> dict[str, Any]:
    engine = sweep.engine
    if engine.kind == "solver":
        return engine.model_dump(mode="json")
    own = getattr(engine, "outside", None)
    if own is not None and not isinstance(own, str):
        return own.model_dump(mode="json")
    return {"kind": "solver", "tolerance": getattr(engine, "tolerance", FALLBACK_TOLERANCE)}


def reference_tolerance(study: StudyConfig, sweep: SweepConfig) -> float:
    """Of the solver that decides: the study's, else that of the sweep's own spot checks."""
    from sweeps.engines.reference import reference_engine

    return study.verify.tolerance or max(reference_engine(sweep).tolerance, 1e-9)


def _reference(study: StudyConfig, sweep: SweepConfig, terms: list[Term]) -> SweepConfig:
    """The sweep by the reference solver; it keeps fields where objectives look, to be shown."""
    tolerance = reference_tolerance(study, sweep)
    device = getattr(sweep.engine, "device", "auto")
    engine = {"kind": "solver", "tolerance": tolerance, "dtype": "float64", "device": device}
    stored = sweep.time_values()
    times = {t for term in terms for t in term.feature.field_times}
    times |= {float(stored[i]) for term in terms for i in _last_time(term)}
    retain = FieldsAt(fields_at=tuple(sorted(times)))
    return with_engine(sweep.model_copy(update={"output": OutputConfig(path="unused", retain=retain)}), engine)


def _last_time(term: Term) -> tuple[int, ...]:
    times = getattr(term.feature, "times", None)
    if times:
        return (times[-1],)
    time = getattr(term.feature, "time", None)
    return (time,) if isinstance(time, int) else ()


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


def _check_engines(study: StudyConfig, sweep: SweepConfig, terms: list[Term]) -> None:
    kinds = {"sweep": sweep.engine.kind}
    if study.explore is not None and not isinstance(study.explore, LearnedExplorer):
        kinds["explore"] = study.explore.kind
    if isinstance(study.explore, LearnedExplorer):
        kinds["explore"] = "emulator"
    if sweep.engine.kind == "emulator" and study.explore is not None:
        raise InputError("explore: found an engine before the sweep's emulator, allowed nothing: it is the lowest rung")
    for key, kind in kinds.items():
        of_fields = [term for term in terms if term.feature.field_times]
        if kind == "emulator" and of_fields:
            raise InputError(
                f"{of_fields[0].key}: found a quantity of fields, allowed with an engine that "
                f"makes fields ({key} is an emulator)"
            )


def lint_study(study: StudyConfig, source: Source) -> str:
    """What `phasetwin lint` says of a study that is right.

    Raises:
        InputError: starting with the key at fault.
    """
    prepared = prepare(study, read_sweep(study, source))
    goals = ", ".join(term.label for term in prepared.judge.objectives)
    return f"study, {study.trials} trials over {', '.join(study.variables)} for {goals}"
