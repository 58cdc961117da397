"""The report: made from stores that were written by the store's own code, with invented numbers."""

from __future__ import annotations

import base64
import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from matplotlib import rcParams
from zarr.errors import ZarrUserWarning

from solvers.errors import InputError
from sweeps.config.sweep import SweepConfig
from sweeps.inputs.yaml_source import from_mapping
from sweeps.plan.plan import Plan, make_plan
from sweeps.report import report_folder, write_report
from sweeps.report.choices import middle_slice, representatives, show_times
from sweeps.report.data import quantile, read_store
from sweeps.report.overview import duration
from sweeps.report.style import cell_edges, spread_indices
from sweeps.store.layout import DIVERGED, DONE, FAILED, PENDING, Variable, layout_of
from sweeps.store.store import Store


@pytest.fixture(autouse=True)
def _coarse_pictures(monkeypatch):
    """Nobody looks at these figures: a fifth of the pixels draws faster."""
    monkeypatch.setattr("sweeps.report.style.DPI", 36)


BASE: dict[str, Any] = {
    "schema_version": 1,
    "name": "report-test",
    "process": "cahn_hilliard",
    "grid": {"shape": [16, 16]},
    "parameters": {"mobility": [0.5, 1.0, 2.0], "kappa": [0.5, 1.0], "composition": 0.0},
    "realizations": {"count": 2, "seed": 0},
    "initial": {"kind": "noise", "amplitude": 0.05},
    "times": {"start": 0, "stop": 50, "count": 6},
    "engine": {"kind": "solver", "tolerance": 0.01},
}
GRAINS = {
    "process": "grain_growth",
    "parameters": {"mobility": [0.5, 1.0], "kappa": [1.0, 1.5]},
    "initial": {"kind": "voronoi", "grains": 6},
}
SOBOL = {
    "parameters": {
        "mobility": {"low": 0.5, "high": 2.0, "log": True},
        "kappa": {"low": 0.5, "high": 2.0},
        "composition": {"low": -0.3, "high": 0.3},
    },
    "design": {"sampler": "sobol", "n": 8, "seed": 0},
}


def invented(name: str, shape: tuple[int, ...], plan: Plan, times: np.ndarray) -> np.ndarray:
    """Smooth numbers of the right size: coarsening as (M t)^(1/3)."""
    generator = np.random.default_rng(len(name))
    speed = plan.parameters["mobility"] * plan.parameters["kappa"]
    size = (6 + (speed[:, None] * times) ** (1 / 3))[:, None, :]
    spread = 1 + 0.02 * generator.standard_normal(shape)
    if name in ("field", "grain_id"):
        x = np.arange(shape[-1])
        stripes = np.tanh(3 * np.sin(2 * np.pi * x / 8)) * np.ones(shape)
        return stripes if name == "field" else (x // 4) * np.ones(shape)
    base = size if "size" in name or "area" in name else 4 / size
    return base.reshape(base.shape + (1,) * (len(shape) - 3)) * spread


def make_store(
    folder: Path, *changes: dict[str, Any], retain: Any = "fields", name: str = "s.zarr"
) -> tuple[str, zarr.Group]:
    """A finished store of invented numbers."""
    url = str(folder / name)
    settings = {**BASE, "output": {"path": url, "retain": retain}}
    for change in changes:
        settings.update(change)
    plan = make_plan(from_mapping(settings, SweepConfig, label="test"))
    layout = layout_of(plan)
    attributes = {
        "config": json.dumps(plan.config.model_dump(mode="json")),
        "versions": {"torch": "2.0"},
        "device": "cpu (<b>test</b>)",
        "host_cores": 2,
        "wall_time_s": 75.0,
        "history": "2026-01-01T00:00:00Z created",
    }
    root = Store.create(url, plan, layout, attributes).group
    for variable, about in layout.results().items():
        shape = tuple(layout.sizes[d] for d in about.dims)
        root[variable][...] = invented(variable, shape, plan, layout.times)
    root["status"][...] = DONE
    root["wall_s"][...] = 1.5
    return url, root


def gather(root: zarr.Group) -> None:
    """Gather the metadata anew, as the store's writers do after a change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(root.store)


def add_checks(url: str, root: zarr.Group, missed: int) -> None:
    """Groups ``reference`` and ``verification`` for all points; the first ``missed`` are off by too much."""
    config = from_mapping(json.loads(root.attrs["config"]), SweepConfig, label="test")
    plan = make_plan(config)
    layout = layout_of(plan)
    store = Store(url, root)
    reference = store.create_subgroup("reference")
    reference.create_variables(layout.results(), layout.sizes)
    reference.write_coordinates(plan, layout)
    reference.group.attrs["tolerance"] = 5e-4
    group = store.create_subgroup("verification")
    shape = (layout.points, layout.realizations)
    for name in ("field", "free_energy", "domain_size"):
        variable = Variable(("point", "realization"), "float64", np.nan, shape, None, {"units": "1"})
        values = np.where(np.arange(layout.points) < missed, 0.034, 0.002)[:, None] * np.ones(shape)
        group.create_variable(name, variable, values)
    flag = Variable(("point", "realization"), "int8", -1, shape, None, {"units": "1"})
    good = (np.arange(layout.points) >= missed)[:, None] & np.ones(shape, dtype=bool)
    group.create_variable("within_tolerance", flag, good.astype(np.int8))
    group.write_coordinates(plan, layout)
    group.group.attrs["tolerance"] = 0.01
    gather(root)


class Page(HTMLParser):
    """What a page shows and what it would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.open: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        if tag == "section":
            self.sections.append(given.get("id") or "")
        if tag == "img":
            self.alts.append(given.get("alt") or "")
        self.loads += [v for k in ("src", "href", "data", "action") if (v := given.get(k))]
        assert tag not in ("script", "iframe", "object", "link")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(path: Path, *sections: str) -> Page:
    """Self-contained, well formed, every picture described and written as a file; exactly these sections."""
    page = Page(path)
    assert page.open == []
    assert page.sections == [*sections, "data", "configuration"]
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert not re.search(r"@import|url\(", page.html)
    assert all(len(alt) > 15 for alt in page.alts)
    files = {p.read_bytes() for p in path.parent.glob("*.png")}
    embedded = {base64.b64decode(v.split(",", 1)[1]) for v in page.loads if v.startswith("data:")}
    assert files == embedded
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page.html).lower().replace("nan in the store", "")
    return page


class TestPages:
    def test_grid_with_checks(self, tmp_path):
        url, root = make_store(tmp_path)
        add_checks(url, root, missed=1)
        page = check_page(write_report(url), "results", "evolution", "microstructures", "spectra", "checks")
        assert "6 points, 3 values of mobility by 2 values of kappa, 2 random starts each" in page.html
        assert "solver, tolerance 1 %" in page.html
        assert "1 min 15 s" in page.html
        assert page.html.count("✓ within") == 5
        assert page.html.count("✗ missed") == 1
        assert "3.4 %" in page.html
        assert "1 of the spot checks missed the tolerance." in page.html
        assert "unstack=True" in page.html
        assert (tmp_path / "s-report" / "index.html").exists()

    def test_statistics_only(self, tmp_path):
        url, _ = make_store(tmp_path, retain="qoi")
        before = dict(rcParams)
        page = check_page(write_report(url, tmp_path / "r"), "results", "evolution", "spectra", "checks")
        assert "statistics stored, no fields" in page.html
        assert dict(rcParams) == before
        # The same store gives the same bytes: no dates, no counters.
        assert write_report(url, tmp_path / "again").read_text(encoding="utf-8") == page.html

    def test_fields_at_some_times(self, tmp_path):
        url, _ = make_store(tmp_path, retain={"fields_at": [20, 50]})
        page = check_page(
            write_report(url, tmp_path / "r"), "results", "evolution", "microstructures", "spectra", "checks"
        )
        assert "time_field=-1" in page.html

    def test_grain_growth(self, tmp_path):
        url, _ = make_store(tmp_path, GRAINS)
        page = check_page(
            write_report(url, tmp_path / "r"), "results", "evolution", "microstructures", "sizes", "checks"
        )
        assert "number of grains" in page.html
        assert "mean grain area" in page.html

    def test_scattered_design(self, tmp_path):
        url, _ = make_store(tmp_path, SOBOL, retain="qoi")
        page = check_page(write_report(url, tmp_path / "r"), "results", "evolution", "spectra", "checks")
        assert "8 points scattered over mobility, kappa, composition" in page.html
        assert "rank correlation" in page.html
        assert "unstack" not in page.html

    def test_one_parameter(self, tmp_path):
        url, _ = make_store(tmp_path, {"parameters": {"mobility": 1.0, "kappa": [0.5, 1.0, 2.0]}})
        check_page(write_report(url, tmp_path / "r"), "results", "evolution", "microstructures", "spectra", "checks")

    def test_one_point_one_realization(self, tmp_path):
        one = {"parameters": {"mobility": 1.0, "kappa": 1.0}, "realizations": {"count": 1}}
        url, _ = make_store(tmp_path, one)
        page = check_page(
            write_report(url, tmp_path / "r"), "results", "evolution", "microstructures", "spectra", "checks"
        )
        assert "One point, one random start, followed to" in page.html

    def test_one_time(self, tmp_path):
        url, _ = make_store(tmp_path, {"times": [10]})
        check_page(write_report(url, tmp_path / "r"), "results", "microstructures", "spectra", "checks")

    def test_while_it_is_running_with_failures(self, tmp_path):
        url, root = make_store(tmp_path)
        status = np.full((6, 2), DONE)
        status[3:] = PENDING
        status[0, 1], status[1, 0] = FAILED, DIVERGED
        root["status"][...] = status
        for name in ("domain_size", "field"):
            values = root[name][...]
            values[status != DONE] = np.nan
            root[name][...] = values
        errors = np.full((6, 2), "", dtype=object)
        errors[0, 1] = "<script>alert(1)</script> & out of memory"
        root["error"][...] = errors
        root["domain_size"].attrs["long_name"] = 'size "><img src=x onerror=alert(1)>'
        gather(root)
        sections = ("results", "evolution", "microstructures", "spectra", "checks", "failures")
        page = check_page(write_report(url, tmp_path / "r"), *sections)
        assert "Not finished: 6 of 12 samples have results so far; run the sweep to complete it." in page.html
        assert "2 of 12 samples failed or diverged" in page.html
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; out of memory" in page.html
        assert "no reason recorded" in page.html
        assert "cpu (&lt;b&gt;test&lt;/b&gt;)" in page.html
        assert "x" not in page.loads

    def test_before_anything_is_done(self, tmp_path):
        url, root = make_store(tmp_path)
        root["status"][...] = PENDING
        page = check_page(write_report(url, tmp_path / "r"), "checks")
        assert "0 of 12 samples have results so far" in page.html

    def test_no_store_is_told(self, tmp_path):
        with pytest.raises(InputError, match="nothing is there"):
            write_report(str(tmp_path / "no.zarr"))


class TestWhatIsNotOurs:
    """Quantities and processes that do not come with this program, and engines without bands."""

    @staticmethod
    def add(url: str, root: zarr.Group, name: str, *dims: str) -> None:
        layout = layout_of(make_plan(from_mapping(json.loads(root.attrs["config"]), SweepConfig, label="test")))
        dimensions = ("point", "realization", "time", *dims)
        shape = tuple({**layout.sizes, "lag": 5}[d] for d in dimensions)
        about = {"units": "length", "long_name": f"{name} of somebody"}
        values = np.linspace(1.0, 2.0, int(np.prod(shape))).reshape(shape)
        store = Store(url, root)
        store.create_variable(name, Variable(dimensions, "float64", np.nan, shape, None, about), values)
        if dims:
            store.create_variable("lag", Variable(dims, "float64", np.nan, (5,), None, {"units": "1"}), np.arange(5.0))
        gather(root)

    def test_quantities_are_drawn_where_the_store_has_them(self, tmp_path):
        url, root = make_store(tmp_path, retain="qoi")
        self.add(url, root, "tortuosity")
        self.add(url, root, "memory", "lag")
        sections = ("results", "evolution", "memory", "spectra", "checks")
        page = check_page(write_report(url, tmp_path / "r"), *sections)
        assert "tortuosity of somebody" in page.html
        assert "Memory of somebody" in page.html

    def test_a_process_that_is_not_installed(self, tmp_path):
        url, root = make_store(tmp_path)
        root.attrs["config"] = root.attrs["config"].replace("cahn_hilliard", "not_here")
        gather(root)
        page = check_page(
            write_report(url, tmp_path / "r"), "results", "evolution", "microstructures", "spectra", "checks"
        )
        assert "not here" in page.html

    def test_a_learned_quantity_without_a_band_is_named(self, tmp_path):
        url, root = make_store(tmp_path, retain="qoi")
        shape = (6, 2)
        for name in ("trust", "energy_rises"):
            variable = Variable(("point", "realization"), "float64", np.nan, shape, None, {"units": "1"})
            Store(url, root).create_variable(name, variable, np.ones(shape))
        gather(root)
        page = check_page(write_report(url, tmp_path / "r"), "results", "evolution", "spectra", "checks")
        assert "The engine has no band for: domain size, " in page.html


class TestChoices:
    def test_times_end_with_the_last_and_skip_the_start(self, tmp_path):
        url, _ = make_store(tmp_path)
        chosen = show_times(read_store(url))
        assert chosen[-1] == 5
        assert 0 not in chosen

    def test_points_come_back_in_design_order(self, tmp_path):
        url, _ = make_store(tmp_path)
        data = read_store(url)
        assert np.array_equal(data.of_points("point"), np.arange(6))
        # The first parameter of the file runs slowest, whatever the order in the store.
        assert data.parameters["mobility"].tolist() == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0]

    def test_representatives_run_from_fine_to_coarse(self, tmp_path):
        url, _ = make_store(tmp_path)
        data = read_store(url)
        speed = data.parameters["mobility"] * data.parameters["kappa"]
        chosen = speed[representatives(data, 3)]
        assert chosen[0] == 0.25
        assert chosen[-1] == 2.0

    def test_slice_holds_the_other_parameters_at_their_middle(self, tmp_path):
        three = {"mobility": [0.5, 1.0], "kappa": [0.5, 1.0, 2.0], "composition": [-0.1, 0.0, 0.1]}
        url, _ = make_store(tmp_path, {"parameters": three})
        data = read_store(url)
        plane = middle_slice(data)
        assert plane.held == {"composition": 0.0}
        assert plane.points.shape == (3, 2)
        for row, kappa in enumerate(plane.values[1]):
            for column, mobility in enumerate(plane.values[0]):
                point = plane.points[row, column]
                assert data.parameters["kappa"][point] == kappa
                assert data.parameters["mobility"][point] == mobility

    @pytest.mark.parametrize("count", [1, 2, 5, 8, 11, 32])
    def test_spread_indices_are_symmetric_and_keep_both_ends(self, count):
        chosen = spread_indices(count, 5)
        assert len(chosen) <= 5
        assert chosen[0] == 0
        assert chosen[-1] == count - 1
        assert np.array_equal(np.sort(count - 1 - chosen), chosen)

    def test_cell_edges_lie_midway(self):
        assert cell_edges(np.array([1.0, 2.0, 3.0])) == pytest.approx([0.5, 1.5, 2.5, 3.5])
        # Ratios of 4 are a geometric series: edges at ratios of 2 from the values.
        assert cell_edges(np.array([1.0, 4.0, 16.0])) == pytest.approx([0.5, 2.0, 8.0, 32.0])

    def test_quantile_ignores_what_is_missing(self):
        values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
        assert quantile(values, 0.5, axis=1)[0] == 2.0
        assert np.isnan(quantile(values, 0.5, axis=1)[1])

    @pytest.mark.parametrize(
        ("seconds", "text"), [(4.21, "4.2 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
    )
    def test_duration(self, seconds, text):
        assert duration(seconds) == text

    def test_folder(self):
        assert report_folder("runs/a.zarr") == Path("runs/a-report")
        assert report_folder("s3://bucket/runs/a.zarr/") == Path("a-report")
