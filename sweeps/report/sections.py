"""The sections of a sweep's report: what each states, shows and tabulates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from solvers.processes.registry import PROCESSES
from solvers.qois.registry import qois_of
from solvers.registries import resolve
from sweeps.engines.registry import ENGINES
from sweeps.report import curves, maps, montage
from sweeps.report.appearance import number
from sweeps.report.choices import headline, mapped, representatives, show_times
from sweeps.report.data import SweepData
from sweeps.report.page import Cell, Head, Picture, Section, Table
from sweeps.store.group import PointGroup, dimension_names

# With fewer than about four domains along a side the box itself steers the coarsening.
BOX_SHARE = 4


def result_sections(data: SweepData) -> list[Section]:
    """All sections for which the store has something."""
    points = representatives(data)
    found = [results(data), evolution(data, points), microstructures(data), *distributions(data, points), checks(data)]
    return [section for section in found if section is not None]


def _time_list(data: SweepData) -> str:
    return ", ".join(f"{data.times[t]:g}" for t in show_times(data))


def _realization_note(data: SweepData) -> str:
    if data.realizations == 1:
        return "There is one realization per point, so no spread is shown."
    return f"Lines are medians, bands the 10 to 90 % range over {data.realizations} realizations."


def results(data: SweepData) -> Section | None:
    if not data.usable.any():
        return None
    pictures = _result_pictures(data) if data.varied else []
    return Section(
        "results",
        "Results over the parameters" if data.varied else "Results",
        figures=pictures,
        table=_range_table(data),
        notes=[f"The table gives medians over realizations at t = {data.times[-1]:g}."],
    )


def _result_pictures(data: SweepData) -> list[Picture]:
    names = ", ".join(data.label(n) for n in mapped(data))
    if len(data.varied) == 1:
        figure, _ = maps.line_maps(data)
        name = data.varied[0].replace("_", " ")
        caption = f"At t = {_time_list(data)}, against {name}. {_realization_note(data)}"
        return [Picture("results", figure, caption, f"Line plots of {names} against {name}.")]
    pair = " and ".join(n.replace("_", " ") for n in data.varied[:2])
    if data.is_grid:
        figure, plane = maps.grid_maps(data)
        held = f" The other parameters are held {plane.held_text}." if plane.held else ""
        caption = (
            f"Median over realizations at t = {_time_list(data)}; one colour scale per row.{held} "
            "Grey cells have no result."
        )
        return [Picture("results", figure, caption, f"Colour maps of {names} over {pair}.")]
    caption = (
        f"Each dot is a point of the design, coloured by the median over realizations at "
        f"t = {_time_list(data)}; one colour scale per row. Grey dots have no result."
    )
    found = [Picture("results", maps.scatter_maps(data), caption, f"Scatter plots of {names} over {pair}.")]
    if len(data.varied) == 2:
        return found
    caption = (
        f"Every quantity at t = {data.times[-1]:g} against every varied parameter, with Spearman's rank correlation."
    )
    alt = f"Scatter plots of {names} against each of {', '.join(data.varied)}."
    return [*found, Picture("dependence", maps.dependence(data), caption, alt)]


def _range_table(data: SweepData) -> Table:
    """Smallest, median and largest value at the end, and where."""
    points, last = np.flatnonzero(data.usable.any(axis=1)), len(data.times) - 1
    rows = []
    for name in mapped(data):
        values = maps.medians(data, name, points, last)
        known = np.flatnonzero(np.isfinite(values))
        if not known.size:
            continue
        low, high = known[values[known].argmin()], known[values[known].argmax()]
        cells = [Cell(data.label(name))]
        if not data.varied:
            rows.append([*cells, Cell(f"{values[low]:.4g}", "n")])
            continue
        cells += [Cell(f"{values[low]:.4g}", "n"), Cell(data.point_label(int(points[low])), "wrap")]
        cells += [Cell(f"{np.median(values[known]):.4g}", "n")]
        cells += [Cell(f"{values[high]:.4g}", "n"), Cell(data.point_label(int(points[high])), "wrap")]
        rows.append(cells)
    if not data.varied:
        return Table([Head("Quantity"), Head("Value", numeric=True)], rows)
    head = [Head("Quantity"), Head("Smallest", numeric=True), Head("at"), Head("Median", numeric=True)]
    return Table([*head, Head("Largest", numeric=True), Head("at")], rows)


def evolution(data: SweepData, points: list[int]) -> Section | None:
    if not points or len(data.times) < 2:
        return None
    figure = curves.time_curves(data, points)
    chosen = f"{len(points)} points, from the finest to the coarsest structure"
    chosen = "the only point with results" if len(points) == 1 else chosen
    names = ", ".join(data.label(n) for n in mapped(data))
    sentences = [f"Shown: {chosen}.", _realization_note(data), _band_note(data), _growth_note(data, points)]
    caption = " ".join(text for text in sentences if text)
    return Section(
        "evolution",
        "Evolution in time",
        figures=[Picture("evolution", figure, caption, f"Line plots of {names} against time.")],
        notes=[*_missing_bands(data), *_box_notes(data, points)],
    )


def _band_note(data: SweepData) -> str:
    return "Dotted: the band of the engine." if any(map(data.has_band, mapped(data))) else ""


def _missing_bands(data: SweepData) -> list[str]:
    """Of a learned engine: which of its quantities have no band, in its own words where it has some."""
    kind = str(data.config.get("engine", {}).get("kind", ""))
    note = ENGINES[kind].report_note if kind in ENGINES else None
    text = resolve(note)(data.config) if note is not None else ""
    bare = [data.long_name(n) for n in [*data.quantities, *data.axis_quantities] if not data.has_band(n)]
    if data.learned and bare and not text:
        text = f"The engine has no band for: {', '.join(bare)}. How far off these may be is not known."
    return [text] if text else []


def _growth_note(data: SweepData, points: list[int]) -> str:
    """What the dashed guide is and, of a power law, what the data do."""
    look = data.appearance
    if look.growth_law in (None, 1.0) or look.headline not in mapped(data):
        return look.growth_note
    medians = [c[1] for c in curves.quantile_curves(data, headline(data), points)]
    found = np.array([curves.growth_exponent(data, m) for m in medians])
    found = found[np.isfinite(found)]
    if not found.size:
        return look.growth_note
    span = f"{found[0]:.2f}" if len(found) == 1 else f"{found.min():.2f} to {found.max():.2f}"
    return f"{look.growth_note} Over the last 60 % of the time the curves grow with exponents of {span}."


def _box_notes(data: SweepData, points: list[int]) -> list[str]:
    """A warning where the structure has grown so coarse that the box shapes it."""
    grid = data.config.get("grid", {})
    side = float(grid.get("spacing", 1.0)) * min(grid.get("shape", (np.inf,)))
    if not data.has("domain_size"):
        return []
    largest = float(np.nanmax(maps.medians(data, "domain_size", np.array(points), len(data.times) - 1)))
    if not largest > side / BOX_SHARE:
        return []
    return [
        f"The largest domain size, {largest:.3g}, is more than 1/{BOX_SHARE} of the box side, {side:g}: "
        "few domains are left, so the box shapes them and realizations differ."
    ]


def microstructures(data: SweepData) -> Section | None:
    if not data.has("field") or not data.usable[:, 0].any():
        return None
    tiles = montage.choose_tiles(data)
    if not tiles.cells:
        return None
    caption = " ".join(filter(None, [tiles.caption, data.appearance.legend, "One colour scale for all."]))
    alt = f"Pictures of the microstructure, {len(tiles.row_labels)} rows by {len(tiles.column_labels)} columns."
    picture = Picture("microstructures", montage.montage(data, tiles), caption, alt)
    return Section("microstructures", "Microstructures", figures=[picture])


def distributions(data: SweepData, points: list[int]) -> list[Section]:
    """Every quantity that has an axis of its own, such as the structure factor and quantiles of grain areas."""
    found = []
    for name, axis in data.axis_quantities.items() if points else ():
        title = data.long_name(name)
        title = title[:1].upper() + title[1:]
        if axis == "k":
            caption = (
                f"At t = {data.times[-1]:g}, averaged over directions. {_realization_note(data)} "
                "The dashed line is Porod's k^-3, the mark of sharp interfaces in two dimensions."
            )
            alt = f"{title} against wavenumber on logarithmic axes for representative points."
            picture = Picture("spectra", curves.spectrum(data, name, points), caption, alt)
        elif axis == "quantile":
            if len(data.times) < 2:
                continue
            caption = "Median over realizations, each quantile against time."
            alt = f"{title} against time for representative points."
            picture = Picture("sizes", curves.levels_in_time(data, name, points), caption, alt)
        else:
            caption = f"At t = {data.times[-1]:g}. {_realization_note(data)}"
            alt = f"{title} against {axis} for representative points."
            picture = Picture(name, curves.along_axis(data, name, points), caption, alt)
        found.append(Section(picture.file, title, figures=[picture]))
    return found


def checks(data: SweepData) -> Section:
    """The spot checks: error per quantity against the tolerance."""
    found, flags = data.verification, data.sample_flags
    if found is None or flags is None:
        return Section("checks", "Spot checks", ["No point has been solved again to check the engine."])
    over = [n for n in found.array_names if dimension_names(found.array(n))[:2] == ("point", "realization")]
    names = [n for n in over if n != data.flag_name and not n.endswith("_inside")]
    values = {n: found.read(n) for n in [*data.varied, *names, "point"] if n in found}
    rows = [_check_row(data, values, flags, names, row) for row in range(len(flags))]
    head = [Head("Point"), *(Head(_short(n), numeric=True) for n in names), Head("Verdict")]
    note = (
        "Errors are relative L2 errors, of the field at its worst time, of the other quantities over all "
        "times; the largest over the realizations that were solved again is given."
    )
    return Section("checks", "Spot checks", [_check_text(data, found, names)], table=Table(head, rows), notes=[note])


def _check_text(data: SweepData, found: PointGroup, names: list[str]) -> str:
    tolerance = found.attributes.get("tolerance")
    accuracy = data.reference.attributes.get("tolerance") if data.reference is not None else None
    judged = "the field at every time" if "field" in names else " and ".join(_judged(data)) or "the statistics"
    judged += f" against the engine's tolerance of {100 * float(tolerance):g} %" if tolerance else ""
    if data.learned:
        judged = "the share of the reference that lies inside the bands of the statistics"
    text = (
        f"{len(data.point_flags)} points"
        + (f" ({found.attributes['samples']} samples)" if "samples" in found.attributes else "")
        + " were solved again by the reference solver"
        + (f" to a tolerance of {accuracy:g}" if accuracy else "")
        + f". Judged by {judged}, {data.passed} pass and {data.checked - data.passed} miss it."
    )
    if found.attributes.get("missed"):
        text += f" Over all of them: {found.attributes['missed']}."
    if data.inside:
        shares = ", ".join(f"{_short(n).lower()} {100 * s:.0f} %" for n, s in data.inside.items())
        text += f" Values of the reference inside the bands: {shares}; bands are made to hold 90 %."
    return text


def _judged(data: SweepData) -> list[str]:
    known = qois_of(data.process) if data.process in PROCESSES else {}
    return [_short(name).lower() for name, qoi in known.items() if qoi.judged]


def _check_row(
    data: SweepData, found: Mapping[str, np.ndarray], flags: np.ndarray, names: list[str], row: int
) -> list[Cell]:
    known = [n for n in data.varied if n in found]
    where = ", ".join(f"{data.symbol(n)} = {number(float(found[n][row]))}" for n in known)
    errors = [Cell(_percent(found[n][row]), "n") for n in names]
    result = _result_cell(flags[row], int(data.point_flags[row]))
    return [Cell(where or f"point {int(found['point'][row])}", "wrap"), *errors, result]


def _short(name: str) -> str:
    return name.replace("_", " ").replace("domain size interface", "domain size (interfaces)").capitalize()


def _percent(errors: np.ndarray) -> str:
    finite = errors[np.isfinite(errors)]
    return f"{100 * float(finite.max()):.2g} %" if finite.size else "–"


def _result_cell(within: np.ndarray, passed: int) -> Cell:
    """Of a point; ``within`` of its realizations, which may differ from it where bands judge; -1 where not solved."""
    if passed < 0:
        return Cell("not solved")
    within = within[within >= 0]
    some = "" if (within == passed).all() else f" ({int((within == 1).sum())} of {within.size})"
    return Cell(f"✓ within{some}", "pass") if passed else Cell(f"✗ missed{some}", "fail")
