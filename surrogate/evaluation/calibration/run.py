"""``phasetwin evaluate MODEL --calibrate``: domain, bands and their measured coverage, written into the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solvers.errors import InputError
from surrogate.evaluation.calibration.coverage import MeasuredCoverage, measure_coverage
from surrogate.evaluation.calibration.fit import calibrate
from surrogate.evaluation.calibration.samples import StoreRollouts, roll_out, store_samples
from surrogate.evaluation.calibration.trust_domain import admit, fit_model_domain
from surrogate.models.files import folder_of, load_rollout_surrogate, update_model

logger = logging.getLogger("phasetwin")

FOLDER = Path("runs/surrogate")
#: Sweeps of `make calibration-data`: to calibrate on, to measure coverage on, and beyond the box.
DEFAULTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "cahn_hilliard": (
        ("ch-calibration", "ch-calibration-droplets", "ch-calibration-32", "ch-calibration-late"),
        ("ch-coverage", "ch-coverage-droplets", "ch-coverage-32", "ch-coverage-late"),
        ("ch-outside",),
    ),
    "grain_growth": (("gg-calibration", "gg-calibration-32"), ("gg-coverage", "gg-coverage-32"), ("gg-outside",)),
}


@dataclass(frozen=True)
class CalibrationStores:
    """Sweeps to fit bands on, to measure them on, and beyond the domain; by default of ``make calibration-data``."""

    calibration: Sequence[str | Path] = ()
    coverage: Sequence[str | Path] = ()
    outside: Sequence[str | Path] = ()

    def filled(self, process: str) -> CalibrationStores:
        """With the defaults of a process in place of what is empty.

        Raises:
            InputError: if stores are missing, or one is both calibrated on and measured on.
        """
        given = (self.calibration, self.coverage, self.outside)
        defaults = ([FOLDER / f"{name}.zarr" for name in names] for names in DEFAULTS.get(process, ((), (), ())))
        chosen = [list(own) or list(default) for own, default in zip(given, defaults, strict=True)]
        if not all(chosen):
            raise InputError(f"{process}: no usual sweeps; --calibration-store, --coverage-store and --outside-store")
        missing = [str(path) for part in chosen for path in part if not Path(path).exists()]
        if missing:
            raise InputError(f"no such store: {', '.join(missing)}; `make calibration-data` computes the usual ones")
        real = [{Path(path).resolve() for path in part} for part in chosen]
        both = sorted(path.name for path in real[0] & (real[1] | real[2]))
        if both:
            raise InputError(f"coverage: stores that were not calibrated on, but got {', '.join(both)} twice")
        return CalibrationStores(*chosen)


def calibrate_model(name: str, stores: CalibrationStores) -> tuple[Path, dict[str, Any]]:
    """Fits a model's domain and bands, measures both on fresh trajectories, and writes all of it into the model.

    Returns:
        The model's folder, and the entries written to its description: ``domain``, ``calibration``, ``coverage``.

    Raises:
        InputError: for a model without rollouts, or stores that are missing or do not fit it.
    """
    model = load_rollout_surrogate(name)
    chosen = stores.filled(model.process)
    training = model.about.get("recipe", {}).get("data", {}).get("train", [])
    missing = [str(path) for path in training if not Path(path).exists()]
    if missing or not training:
        what = ", ".join(missing) or "none is named in model.json"
        raise InputError(f"training sweeps of {model.name}: {what}; `make training-data` computes the usual ones")
    model.domain = fit_model_domain(model.process, training)
    logger.info(f"domain: fitted to {len(training)} training sweeps")

    def rolled_out(stores: Sequence[str | Path]) -> list[StoreRollouts]:
        return [roll_out(model, store_samples(store, model.process)) for store in stores]

    calibration = rolled_out(chosen.calibration)
    model.calibration = calibrate(calibration)
    model.domain = admit(model.domain, calibration)
    inside, outside = (measure_coverage(model, rolled_out(part)) for part in (chosen.coverage, chosen.outside))
    entries = {
        "domain": model.domain.as_dict(),
        "calibration": model.calibration.as_dict(),
        "coverage": _summary(calibration, inside, outside),
    }
    folder = folder_of(name)
    update_model(folder, **entries)
    return folder, entries


def _summary(
    calibration: Sequence[StoreRollouts], inside: MeasuredCoverage, outside: MeasuredCoverage
) -> dict[str, object]:
    return {
        "calibrated_on": {o.name: int(o.taken.sum()) for o in calibration},
        "rows": [vars(row) for row in inside.rows],
        "pooled": [vars(row) for row in inside.pooled],
        "false_alarms": inside.share_flagged if inside.trajectories else None,
        "outside_flagged": outside.share_flagged if outside.trajectories else None,
        "inside": inside.as_dict(),
        "outside": outside.as_dict(),
    }
