"""An emulator on disk: arrays in ``emulator.npz``, never unpickled, and a summary with its sha256 beside it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from solvers.errors import InputError
from surrogate.emulator.curves import setting_as_dict, setting_from_dict
from surrogate.emulator.emulator import Ages, Emulator, QoiFit
from surrogate.emulator.regression import Form, Smoother
from surrogate.uncertainty.domain import Domain

FORMAT = "phasetwin-emulator"
FORMAT_VERSION = 1
ARRAYS, ABOUT = "emulator.npz", "emulator.json"


def write(emulator: Emulator, folder: Path) -> None:
    """See :meth:`surrogate.emulator.emulator.Emulator.save`."""
    arrays = {"sites": emulator.sites, "windows": emulator.windows, "knots": emulator.ages.knots}
    arrays |= {f"extra/{n}": v for n, v in emulator.extra.items()}
    for name, fit in emulator.fits.items():
        arrays |= {f"{name}/{k}": getattr(fit, k) for k in ("counts", "coefficients", "widths")}
        arrays[f"{name}/points"] = fit.smoother.points
    about = _about(emulator)
    arrays["about"] = np.frombuffer(json.dumps(about, allow_nan=False).encode(), dtype=np.uint8)
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    summary = {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": digest}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ARRAYS).write_bytes(stream.getvalue())
        (folder / ABOUT).write_text(json.dumps({**summary, **about}, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _about(emulator: Emulator) -> dict[str, Any]:
    fits = {
        name: {
            "form": asdict(fit.smoother.form),
            "positive": fit.positive,
            "squeeze": fit.squeeze,
            "error": fit.error if math.isfinite(fit.error) else None,
            "seed_spread": fit.seed_spread if math.isfinite(fit.seed_spread) else None,
        }
        for name, fit in emulator.fits.items()
    }
    return {
        "setting": setting_as_dict(emulator.setting),
        "level": emulator.level,
        "groups": list(emulator.groups),
        "age": {"power": emulator.ages.power, "offset": emulator.ages.offset},
        "domain": emulator.domain.as_dict(),
        "reach": emulator.reach,
        "fits": fits,
    }


def read(folder: Path) -> Emulator:
    """See :meth:`surrogate.emulator.emulator.Emulator.load`."""
    arrays = _read_arrays(folder)
    try:
        about = json.loads(arrays["about"].tobytes())
        age = about["age"]
        return Emulator(
            setting=setting_from_dict(about["setting"]),
            level=float(about["level"]),
            groups=tuple(about["groups"]),
            sites=arrays["sites"],
            windows=arrays["windows"],
            ages=Ages(float(age["power"]), float(age["offset"]), arrays["knots"]),
            domain=Domain.from_dict(about["domain"]),
            reach=float(about["reach"]),
            fits={name: _fit_from(name, own, arrays) for name, own in about["fits"].items()},
            extra={n.removeprefix("extra/"): v for n, v in arrays.items() if n.startswith("extra/")},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder}: expected an emulator, but its content does not fit: {error!r}") from None


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    try:
        summary = json.loads((folder / ABOUT).read_text())
        content = (folder / ARRAYS).read_bytes()
    except OSError as error:
        raise InputError(f"{folder}: expected {ABOUT} and {ARRAYS}: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{folder / ABOUT}: corrupted, not JSON; make the emulator again") from None
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise InputError(f"{folder / ABOUT}: expected an emulator of this program, but found something else")
    if summary.get("format_version") != FORMAT_VERSION:
        found = summary.get("format_version")
        raise InputError(f"{folder / ABOUT}: expected format {FORMAT_VERSION}, but found {found}")
    if hashlib.sha256(content).hexdigest() != summary.get("sha256"):
        raise InputError(f"{folder / ARRAYS}: corrupted, its sha256 is not the one in {ABOUT}; make the emulator again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder / ARRAYS}: expected arrays, but it cannot be read: {error}") from None


def _fit_from(name: str, own: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> QoiFit:
    counts, coefficients, widths = (arrays[f"{name}/{k}"] for k in ("counts", "coefficients", "widths"))
    smoother = Smoother(Form(**own["form"]), arrays[f"{name}/points"])
    return QoiFit(
        bool(own["positive"]),
        smoother,
        counts,
        coefficients,
        widths,
        bool(own["squeeze"]),
        _known(own["error"]),
        _known(own["seed_spread"]),
    )


def _known(value: float | None) -> float:
    return math.nan if value is None else float(value)
