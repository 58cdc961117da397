"""How far a sweep is and what went wrong in it, from its store alone."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from sweeps.monitoring.facts import (
    Curves,
    Facts,
    count_states,
    failure_facts,
    parameter_map,
    point_states,
    verification_facts,
)
from sweeps.store.integrity import find_damage
from sweeps.store.layout import DIVERGED, ESTIMATE, FAILED, OVER_TOLERANCE, PENDING, usable
from sweeps.store.lock import lock_holder
from sweeps.store.store import UNREADABLE, Store

FAILURES_SHOWN = 20
REASONS_LISTED, REASONS_SHOWN = 100, 5


def status(url: str, curves: bool = True) -> Facts:
    """Counts, failures, times of a store, fit for JSON.

    Args:
        url: of the store.
        curves: also read the course of a few samples, which takes the longest.

    Returns:
        ``name``, ``store``, ``config_hash``, ``points``, ``realizations``, ``states`` (points in each state),
        ``batches`` (total, done), ``failures`` (point, realization, parameters, status, error), ``failure_count``,
        ``computing_s`` (summed over workers), ``wall_time_s``, ``samples_per_core_s``, ``running`` (who writes to it
        now, or None), ``phase``, ``rate_points_per_s``, ``seconds_left`` (of that run, None otherwise), ``map`` (axes,
        every, x, y, state), ``curves`` (time, rows and some quantities), ``verification`` (points, within,
        judged_by; or None), ``trust`` (samples, trusted, reasons, largest_mass_drift, energy_rises; or None without a
        learned engine), ``estimates`` (samples with a measured error, over_tolerance, the largest of these errors, and
        the first with what is said of them; or None where no error was measured), ``engine_choice`` (with
        ``engine: auto``: what was chosen and why), ``cluster_choice`` (with ``cluster: auto``: where the last run
        computed and why), ``history``.

    Raises:
        InputError: if there is no store.
    """
    store = Store.open(url)
    attributes, values = store.attributes, store.read("status")
    state = point_states(values)
    failed = int(np.isin(values, (FAILED, DIVERGED)).sum())
    parameters = {name: store.read(name) for name in store.parameter_names}
    running = lock_holder(url)
    seconds = float(np.nansum(store.read("wall_s").astype(np.float64)))
    samples = int((values != PENDING).sum())
    return {
        "name": str(attributes.get("title", "")),
        "store": str(url),
        "config_hash": str(attributes.get("config_hash", "")),
        "points": len(values),
        "realizations": values.shape[1],
        "states": count_states(state),
        "batches": _batches(store, state),
        "failure_count": failed,
        "failures": failure_facts(values, store.read("error"), store.read("point"), parameters) if failed else [],
        "computing_s": round(seconds, 3),
        "wall_time_s": float(attributes.get("wall_time_s", 0.0)),
        "samples_per_core_s": round(samples / seconds, 4) if seconds > 0 else None,
        "running": running,
        "phase": (running or {}).get("phase"),
        "rate_points_per_s": (running or {}).get("rate_points_per_s"),
        "seconds_left": (running or {}).get("seconds_left"),
        "map": parameter_map(parameters, state),
        "curves": _curves(store, state) if curves else None,
        "verification": verification_facts(store),
        "trust": _trust(store),
        "estimates": _estimates(store, values),
        **{name: json.loads(str(attributes.get(name, "null"))) for name in ("engine_choice", "cluster_choice")},
        "history": str(attributes.get("history", "")).splitlines(),
    }


def _batches(store: Store, state: np.ndarray) -> dict[str, int]:
    starts = np.arange(0, len(state), store.array("free_energy").chunks[0])
    pending = np.add.reduceat((state == PENDING).astype(int), starts)
    return {"total": len(starts), "done": int((pending == 0).sum())}


def _curves(store: Store, state: np.ndarray) -> Facts | None:
    """The course of a few samples; None where they cannot be read (`--check` finds out why)."""
    try:
        return Curves(store).read(state)
    except UNREADABLE:
        return None


def _trust(store: Store) -> Facts | None:
    """Of a learned engine: how many samples are trusted, and why others are not."""
    if "trust" not in store:
        return None
    trust = store.read("trust")
    known = np.isfinite(trust)
    reasons = sorted({str(text) for text in store.read("error")[known & (trust < 1)]})
    drift = store.read("mass_drift")[known] if "mass_drift" in store else np.zeros(0)
    rises = store.read("energy_rises")[known]
    return {
        "samples": int(known.sum()),
        "trusted": int((trust[known] >= 1).sum()),
        "reasons": [r.removeprefix("not trusted: ") for r in reasons if r][:REASONS_LISTED],
        "largest_mass_drift": float(drift.max()) if drift.size else None,
        "energy_rises": int(rises.sum()),
    }


def _estimates(store: Store, status: np.ndarray) -> Facts | None:
    """How many samples have a measured error above the tolerance, and what is said of the first of them."""
    if ESTIMATE not in store:
        return None
    there = usable(status)
    texts, points = store.read("error"), store.read("point")
    over = [(r, k) for r, k in np.argwhere(there).tolist() if str(texts[r, k]).startswith(OVER_TOLERANCE)]
    rows = np.unique([row for row, _ in over]) if over else np.zeros(0, dtype=int)
    return {
        "samples": int(there.sum()),
        "over_tolerance": len(over),
        "largest": float(np.nanmax(store.read(ESTIMATE, rows))) if over else None,
        "first": [
            {"point": int(points[row]), "realization": realization, "error": str(texts[row, realization])}
            for row, realization in over[:FAILURES_SHOWN]
        ],
    }


def _estimate_lines(estimates: Facts) -> list[str]:
    count = f"{estimates['over_tolerance']} of {estimates['samples']} samples"
    lines = [f"  tolerance: {count} estimated to exceed it, errors up to {estimates['largest']:.2g}"]
    return lines + [
        f"  point {one['point']} realization {one['realization']}: {one['error']}" for one in estimates["first"]
    ]


def describe_status(found: Facts) -> str:
    states = ", ".join(f"{count} {name}" for name, count in found["states"].items() if count)
    batches = found["batches"]
    lines = [
        f"{found['name']}: {found['points']} points x {found['realizations']} realizations in {found['store']}",
        f"  {states}; {batches['done']} of {batches['total']} batches",
    ]
    if found["samples_per_core_s"]:
        lines.append(
            f"  {found['wall_time_s']:.0f} s so far; {found['computing_s']:.0f} s of computing, "
            f"{found['samples_per_core_s']:.3g} samples per second and core"
        )
    if found["cluster_choice"]:
        lines.append(f"  computed {found['cluster_choice']['reason']}")
    if found["running"]:
        lines.append(f"  running: {found['running'].get('owner')} since {found['running'].get('since')}")
    if found["verification"]:
        checked = found["verification"]
        where = "within the tolerance" if checked["judged_by"] == "tolerance" else "inside the bands"
        lines.append(f"  spot checks: {checked['within']} of {checked['points']} {where}")
        if checked["inside"]:
            shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in checked["inside"].items())
            lines.append(f"  reference inside the bands: {shares}")
    if found["engine_choice"]:
        lines.append(f"  auto: {found['engine_choice']['reason']}")
    if found["trust"]:
        lines += _trust_lines(found["trust"])
    if found["estimates"] and found["estimates"]["over_tolerance"]:
        lines += _estimate_lines(found["estimates"])
    lines += [_failure_line(failure) for failure in found["failures"][:FAILURES_SHOWN]]
    if found["failure_count"] > FAILURES_SHOWN:
        lines.append(f"  ... and {found['failure_count'] - FAILURES_SHOWN} more")
    return "\n".join(lines)


def _trust_lines(trust: Facts) -> list[str]:
    drift = trust["largest_mass_drift"]
    mass = f", mass drift at most {drift:.1e}" if drift is not None else ""
    head = f"  model: {trust['trusted']} of {trust['samples']} samples inside its domain"
    lines = [f"{head}{mass}, {trust['energy_rises']} energy rises"]
    return lines + [f"  not trusted: {reason}" for reason in trust["reasons"][:REASONS_SHOWN]]


def _failure_line(failure: Facts) -> str:
    values = ", ".join(f"{name} {value:.6g}" for name, value in failure["parameters"].items())
    where = f"point {failure['point']} realization {failure['realization']} ({values})"
    return f"  {failure['status']}: {where}: {failure['error']}"


def check_store(url: str) -> list[Facts]:
    """Read every object of a store and compare it with its checksum; running the sweep again repairs the bad ones.

    Returns:
        For each bad object: ``variable``, ``object`` (its path below the store), ``rows`` (first and one past the
        last), ``error``.

    Raises:
        InputError: if there is no store, or its root is damaged beyond reading.
    """
    return [asdict(item) for item in find_damage(Store.open(url))]


def describe_damage(bad: list[Facts]) -> str:
    if not bad:
        return "  every object was read and its checksum holds"
    lines = [f"  damaged: {item['object']}: {item['error']}" for item in bad]
    return "\n".join([*lines, "  run the sweep again: what these held is computed anew, nothing else"])
