"""The parts of the page: what each says, shows and tabulates. Plain text only; the template escapes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from sweeps.report import curves, maps, montage, style
from sweeps.report.choices import headline, mapped, representatives, show_times
from sweeps.report.data import SweepData, number, symbol

PICTURE_WIDTH = 960
# With fewer than about four domains along a side the box itself steers the coarsening.
BOX_SHARE = 4
PIXELS_PER_INCH = PICTURE_WIDTH / style.WIDTH
PHASES = {
    "cahn_hilliard": "Blue is the phase at the lower composition, red the other.",
    "grain_growth": "Dark lines are grain boundaries, where the sum of squared order parameters drops below 1.",
}


@dataclass(frozen=True)
class Cell:
    """A table cell; ``kind`` is its CSS class: n (number), pass or fail."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Head:
    """A column head."""

    text: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under heads."""

    head: list[Head]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Picture:
    """A figure with its file name, caption and text alternative."""

    file: str
    figure: Figure
    caption: str
    alt: str
    source: str = ""

    @property
    def width(self) -> int:
        """Width on the page, pixels."""
        return round(min(PICTURE_WIDTH, self.figure.get_figwidth() * PIXELS_PER_INCH))


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    anchor: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
    table: Table | None = None
    notes: list[str] = field(default_factory=list)
    code: str = ""
    hidden_title: str = ""
    hidden_code: str = ""


def _time_list(data: SweepData) -> str:
    return ", ".join(f"{data.times[t]:g}" for t in show_times(data))


def _realization_note(data: SweepData) -> str:
    if data.realizations == 1:
        return "There is one realization per point, so no spread is shown."
    return f"Lines are medians, bands the 10 to 90 % range over {data.realizations} realizations."


def results(data: SweepData) -> Section | None:
    """Quantities over the parameters, and their range at the end."""
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


def evolution(data: SweepData) -> Section | None:
    """Quantities against time for representative points."""
    points = representatives(data)
    if not points or len(data.times) < 2:
        return None
    figure = curves.time_curves(data, points)
    chosen = f"{len(points)} points, from the finest to the coarsest structure"
    chosen = "the only point with results" if len(points) == 1 else chosen
    names = ", ".join(data.label(n) for n in mapped(data))
    caption = f"Shown: {chosen}. {_realization_note(data)} {_growth_note(data, points)}"
    return Section(
        "evolution",
        "Evolution in time",
        figures=[Picture("evolution", figure, caption, f"Line plots of {names} against time.")],
        notes=_box_notes(data, points),
    )


def _growth_note(data: SweepData, points: list[int]) -> str:
    """What the dashed guide is and what the data do."""
    if data.process == "grain_growth":
        return "The dashed line is straight: normal grain growth has a mean area that grows linearly in time."
    medians = [c[1] for c in curves.quantile_curves(data, headline(data), points)]
    found = np.array([curves.growth_exponent(data, m) for m in medians])
    found = found[np.isfinite(found)]
    note = "The dashed line is t^(1/3), the law of coarsening by diffusion (Lifshitz and Slyozov)."
    if not found.size:
        return note
    span = f"{found[0]:.2f}" if len(found) == 1 else f"{found.min():.2f} to {found.max():.2f}"
    return f"{note} Over the last 60 % of the time the curves grow with exponents of {span}."


def _box_notes(data: SweepData, points: list[int]) -> list[str]:
    """A warning where the structure has grown so coarse that the box shapes it."""
    grid = data.config.get("grid", {})
    side = float(grid.get("spacing", 1.0)) * min(grid.get("shape", (np.inf,)))
    if data.process != "cahn_hilliard" or not data.has("domain_size"):
        return []
    largest = float(np.nanmax(maps.medians(data, "domain_size", np.array(points), len(data.times) - 1)))
    if not largest > side / BOX_SHARE:
        return []
    return [
        f"The largest domain size, {largest:.3g}, is more than 1/{BOX_SHARE} of the box side, {side:g}: "
        "few domains are left, so the box shapes them and realizations differ."
    ]


def pictures(data: SweepData) -> Section | None:
    """Microstructures, where fields are kept."""
    if not data.has("field") or not data.usable[:, 0].any():
        return None
    tiles = montage.choose_tiles(data)
    if not tiles.cells:
        return None
    caption = f"{tiles.caption} {PHASES[data.process]} One colour scale for all."
    size = f"{len(tiles.row_labels)} rows by {len(tiles.column_labels)} columns"
    picture = Picture(
        "microstructures", montage.montage(data, tiles), caption, f"Pictures of the microstructure, {size}."
    )
    return Section("microstructures", "Microstructures", figures=[picture])


def distributions(data: SweepData) -> Section | None:
    """Structure factors (Cahn-Hilliard) or grain areas (grain growth)."""
    points = representatives(data)
    if not points:
        return None
    if data.process == "cahn_hilliard" and data.has("structure_factor"):
        caption = (
            f"At t = {data.times[-1]:g}, averaged over directions. {_realization_note(data)} "
            "The dashed line is Porod's k^-3, the mark of sharp interfaces in two dimensions."
        )
        figure = curves.structure_factors(data, points)
        alt = "Structure factor against wavenumber on logarithmic axes for representative points."
        return Section("spectra", "Structure factor", figures=[Picture("spectra", figure, caption, alt)])
    if data.process == "grain_growth" and data.has("grain_area_quantile") and len(data.times) > 1:
        caption = "Quantiles of the grain area (each grain counted once), median over realizations."
        figure = curves.grain_sizes(data, points)
        alt = "Quantiles of the grain area against time for representative points."
        return Section("sizes", "Grain sizes", figures=[Picture("sizes", figure, caption, alt)])
    return None


def checks(data: SweepData) -> Section:
    """The spot checks: error per quantity against the tolerance."""
    found = data.verification
    title = "Spot checks"
    verdicts = data.verdicts
    if found is None or verdicts is None:
        return Section("checks", title, ["No point has been solved again to check the engine."])
    tolerance, reference = _tolerance(found), data.reference
    accuracy = None if reference is None else reference.attrs.get("tolerance")
    over = [str(n) for n, v in found.data_vars.items() if v.dims[:2] == ("point", "realization")]
    names = [n for n in over if n != verdicts.name and not n.endswith("_inside")]
    rows = []
    for row in range(found.sizes["point"]):
        within = np.asarray(verdicts[row].values)
        known = [n for n in data.varied if n in found.variables]
        where = ", ".join(f"{symbol(n)} = {number(float(found[n][row]))}" for n in known)
        errors = [Cell(_percent(np.asarray(found[n][row].values)), "n") for n in names]
        rows.append(
            [
                Cell(where or f"point {int(found['point'][row])}", "wrap"),
                *errors,
                _verdict(within, int(data.point_verdicts[row])),
            ]
        )
    judged = "the field at every time" if "field" in names else "free energy and interface density"
    judged += f" against the engine's tolerance of {100 * tolerance:g} %" if tolerance else ""
    if data.learned:
        judged = "whether the reference lies inside the bands of the statistics, at half of the times or more"
    text = (
        f"{found.sizes['point']} points were solved again by the reference solver"
        + (f" to a tolerance of {accuracy:g}" if accuracy else "")
        + f". Judged by {judged}, {data.passed} pass and {data.checked - data.passed} miss it."
    )
    if data.inside:
        shares = ", ".join(f"{_short(n).lower()} {100 * s:.0f} %" for n, s in data.inside.items())
        text += f" Values of the reference inside the bands: {shares}; bands are made to hold 90 %."
    head = [Head("Point"), *(Head(_short(n), numeric=True) for n in names), Head("Verdict")]
    note = (
        "Errors are relative L2 errors, of the field at its worst time, of the other quantities over all "
        "times; the largest over realizations is given."
    )
    return Section("checks", title, [text], table=Table(head, rows), notes=[note])


def _tolerance(found: object) -> float | None:
    value = found.attrs.get("tolerance")  # type: ignore[attr-defined]
    return None if value is None else float(value)


def _short(name: str) -> str:
    return name.replace("_", " ").replace("domain size interface", "domain size (interfaces)").capitalize()


def _percent(errors: np.ndarray) -> str:
    finite = errors[np.isfinite(errors)]
    return f"{100 * float(finite.max()):.2g} %" if finite.size else "–"


def _verdict(within: np.ndarray, passed: int) -> Cell:
    """Of a point; ``within`` of its realizations, which may differ from it where bands judge."""
    if passed < 0:
        return Cell("not solved")
    some = "" if (within == passed).all() else f" ({int((within == 1).sum())} of {within.size})"
    return Cell(f"✓ within{some}", "pass") if passed else Cell(f"✗ missed{some}", "fail")


SECTIONS: tuple[Callable[[SweepData], Section | None], ...] = (
    results,
    evolution,
    pictures,
    distributions,
    checks,
)
