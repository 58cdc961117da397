"""The emulator: learned from real small sweeps and from synthetic stores in the same layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from distributed import Client
from mock_stores import write_sweep

from solvers.errors import InputError
from surrogate.emulator.build import learn_from_stores
from surrogate.emulator.emulator import Emulator, EmulatorPrediction
from surrogate.emulator.regression import AlignedCurves, Form, Smoother, left_out_error
from surrogate.setting import Setting
from sweeps import Sweep

torch.set_num_threads(1)
TIMES = [2.0, 4.0, 6.0, 9.0, 13.0, 20.0, 30.0]
SMALL: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "process": "cahn_hilliard",
    "grid": {"shape": [16, 16]},
    "parameters": {"kappa": {"linspace": [0.7, 1.5, 2]}, "composition": {"linspace": [-0.25, 0.25, 2]}},
    "design": {"sampler": "sobol", "n": 24, "seed": 0},
    "realizations": {"count": 4, "seed": 0, "independent": True},
    "initial": {"kind": "noise", "amplitude": 0.1},
    "times": TIMES,
    "engine": {"kind": "solver", "tolerance": 1e-2},
    "output": {"retain": "qoi"},
    "batch": {"rollouts": 24},
    "verify": {"count": 0},
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of two sweeps: one to learn from, and other points inside its box with other seeds."""
    folder = tmp_path_factory.mktemp("swept")
    fresh = {
        "parameters": {"kappa": {"linspace": [0.8, 1.4, 2]}, "composition": {"linspace": [-0.2, 0.2, 2]}},
        "design": {"sampler": "sobol", "n": 24, "seed": 1},
        "realizations": {"count": 4, "seed": 1, "independent": True},
    }
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with Client(processes=False, **options) as client:
        for name, changes in {"learned": {}, "fresh": fresh}.items():
            output = {"path": str(folder / name), "retain": "qoi"}
            done = Sweep.from_config({**SMALL, **changes, "output": output}).run(client, progress=False)
            assert not done.failed
    return {name: folder / name for name in ("learned", "fresh")}


def learned(stores: Any, **options: Any) -> Emulator:
    """An emulator of one store or a list of them."""
    return learn_from_stores(stores if isinstance(stores, list) else [stores], **options)


@pytest.fixture(scope="module")
def real(swept: dict[str, Path]) -> Emulator:
    return learned(swept["learned"])


def asked(store: Path, *names: str) -> dict[str, np.ndarray]:
    ds = xr.open_zarr(store, chunks=None, consolidated=False)
    return {name: ds[name].values for name in names}


INNER = [3.0, 5.0, 9.0, 20.0]
QUERY = {"mobility": np.array([1.0, 0.8, 1.25]), "kappa": np.array([0.9, 1.1, 1.3]), "composition": 0.1}


def test_mobility_scales_time_exactly(real: Emulator) -> None:
    times = np.array([[3.0, 5.0, 8.0], [4.0, 10.0, 20.0], [6.0, 7.0, 20.0]])
    first = real.predict(QUERY, times)
    # Factors of two change no digit.
    second = real.predict({**QUERY, "mobility": 2.0 * QUERY["mobility"]}, times / 2.0)
    for name in first.mean:
        for a, b in zip(bands(first, name), bands(second, name), strict=True):
            np.testing.assert_array_equal(a, b)
    assert first.trust.tolist() == second.trust.tolist() == [1.0, 1.0, 1.0]


def bands(prediction: EmulatorPrediction, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return prediction.mean[name], prediction.low[name], prediction.high[name]


def test_shapes_and_order_of_bands(real: Emulator) -> None:
    found = real.predict(QUERY, INNER)
    assert set(found.mean) == set(real.fits)
    for name in found.mean:
        mean, low, high = bands(found, name)
        assert mean.shape == low.shape == high.shape == (3, 4, *((11,) if name == "structure_factor" else ()))
        assert np.isfinite(high).all()
        assert (low <= mean).all()
        assert (mean <= high).all()
    assert found.trust.dtype == np.float32
    np.testing.assert_allclose(found.mean["mean"], 0.1, atol=1e-6)
    some = real.predict(QUERY, INNER, qois=["domain_size"])
    np.testing.assert_array_equal(some.mean["domain_size"], found.mean["domain_size"])
    assert list(some.mean) == ["domain_size"]


def test_points_left_out_are_predicted_within_the_seed_spread(real: Emulator) -> None:
    # The mean of 4 seeds is itself known to half the spread; the functions are smooth, so there is little beside it.
    for name in ("free_energy", "domain_size", "interface_density", "structure_factor"):
        row = real.errors[name]
        assert row["scale"] == "relative"
        assert 0.3 * row["seed_spread"] < row["left_out"] < 0.8 * row["seed_spread"], name


def test_accuracy_and_coverage_on_fresh_points_and_seeds(real: Emulator, swept: dict[str, Path]) -> None:
    ds = xr.open_zarr(swept["fresh"], chunks=None, consolidated=False)
    found = real.predict(asked(swept["fresh"], "mobility", "kappa", "composition"), TIMES)
    inside = found.trust > 0
    assert inside.mean() > 0.9
    for name in ("free_energy", "domain_size", "interface_density", "structure_factor"):
        truth = ds[name].values[inside]
        mean, low, high = (b[inside][:, None] for b in bands(found, name))
        # Means of 4 seeds, each off by half the spread, against functions drawn through 24 such means.
        miss = np.sqrt(np.mean((np.log(truth).mean(1) - np.log(mean[:, 0])) ** 2))
        assert miss < 0.8 * real.errors[name]["seed_spread"], name
        share = ((low <= truth) & (truth <= high)).mean()
        # 96 trajectories on either side: standard deviations of 0.03 each, 0.043 together, twice of that.
        assert 0.9 - 0.09 <= share <= 0.9 + 0.09, (name, share)


def test_bands_of_another_level_are_wider(swept: dict[str, Path], real: Emulator) -> None:
    other = learned(swept["learned"], qois=["domain_size"], level=0.97)
    assert list(other.fits) == ["domain_size"]
    wide, narrow = other.predict(QUERY, INNER), real.predict(QUERY, INNER)
    assert (wide.high["domain_size"] > narrow.high["domain_size"]).all()
    with pytest.raises(InputError, match=r"level: in \(0, 1\)"):
        learned(swept["learned"], level=1.0)


def test_outside_the_box_trust_is_zero_with_a_reason(real: Emulator) -> None:
    query = {"mobility": 1.0, "kappa": [1.0, 4.0, 1.0, 1.0], "composition": [0.1, 0.0, 0.6, 0.0]}
    times = np.array([[2.0, 20.0], [2.0, 20.0], [2.0, 20.0], [2.0, 200.0]])
    found = real.predict(query, times)
    assert found.trust.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert found.reasons[0] == ""
    assert found.reasons[1].startswith("kappa 4, allowed 0.")
    assert found.reasons[2].startswith("composition 0.6, allowed -0.2")
    assert found.reasons[3].startswith("age 200, allowed ")
    mean, low, high = bands(found, "domain_size")
    assert np.isfinite(high[3, 0])
    assert np.isinf(high[3, 1])
    assert low[3, 1] == 0.0
    assert np.isfinite(mean).all()
    # A group that never varied has one value only.
    assert real.predict({**QUERY, "mobility_contrast": 0.0}, INNER).trust.all()
    assert not real.predict({**QUERY, "mobility_contrast": 0.5}, INNER).trust.any()


def test_saved_and_loaded(real: Emulator, tmp_path: Path) -> None:
    real.save(tmp_path / "emulator")
    again = Emulator.load(tmp_path / "emulator")
    first, second = real.predict(QUERY, INNER), again.predict(QUERY, INNER)
    for name in first.mean:
        for a, b in zip(bands(first, name), bands(second, name), strict=True):
            np.testing.assert_array_equal(a, b)
    assert again.errors == real.errors
    assert again.domain == real.domain
    assert again.setting == real.setting
    np.testing.assert_array_equal(again.extra["k"], real.extra["k"])
    assert not list((tmp_path / "emulator").glob("*.pkl"))


def _flip(folder: Path) -> None:
    content = bytearray((folder / "emulator.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "emulator.npz").write_bytes(content)


def _pickle(folder: Path) -> None:
    """A file with an object array, and the hash that fits it: it must still not be unpickled."""
    import hashlib

    np.savez(folder / "emulator.npz", about=np.array([{"a": 1}], dtype=object))
    about = json.loads((folder / "emulator.json").read_text())
    about["sha256"] = hashlib.sha256((folder / "emulator.npz").read_bytes()).hexdigest()
    (folder / "emulator.json").write_text(json.dumps(about))


def _without(folder: Path) -> None:
    """Arrays missing, hash right."""
    import hashlib

    with np.load(folder / "emulator.npz", allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "sites"}
    np.savez(folder / "emulator.npz", **kept)
    about = json.loads((folder / "emulator.json").read_text())
    about["sha256"] = hashlib.sha256((folder / "emulator.npz").read_bytes()).hexdigest()
    (folder / "emulator.json").write_text(json.dumps(about))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped": (_flip, "corrupted, its sha256"),
    "truncated": (lambda f: (f / "emulator.npz").write_bytes((f / "emulator.npz").read_bytes()[:-100]), "corrupted"),
    "missing": (lambda f: (f / "emulator.npz").unlink(), "expected emulator.json and emulator.npz"),
    "no summary": (lambda f: (f / "emulator.json").unlink(), "expected emulator.json and emulator.npz"),
    "not json": (lambda f: (f / "emulator.json").write_text("{"), "not JSON"),
    "foreign": (lambda f: (f / "emulator.json").write_text("{}"), "found something else"),
    "newer": (
        lambda f: (f / "emulator.json").write_text(
            (f / "emulator.json").read_text().replace('"format_version": 1', '"format_version": 2')
        ),
        "expected format 1, but found 2",
    ),
    "pickled": (_pickle, "cannot be read"),
    "incomplete": (_without, "content does not fit"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_files_are_refused(real: Emulator, tmp_path: Path, damage: str) -> None:
    real.save(tmp_path)
    act, message = DAMAGES[damage]
    act(tmp_path)
    with pytest.raises(InputError, match=message):
        Emulator.load(tmp_path)


# --- Synthetic stores: curves known in closed form, in the layout of a sweep's store.


def store(
    path: Path,
    kappa: Any,
    mobility: Any,
    times: Any,
    *,
    seed: int = 0,
    count: int = 3,
    independent: bool = True,
    noise: float = 0.05,
    spacing: float = 1.0,
    well: dict[str, float] | None = None,
    status: Any = None,
    amplitude: float = 0.1,
    **extra: Any,
) -> Path:
    """A store of domain_size = xi (1 + tau / kappa'^2)^(1/3) e^z in cells and mean = 0; z is fixed by the start."""
    kappa, mobility, times = (np.asarray(v, dtype=float) for v in (kappa, mobility, times))
    height = 4.0 * well["rho"] * (0.5 * (well["cb"] - well["ca"])) ** 2 if well else 1.0
    reduced = kappa / (height * spacing**2)
    tau = height * mobility[:, None] * times / spacing**2
    starts = [[(seed, r, k if independent else 0) for r in range(count)] for k in reduced.round(9)]
    z = np.array([[np.random.default_rng([s, r, int(k * 1e6)]).normal() for s, r, k in row] for row in starts])
    size = spacing * np.sqrt(reduced)[:, None] * (1 + tau / reduced[:, None] ** 2) ** (1 / 3)
    config = {
        "process": "cahn_hilliard",
        "grid": {"shape": [32, 32], "spacing": spacing, "boundary": "periodic"},
        "well": well,
        "realizations": {"count": count, "seed": seed, "independent": independent},
        "initial": {"kind": "noise", "amplitude": amplitude},
    }
    dims = ("point", "realization")
    flags = {"flag_values": [0, 1, 2, 3, 4], "flag_meanings": "pending done failed diverged verified"}
    shape = (len(kappa), count)
    ds = xr.Dataset(
        {
            "domain_size": ((*dims, "time"), size[:, None] * np.exp(noise * z)[:, :, None]),
            "status": (dims, np.ones(shape, dtype="i1") if status is None else np.asarray(status, dtype="i1"), flags),
            **{name: (dims, values) for name, values in extra.items()},
        },
        coords={"kappa": ("point", kappa), "mobility": ("point", mobility), "time": times},
    )
    return write_sweep(path, ds, config)


KAPPA = np.linspace(0.5, 2.0, 12)
ONES = np.ones(12)


def test_points_that_differ_in_mobility_are_one_trajectory(tmp_path: Path) -> None:
    kappa, mobility = np.repeat(KAPPA, 3), np.tile([0.5, 1.0, 2.0], 12)
    joined = learned(store(tmp_path / "a", kappa, mobility, [10.0, 20.0], noise=0.0))
    assert len(joined.sites) == 12
    # Times 10 and 20 at mobilities 0.5, 1 and 2 are scaled times 5, 10, 20, 40.
    found = joined.predict({"mobility": 1.0, "kappa": 1.1}, [5.0, 10.0, 20.0, 40.0])
    expected = np.sqrt(1.1) * (1 + np.array([5.0, 10.0, 20.0, 40.0]) / 1.21) ** (1 / 3)
    assert found.trust.tolist() == [1.0]
    np.testing.assert_allclose(found.mean["domain_size"][0], expected, rtol=2e-3)
    assert joined.errors["domain_size"]["left_out"] < 5e-3


def test_stores_of_other_cell_sizes_and_wells_are_learned_from_together(tmp_path: Path) -> None:
    # rho = 1, c in [0, 1]: h = 1/2, W = 1; cells of 2: kappa' = kappa / 4, tau = t / 4.
    well = {"rho": 1.0, "ca": 0.0, "cb": 1.0}
    first = store(tmp_path / "a", KAPPA[::2], ONES[::2], [10.0, 20.0, 40.0], noise=0.0)
    times = np.array([10.0, 20.0, 40.0]) * 4
    second = store(
        tmp_path / "b", 4 * KAPPA[1::2], ONES[1::2], times, noise=0.0, spacing=2.0, well=well, amplitude=0.05
    )
    both = learned([first, second])
    assert len(both.sites) == 12
    own = both.predict({"mobility": 1.0, "kappa": [0.7, 1.6]}, [10.0, 20.0])
    setting = Setting("cahn_hilliard", (32, 32), "periodic", 2.0, "noise", **well)
    other = both.predict({"mobility": 1.0, "kappa": [2.8, 6.4]}, [40.0, 80.0], setting=setting)
    assert own.trust.all()
    assert other.trust.all()
    np.testing.assert_allclose(other.mean["domain_size"], 2 * own.mean["domain_size"], rtol=1e-12)
    np.testing.assert_allclose(other.high["domain_size"], 2 * own.high["domain_size"], rtol=1e-12)
    with pytest.raises(InputError, match="process, box and start"):
        both.predict(
            {"mobility": 1.0, "kappa": 1.0}, [10.0], setting=Setting("cahn_hilliard", (8, 8), "periodic", 1.0, "noise")
        )


def test_seed_spread_is_in_the_band(tmp_path: Path) -> None:
    emulator = learned(store(tmp_path / "a", KAPPA, ONES, [5.0, 10.0, 20.0], count=6, noise=0.1))
    assert emulator.errors["domain_size"]["seed_spread"] == pytest.approx(0.1, rel=0.25)
    found = emulator.predict({"mobility": 1.0, "kappa": KAPPA}, [5.0, 10.0, 20.0])
    draws = np.exp(0.1 * np.random.default_rng(5).normal(size=(12, 400, 1)))
    truth = (
        np.sqrt(KAPPA)[:, None, None] * (1 + np.array([5.0, 10.0, 20.0]) / KAPPA[:, None, None] ** 2) ** (1 / 3) * draws
    )
    _, low, high = bands(found, "domain_size")
    # 72 trajectories: the coverage of their bands has a standard deviation of 0.035, twice of that.
    assert ((low[:, None] <= truth) & (truth <= high[:, None])).mean() == pytest.approx(0.9, abs=0.07)


def test_shared_starts_count_as_what_they_are(tmp_path: Path) -> None:
    times = [5.0, 10.0]
    made = {
        (count, own): learned(
            store(tmp_path / f"{count}{own}", KAPPA, ONES, times, count=count, independent=own, noise=0.1)
        )
        for count, own in ((1, True), (1, False), (4, False))
    }
    half = {}
    for key, emulator in made.items():
        found = emulator.predict({"mobility": 1.0, "kappa": KAPPA}, times)
        half[key] = np.log(found.high["domain_size"] / found.mean["domain_size"])
    # One start for all points tells nothing of the spread from start to start.
    assert np.isinf(half[1, False]).all()
    assert 0.1 < half[1, True].max() < 0.4
    # Four starts, the same deviation at all points: the largest miss of one by the mean of the others, times Student's
    # 95 % quantile for 3 degrees of freedom over the normal one; 1.25 and 1.333 are the variances of such misses.
    z = np.array([np.random.default_rng([0, r, 0]).normal() for r in range(4)])
    miss = 0.1 * np.abs(z - (z.sum() - z) / 3).max()
    # Beside the ends of the box, where the emulator's own error adds to it.
    np.testing.assert_allclose(half[4, False][2:-2], miss * 2.3534 / 1.6449 * np.sqrt(1.25 / 1.3333), rtol=0.05)


def test_a_single_point_with_many_seeds(tmp_path: Path) -> None:
    few = learned(store(tmp_path / "few", [1.0], [1.0], [5.0, 10.0], count=8))
    many = learned(store(tmp_path / "many", [1.0], [1.0], [5.0, 10.0], count=30, noise=0.1, independent=False))
    assert np.isinf(few.predict({"mobility": 1.0}, [5.0]).high["domain_size"]).all()
    found = many.predict({"mobility": 2.0}, [2.5, 5.0])
    half = np.log(found.high["domain_size"] / found.mean["domain_size"])
    # 0.9 of normal deviations lie within 1.645 standard deviations, known to some 15 % from 30 of them.
    np.testing.assert_allclose(half, 0.1645, rtol=0.4)
    assert np.isnan(many.errors["domain_size"]["left_out"])
    many.save(tmp_path / "saved")
    assert np.isnan(Emulator.load(tmp_path / "saved").errors["domain_size"]["left_out"])


def test_only_finished_and_trusted_points_are_used(tmp_path: Path) -> None:
    status = np.ones((12, 3))
    status[0], status[1], status[2], status[3] = 0, 2, 3, 4
    trust = np.ones((12, 3), dtype="f4")
    trust[5] = 0.0
    emulator = learned(store(tmp_path / "a", KAPPA, ONES, [5.0, 10.0], status=status, trust=trust))
    assert emulator.sites[:, 0].tolist() == pytest.approx([KAPPA[i] for i in (3, 4, 6, 7, 8, 9, 10, 11)])
    with pytest.raises(InputError, match="no finished sample"):
        learned(store(tmp_path / "b", KAPPA, ONES, [5.0], status=np.zeros((12, 3))))


def test_missing_values_and_time_zero(tmp_path: Path) -> None:
    path = store(tmp_path / "a", KAPPA, ONES, [0.0, 5.0, 10.0, 20.0])
    ds = xr.open_zarr(path, chunks=None, consolidated=False).load()
    ds["domain_size"][4, :, 2:] = np.nan
    write_sweep(tmp_path / "b", ds, json.loads(ds.attrs["config"]))
    found = learned(tmp_path / "b").predict({"mobility": 1.0, "kappa": 1.0}, [0.0, 5.0, 20.0])
    expected = (1 + np.array([0.0, 5.0, 20.0])) ** (1 / 3)
    assert found.trust.tolist() == [1.0]
    np.testing.assert_allclose(found.mean["domain_size"][0], expected, rtol=0.1)
    assert np.isfinite(found.high["domain_size"]).all()


def test_holes_between_points_are_outside(tmp_path: Path) -> None:
    kappa = np.concatenate([np.linspace(0.5, 0.6, 8), np.linspace(1.9, 2.0, 8)])
    emulator = learned(store(tmp_path / "a", kappa, np.ones(16), [5.0, 10.0]))
    found = emulator.predict({"mobility": 1.0, "kappa": [0.55, 1.0, 1.95]}, [5.0, 10.0])
    assert found.trust.tolist() == [1.0, 0.0, 1.0]
    assert "nearest point" in found.reasons[1]


def test_stores_that_cannot_be_used(tmp_path: Path, real: Emulator, swept: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="expected a sweep store"):
        learned(tmp_path / "nothing")
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "foreign", consolidated=False)
    with pytest.raises(InputError, match="found another Zarr group"):
        learned(tmp_path / "foreign")
    made = store(tmp_path / "a", KAPPA, ONES, [5.0, 10.0])
    with pytest.raises(InputError, match="same process, box and start"):
        learned([made, swept["learned"]])
    with pytest.raises(InputError, match="quantities out of domain_size, but got grain_count"):
        learned(made, qois=["grain_count"])
    with pytest.raises(InputError, match="at least one store"):
        learned([])
    shutil.copytree(made, tmp_path / "bare")
    ds = xr.open_zarr(made, chunks=None, consolidated=False).load()
    write_sweep(tmp_path / "bare", ds, {})
    with pytest.raises(InputError, match="resolved configuration"):
        learned(tmp_path / "bare")


def test_wrong_queries(real: Emulator) -> None:
    with pytest.raises(InputError, match="but got no kappa, composition"):
        real.predict({"mobility": 1.0}, [5.0])
    with pytest.raises(InputError, match="unknown gamma"):
        real.predict({**QUERY, "gamma": 1.5}, [5.0])
    with pytest.raises(InputError, match="mobility: finite and positive"):
        real.predict({**QUERY, "mobility": 0.0}, [5.0])
    with pytest.raises(InputError, match="composition: a number or 3 values"):
        real.predict({**QUERY, "composition": [0.0, 0.1]}, [5.0])
    with pytest.raises(InputError, match="times:"):
        real.predict(QUERY, [-5.0])
    with pytest.raises(InputError, match="times: finite"):
        real.predict(QUERY, [np.inf])
    with pytest.raises(InputError, match="qois: out of"):
        real.predict(QUERY, [5.0], qois=["colour"])


@pytest.mark.parametrize("form", [Form(2, 0.0, 1.0, False), Form(1, 1.5, 1e-2, False)])
def test_errors_of_left_out_points_are_those_of_refits(form: Form) -> None:
    rng = np.random.default_rng(0)
    points, values = rng.uniform(-1, 1, (15, 2)), rng.normal(size=(15, 1, 1))
    counts = rng.integers(1, 4, (15, 1))
    found = Smoother(form, points).left_out(values, counts)
    spread = Smoother(form, points).spread_left_out(counts[:, 0])
    for i in range(15):
        others = np.arange(15) != i
        refit = Smoother(form, points[others])
        expected = refit.basis(points[i : i + 1]) @ refit.coefficients(values[others], counts[others])[:, 0]
        np.testing.assert_allclose(found[i, 0], expected[0], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(spread[i], refit.spread(points[i : i + 1], counts[others, 0])[0], rtol=1e-6)
    sample = AlignedCurves(values, np.arange(15), np.full(15, -1), 15)
    ones = np.ones((15, 1), dtype=int)
    miss = values - Smoother(form, points).left_out(values, ones)
    assert left_out_error(Smoother(form, points), sample) == pytest.approx(float(np.sqrt(np.mean(miss**2))))


def test_grain_growth(tmp_path: Path) -> None:
    # Mean area (in cells) = 40 + 3 gamma tau kappa'; count = cells / area; quantiles are shares of the mean.
    rng = np.random.default_rng(0)
    kappa, gamma, times = rng.uniform(0.5, 2.0, 40), rng.uniform(1.0, 2.0, 40), np.array([5.0, 10.0, 20.0, 40.0])
    mobility = 1.0 / kappa  # the same ages at all points
    area = 40 + 3 * (gamma * kappa * mobility)[:, None] * times
    area = area[:, None] * np.exp(0.02 * rng.normal(size=(40, 3, 1)))
    config = {
        "process": "grain_growth",
        "grid": {"shape": [64, 64], "spacing": 1.0, "boundary": "no_flux"},
        "well": None,
        "realizations": {"count": 3, "seed": 0, "independent": True},
        "initial": {"kind": "voronoi", "grains": 100},
    }
    flags = {"flag_values": [0, 1, 2, 3, 4], "flag_meanings": "pending done failed diverged verified"}
    dims = ("point", "realization", "time")
    ds = xr.Dataset(
        {
            "mean_grain_area": (dims, area),
            "grain_area_quantile": ((*dims, "quantile"), area[..., None] * [0.5, 1.0, 1.5]),
            "status": (dims[:2], np.ones((40, 3), dtype="i1"), flags),
        },
        coords={
            "kappa": ("point", kappa),
            "gamma": ("point", gamma),
            "mobility": ("point", mobility),
            "time": times,
            "quantile": [0.25, 0.5, 0.75],
        },
    )
    write_sweep(tmp_path / "grains", ds, config)
    emulator = learned(tmp_path / "grains")
    # Other powers of kappa' would leave few ages that all points share.
    assert emulator.ages.power == 1.0
    assert emulator.groups == ("kappa", "gamma", "grains")
    found = emulator.predict({"mobility": [2.0, 2.0], "kappa": 1.2, "gamma": [1.3, 2.5]}, np.array([5.0, 10.0]) / 1.2)
    assert found.trust.tolist() == [1.0, 0.0]
    assert found.reasons[1].startswith("gamma 2.5, allowed 1.")
    expected = 40 + 3 * 1.3 * np.array([10.0, 20.0])
    np.testing.assert_allclose(found.mean["mean_grain_area"][0], expected, rtol=0.02)
    ratio = found.mean["grain_area_quantile"][0] / found.mean["grain_area_quantile"][0][:, 1:2]
    np.testing.assert_allclose(ratio, [[0.5, 1.0, 1.5]] * 2, rtol=1e-9)
    assert emulator.extra["quantile"].tolist() == [0.25, 0.5, 0.75]
    assert emulator.predict({"mobility": 1.0, "kappa": 1.2, "gamma": 1.3, "grains": 50.0}, [5.0]).trust.tolist() == [
        0.0
    ]
