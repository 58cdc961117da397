"""The report of a sweep as a page: heading, facts and warnings, failures, how to load the data, configuration."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from sweeps.report.choices import headline
from sweeps.report.data import SweepData
from sweeps.report.page import Cell, Fact, Head, Page, Section, Table, configuration
from sweeps.report.sections import result_sections
from sweeps.store.layout import ESTIMATE, STATUS_FLAGS

FAILURES_SHOWN = 50


def sweep_page(data: SweepData) -> Page:
    lost = failures(data)
    closing = [*([lost] if lost else []), loading(data), configuration(data.config, "sweep")]
    return Page(
        title=f"{data.name}: sweep report",
        name=data.name,
        kind=data.appearance.title,
        summary=summary(data),
        sections=[*result_sections(data), *closing],
        made_by=("phasetwin report", f"from the store alone: {data.url}"),
        facts=facts(data),
        warnings=warnings(data),
        provenance=provenance(data),
    )


def summary(data: SweepData) -> str:
    if data.is_grid and data.varied:
        counts = [f"{len(np.unique(data.parameters[n]))} values of {n.replace('_', ' ')}" for n in data.varied]
        design = f"{data.points} points, {' by '.join(counts)}"
    elif data.varied:
        names = ", ".join(n.replace("_", " ") for n in data.varied)
        design = f"{data.points} points scattered over {names}"
    else:
        design = "one point"
    starts = "one random start" if data.realizations == 1 else f"{data.realizations} random starts"
    each = "" if data.points == 1 else " each"
    return f"{design[0].upper()}{design[1:]}, {starts}{each}, followed to t\u00a0=\u00a0{data.times[-1]:g}."


def warnings(data: SweepData) -> list[str]:
    """What a reader must know before looking at any figure."""
    found, total = [], data.points * data.realizations
    if data.unfinished:
        found.append(f"Not finished: {data.unfinished} Everything below shows what is there.")
    lost = data.count("failed", "diverged")
    if lost:
        found.append(f"{lost} of {total} samples failed or diverged and are left out; they are listed below.")
    if data.sample_flags is not None:
        missed = data.checked - data.passed
        if missed:
            found.append(f"{missed} of the spot checks missed the {'bands' if data.learned else 'tolerance'}.")
    over, worst, _ = _estimates(data)
    if over:
        found.append(
            f"The solver estimates that {over} samples exceed the tolerance, by up to {worst:.2g} times; "
            f"{data.point_label(_worst_point(data))} most of all."
        )
    untrusted, known = _trust_counts(data)
    if untrusted:
        found.append(f"{untrusted} of {known} samples lie outside the model's domain and are not to be trusted.")
    return found


def facts(data: SweepData) -> list[Fact]:
    attributes, config = data.attributes, data.config
    done, total = data.count("done", "verified"), data.points * data.realizations
    lost = f"{data.count('failed')} failed, {data.count('diverged')} diverged"
    found = [
        Fact("Samples done", f"{done} of {total}", lost),
        _engine_fact(config.get("engine", {}), attributes.get("engine_choice")),
        _time_fact(data),
        _grid_fact(config.get("grid", {}), data),
        _check_fact(data),
        _estimate_fact(data),
        _trust_fact(data),
        Fact("Machine", str(attributes.get("device", "unknown")), f"{attributes.get('host_cores', '?')} cores"),
    ]
    return [f for f in found if f.value]


def _engine_fact(engine: dict[str, Any], chosen: object) -> Fact:
    kind = str(engine.get("kind", "unknown"))
    tolerance = engine.get("tolerance")
    value = kind if tolerance is None else f"{kind}, tolerance {100 * float(tolerance):g} %"
    rest = [str(engine[k]) for k in ("model", "dtype") if engine.get(k)]
    choice = [f"auto: {json.loads(str(chosen))['reason']}"] if chosen else []
    return Fact("Engine", value, "; ".join(filter(None, [", ".join(rest), *choice])))


def _time_fact(data: SweepData) -> Fact:
    seconds = float(np.nansum(data.of_samples("wall_s").astype(float)))
    wall = float(data.attributes.get("wall_time_s", 0.0))
    finished = data.count("done", "verified", "failed", "diverged")
    speed = f"{finished / wall:.3g} samples per second" if wall and finished else ""
    computing = f"{duration(seconds)} of computing over all workers" if seconds else ""
    if not wall:
        return Fact("Computing time", duration(seconds) if seconds else "", "summed over workers")
    return Fact("Wall time", duration(wall), ", ".join(part for part in (computing, speed) if part))


def duration(seconds: float) -> str:
    """Such as "4.2 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def _grid_fact(grid: dict[str, Any], data: SweepData) -> Fact:
    cells = " × ".join(str(n) for n in grid.get("shape", ()))
    boundary = str(grid.get("boundary", "")).replace("_", " ")
    kept = "fields and statistics stored" if data.has("field") else "statistics stored, no fields"
    return Fact("Grid", f"{cells} cells, {boundary}", f"spacing {grid.get('spacing', 1):g}; {kept}")


def _check_fact(data: SweepData) -> Fact:
    if data.sample_flags is None:
        return Fact("Spot checks", "none")
    where = "inside the bands" if data.learned else "within the tolerance"
    return Fact("Spot checks", f"{data.passed} of {data.checked} {where}", "against the reference solver")


def _estimate_fact(data: SweepData) -> Fact:
    over, worst, median = _estimates(data)
    if not np.isfinite(median):
        return Fact("Measured error", "")
    value = f"{median:.2g} of the tolerance, {worst:.2g} at most"
    return Fact("Measured error", value, f"median of the samples' largest; {over} above the tolerance")


def _estimates(data: SweepData) -> tuple[int, float, float]:
    """Of the samples' largest measured errors over the tolerance: how many exceed 1, the largest and the median."""
    tolerance = data.config.get("engine", {}).get("tolerance")
    if not data.has(ESTIMATE) or tolerance is None:
        return 0, np.nan, np.nan
    worst = _largest_estimates(data) / float(tolerance)
    worst = worst[np.isfinite(worst)]
    if not worst.size:
        return 0, np.nan, np.nan
    return int((worst > 1.0).sum()), float(worst.max()), float(np.median(worst))


def _largest_estimates(data: SweepData) -> np.ndarray:
    """(point, realization) the largest measured error of each sample; -inf where none was measured."""
    values = data.values(ESTIMATE, np.arange(data.points))
    return np.asarray(np.where(np.isnan(values), -np.inf, values).max(axis=2))


def _worst_point(data: SweepData) -> int:
    return int(_largest_estimates(data).max(axis=1).argmax())


def _trust_fact(data: SweepData) -> Fact:
    if not data.learned:
        return Fact("Trust", "")
    untrusted, known = _trust_counts(data)
    rises = data.of_samples("energy_rises")
    note = f"{int(rises[rises >= 0].sum())} energy rises"
    if known and data.has("mass_drift"):
        note += f", mass drift at most {float(np.nanmax(data.of_samples('mass_drift'))):.1e}"
    return Fact("Trust", f"{known - untrusted} of {known} samples in the model's domain", note)


def _trust_counts(data: SweepData) -> tuple[int, int]:
    """Samples outside the domain of the model, and all that it made."""
    if not data.learned:
        return 0, 0
    trust = data.of_samples("trust")
    return int((trust < 1).sum()), int(np.isfinite(trust).sum())


def provenance(data: SweepData) -> list[str]:
    """Versions, commit and history as lines of text."""
    attributes = data.attributes
    versions = attributes.get("versions", {})
    lines = []
    if isinstance(versions, dict) and versions:
        lines.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    marks = {"git commit": "git_commit", "configuration hash": "config_hash", "weights": "weights_sha256"}
    lines.append("; ".join(f"{text} {attributes[key]}" for text, key in marks.items() if attributes.get(key)))
    lines += str(attributes.get("history", "")).splitlines()[-5:]
    return [line for line in lines if line]


def failures(data: SweepData) -> Section | None:
    wanted = {STATUS_FLAGS[name]: name for name in ("failed", "diverged")}
    found = np.argwhere(np.isin(data.status, list(wanted)))
    if not len(found):
        return None
    head = [Head("Point"), Head("Realization")]
    head += [Head(data.symbol(n)) for n in data.varied]
    head += [Head("State"), Head("Reason")]
    reasons, rows = data.of_points("error"), []
    for point, realization in found[:FAILURES_SHOWN]:
        state = wanted[int(data.status[point, realization])]
        rows.append(
            [Cell(str(int(data.of_points("point")[point]))), Cell(str(realization))]
            + [Cell(f"{data.parameters[n][point]:.4g}") for n in data.varied]
            + [Cell(state, "fail"), Cell(str(reasons[point, realization]) or "no reason recorded", "wrap")]
        )
    more = len(found) - len(rows)
    notes = [f"{more} more are in the store: see its variables status and error."] if more else []
    text = f"{len(found)} samples have no result; they are NaN in the store and left out of every figure."
    return Section("failures", "Failures", [text], table=Table(head, rows), notes=notes)


def loading(data: SweepData) -> Section:
    lines = [
        "from sweeps import open_sweep",
        "",
        f"ds = open_sweep({data.url!r})           # lazy; points in the order of the design",
        f'curve = ds["{headline(data)}"].median("realization")     # (point, time)',
    ]
    if data.has("field"):
        lines.append('picture = ds["field"].isel(point=0, realization=0, time=-1)')
    if data.has("time_field"):
        lines[-1] = lines[-1].replace("time=", "time_field=")
    if data.is_grid and data.varied:
        axes = ", ".join(data.varied)
        lines.append(f"grid = open_sweep({data.url!r}, unstack=True)     # one axis each: {axes}")
    lines += [
        "",
        "import xarray as xr",
        f"ds = xr.open_zarr({data.url!r})      # without this package, in storage order",
    ]
    return Section("data", "Load the data", code="\n".join(lines))
