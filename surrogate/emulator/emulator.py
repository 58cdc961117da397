"""The emulator: statistics of a sweep at parameters and times that were never run, in microseconds.

It is learned from finished sweep stores, in dimensionless groups: mobility is no input, it scales time exactly. At each
of a few ages the logarithm of a positive quantity (the value itself of any other) is a smooth function of the groups
(:mod:`surrogate.emulator.regression`); between ages it is interpolated in the logarithm of age. The form of the
function, and the power of kappa' in the age, are those that best predict points left out.

What comes back is the centre over realizations (their geometric mean where logarithms are fitted) and a band for the
curve of one more realization: conformal over trajectories whose points were left out, so it holds the spread from seed
to seed and the error of the emulator alike (Barber et al. 2021, doi:10.1214/20-AOS1965). Sweeps whose points have
starts of their own (``realizations: {independent: true}``) serve best: where all points share a few starts, bands are
wider for it, and infinite where there is only one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from solvers.errors import InputError
from surrogate.emulator.files import read_files, write_files
from surrogate.emulator.regression import Form, Smoother
from surrogate.setting import Setting
from surrogate.uncertainty.domain import Domain

#: Samples evaluated together, so that what they need stays in the cache.
TOGETHER = 512
#: Ages whose logarithms differ by less are one: tables of parameters are rounded.
SAME_AGE = 1e-4
LOGARITHMIC = ("kappa", "amplitude", "grains")


@dataclass(frozen=True)
class QoiFit:
    """One quantity's functions of the groups.

    Attributes:
        positive: whether logarithms are fitted.
        counts: (site,) trajectories at each point, for the spread.
        coefficients: (site + monomial, knot, extra).
        widths: (knot, extra) half-widths in units of the spread; infinite where too few trajectories are known.
        squeeze: whether the extra axis is none.
        error: root mean square miss of points left out, on the fitted scale; NaN for a single point.
        seed_spread: root mean square over realizations about their mean, same scale; NaN for single realizations.
    """

    positive: bool
    smoother: Smoother
    counts: np.ndarray
    coefficients: np.ndarray
    widths: np.ndarray
    squeeze: bool
    error: float
    seed_spread: float

    def as_dict(self) -> dict[str, object]:
        """All but the arrays, for JSON."""
        return {
            "form": asdict(self.smoother.form),
            "positive": self.positive,
            "squeeze": self.squeeze,
            "error": self.error if math.isfinite(self.error) else None,
            "seed_spread": self.seed_spread if math.isfinite(self.seed_spread) else None,
        }

    @classmethod
    def from_parts(cls, name: str, own: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> QoiFit:
        """The fit of a quantity from what :meth:`as_dict` gave and the arrays of an emulator's file."""
        counts, coefficients, widths = (arrays[f"{name}/{k}"] for k in ("counts", "coefficients", "widths"))
        smoother = Smoother(Form(**own["form"]), arrays[f"{name}/points"])
        error, spread = (math.nan if own[k] is None else float(own[k]) for k in ("error", "seed_spread"))
        positive, squeeze = bool(own["positive"]), bool(own["squeeze"])
        return cls(positive, smoother, counts, coefficients, widths, squeeze, error, spread)


@dataclass(frozen=True)
class EmulatorPrediction:
    """What an emulator answers, in the units of its setting.

    Attributes:
        mean: name -> (batch, time) or (batch, time, extra), the centre over realizations.
        low, high: the same shape: where the curve of one more realization lies with nominal probability, at each time.
        trust: (batch,) float32, 1 inside the domain and 0 outside.
        reasons: (batch,) why a sample is outside; empty inside.
    """

    mean: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    trust: np.ndarray
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Ages:
    """How time is counted: age = tau kappa'^power, increasing ``knots`` (knot,) in log(age + offset)."""

    power: float
    offset: float
    knots: np.ndarray

    def position(self, tau: np.ndarray, kappa: np.ndarray) -> np.ndarray:
        """log(age + offset) of tau (batch, time) at kappa' (batch,)."""
        return np.log(tau * (kappa**self.power)[:, None] + self.offset)


@dataclass(frozen=True)
class Emulator:
    """See the module's text; made by :mod:`surrogate.emulator.build` or :meth:`load`.

    Attributes:
        setting: process, box, cell size and well in whose units it answers.
        level: nominal coverage of the bands.
        sites: (site, group) of the points it knows.
        windows: (site, 2) first and last position in age at which each is known.
        domain: box of the groups and of age.
        reach: farthest that a query may be from the nearest point known at its ages, in half-widths of the box.
        extra: coordinates of the extra axes, dimensionless (``k`` times the cell size).
    """

    setting: Setting
    level: float
    groups: tuple[str, ...]
    sites: np.ndarray
    windows: np.ndarray
    ages: Ages
    domain: Domain
    reach: float
    fits: dict[str, QoiFit]
    extra: dict[str, np.ndarray]

    @property
    def errors(self) -> dict[str, dict[str, float | str]]:
        """Per quantity: ``left_out`` (miss of points left out), ``seed_spread``, and the ``scale`` of both."""
        return {
            name: {
                "left_out": fit.error,
                "seed_spread": fit.seed_spread,
                "scale": "relative" if fit.positive else "absolute",
            }
            for name, fit in self.fits.items()
        }

    @property
    def parameter_groups(self) -> dict[str, str]:
        """Parameter that it takes beside mobility -> its group."""
        return {n: g for n, g in self.setting.learned.parameter_groups.items() if g in self.groups}

    def predict(
        self,
        parameters: Mapping[str, ArrayLike],
        times: ArrayLike,
        *,
        qois: Sequence[str] | None = None,
        setting: Setting | None = None,
    ) -> EmulatorPrediction:
        """Curves of the quantities.

        Args:
            parameters: name -> number or (batch,), in the units of the setting: mobility, kappa and what else was
                varied; a parameter that was not may be left out.
            times: (batch, time) or (time,), >= 0.
            qois: names; None gives all.
            setting: another cell size or well than the emulator's own: an exact rescaling.

        Returns:
            An :class:`EmulatorPrediction`. At ages outside those of the stores bands are infinite and trust is 0.

        Raises:
            InputError: for missing, unknown or impossible parameters, times that are negative, or unknown quantities.
        """
        setting = setting or self.setting
        if not setting.same_curves(self.setting):
            raise InputError(f"setting: process, box and start of {self.setting}, but got {setting}")
        names = list(self.fits if qois is None else qois)
        if not set(names) <= set(self.fits):
            raise InputError(f"qois: out of {', '.join(self.fits)}, but got {', '.join(names)}")
        constant = {g: v[0] for g, v in zip(self.groups, self.sites.T, strict=True) if np.ptp(v) == 0}
        own = self.parameter_groups
        needed = ["mobility", *(n for n, g in own.items() if g not in constant)]
        values, clock = _query(parameters, times, needed, ["mobility", *own])
        found = setting.groups(values)
        groups = {g: found[g] if g in found else np.full(len(clock), constant[g]) for g in self.groups}
        position = self.ages.position(setting.scaled_time(values["mobility"])[:, None] * clock, groups["kappa"])
        reasons = self._reasons(groups, position)
        parts = [
            self._curves({n: g[i : i + TOGETHER] for n, g in groups.items()}, position[i : i + TOGETHER], names)
            for i in range(0, len(position), TOGETHER)
        ]
        bands: list[dict[str, np.ndarray]] = [{}, {}, {}]
        for name in names:
            offset, factor = setting.unit(name)
            for which in range(3):
                bands[which][name] = offset + factor * np.concatenate([part[name][which] for part in parts])
        trust = np.array([not reason for reason in reasons], dtype=np.float32)
        return EmulatorPrediction(bands[0], bands[1], bands[2], trust, tuple(reasons))

    def _curves(
        self, groups: dict[str, np.ndarray], position: np.ndarray, names: Sequence[str]
    ) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """name -> mean, low, high, dimensionless."""
        knots = self.ages.knots
        right = np.clip(np.searchsorted(knots, position, side="right"), 1, max(1, len(knots) - 1))
        left = right - 1
        right = np.minimum(right, len(knots) - 1)
        gap = np.maximum(knots[right] - knots[left], 1e-300)
        share = np.clip((position - knots[left]) / gap, 0.0, 1.0)[:, :, None]
        outside = ~((position >= knots[0] - SAME_AGE) & (position <= knots[-1] + SAME_AGE))
        row = np.arange(len(position))[:, None]
        found = {}
        for name in names:
            fit = self.fits[name]
            x = coordinates(groups, self.groups, self.sites, fit.smoother.form.symmetric)
            knotted = np.tensordot(fit.smoother.basis(x), fit.coefficients, axes=1)
            centre = (1 - share) * knotted[row, left] + share * knotted[row, right]
            with np.errstate(invalid="ignore"):
                width = (1 - share) * fit.widths[left] + share * fit.widths[right]
            # 0 times infinity: a knot without a band has none beside it either.
            width = np.where(np.isnan(width), np.inf, width) * fit.smoother.spread(x, fit.counts)[:, None, None]
            width = np.where(outside[:, :, None], np.inf, width)
            curves = (centre, centre - width, centre + width)
            shown = [np.exp(c) if fit.positive else c for c in curves]
            found[name] = tuple(c[:, :, 0] if fit.squeeze else c for c in shown)
        return found  # type: ignore[return-value]

    def _reasons(self, groups: dict[str, np.ndarray], position: np.ndarray) -> list[str]:
        lines: list[list[str]] = [[] for _ in range(len(position))]
        first, last = position.min(1), position.max(1)
        ends = self.ages.knots[[0, -1]]
        for when in (first, last):
            # Within rounding of an end is at the end.
            near = np.abs(when[:, None] - ends) <= SAME_AGE
            age = np.exp(np.where(near.any(1), ends[near.argmax(1)], when)) - self.ages.offset
            for i, line in enumerate(self.domain.reasons({**groups, "age": age})):
                # Both ends give the same reasons but for age.
                lines[i] += [part for part in line.split("; ") if part and part not in lines[i]]
        distance = self._distance(groups, first, last)
        for number in np.flatnonzero(distance > self.reach).tolist():
            if not lines[number]:
                far = f"nearest point {distance[number]:.2g} half-widths away"
                found = "no point" if np.isinf(distance[number]) else far
                lines[number].append(f"{found} at these ages, allowed {self.reach:.2g}")
        return ["; ".join(line) for line in lines]

    def _distance(self, groups: dict[str, np.ndarray], first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(batch,) to the nearest point that is known from the first to the last age of the query."""
        x = coordinates(groups, self.groups, self.sites, False)
        points = coordinates(dict(zip(self.groups, self.sites.T, strict=True)), self.groups, self.sites, False)
        square = (x**2).sum(1)[:, None] + (points**2).sum(1)[None, :] - 2 * x @ points.T
        early, late = first[:, None] + SAME_AGE, last[:, None] - SAME_AGE
        covers = (self.windows[:, 0] <= early) & (self.windows[:, 1] >= late)
        return np.sqrt(np.where(covers, np.maximum(square, 0.0), np.inf).min(1))

    def save(self, folder: str | Path) -> None:
        """Write ``emulator.npz`` (arrays, no pickle) and ``emulator.json`` (its sha256 and a summary).

        Raises:
            InputError: if the folder cannot be written.
        """
        arrays = {"sites": self.sites, "windows": self.windows, "knots": self.ages.knots}
        arrays |= {f"extra/{n}": v for n, v in self.extra.items()}
        for name, fit in self.fits.items():
            arrays |= {f"{name}/{k}": getattr(fit, k) for k in ("counts", "coefficients", "widths")}
            arrays[f"{name}/points"] = fit.smoother.points
        about = {
            "setting": self.setting.as_dict(),
            "level": self.level,
            "groups": list(self.groups),
            "age": {"power": self.ages.power, "offset": self.ages.offset},
            "domain": self.domain.as_dict(),
            "reach": self.reach,
            "fits": {name: fit.as_dict() for name, fit in self.fits.items()},
        }
        write_files(Path(folder), arrays, about)

    @classmethod
    def load(cls, folder: str | Path) -> Emulator:
        """Read what :meth:`save` wrote; nothing in it is ever unpickled.

        Raises:
            InputError: if a file is missing, corrupted, foreign or of another format.
        """
        arrays, about = read_files(Path(folder))
        try:
            age = about["age"]
            return cls(
                setting=Setting.from_dict(about["setting"]),
                level=float(about["level"]),
                groups=tuple(about["groups"]),
                sites=arrays["sites"],
                windows=arrays["windows"],
                ages=Ages(float(age["power"]), float(age["offset"]), arrays["knots"]),
                domain=Domain.from_dict(about["domain"]),
                reach=float(about["reach"]),
                fits={name: QoiFit.from_parts(name, own, arrays) for name, own in about["fits"].items()},
                extra={n.removeprefix("extra/"): v for n, v in arrays.items() if n.startswith("extra/")},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{folder}: expected an emulator, but its content does not fit: {error!r}") from None


def coordinates(
    groups: Mapping[str, np.ndarray], names: Sequence[str], sites: np.ndarray, symmetric: bool
) -> np.ndarray:
    """(batch, coordinate) of the groups that vary over the points, scaled so that those span [-1, 1].

    ``symmetric``: composition enters as its square, since c and -c are alike.
    """
    columns = []
    for j, name in enumerate(names):
        known, value = sites[:, j], groups[name]
        if name in LOGARITHMIC and (known > 0).all():
            known, value = np.log(known), np.log(value)
        elif name == "composition" and symmetric:
            known, value = known**2, value**2
        low, high = known.min(), known.max()
        if high - low > 1e-9 * max(1.0, abs(high)):
            columns.append((2 * value - low - high) / (high - low))
    batch = len(next(iter(groups.values())))
    return np.stack(columns, axis=1) if columns else np.zeros((batch, 0))


def _query(
    parameters: Mapping[str, ArrayLike], times: ArrayLike, needed: Sequence[str], allowed: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parameters (batch,) each and times (batch, time)."""
    unknown = [n for n in parameters if n not in allowed]
    missing = [n for n in needed if n not in parameters]
    if unknown or missing:
        problem = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
        raise InputError(f"parameters: out of {', '.join(allowed)}, but got {problem}")
    given = {n: np.asarray(v, dtype=np.float64) for n, v in parameters.items()}
    clock = np.asarray(times, dtype=np.float64)
    batch = max([*(v.size for v in given.values()), len(clock) if clock.ndim == 2 else 1])
    clock = clock[None] if clock.ndim == 1 else clock
    for name, value in given.items():
        if value.ndim > 1 or value.size not in (1, batch):
            raise InputError(f"{name}: a number or {batch} values, but got shape {value.shape}")
        if not np.isfinite(value).all() or (name in ("mobility", "kappa") and not (value > 0).all()):
            raise InputError(f"{name}: finite{' and positive' if name in ('mobility', 'kappa') else ''} values only")
    if clock.ndim != 2 or not clock.size or len(clock) not in (1, batch) or not (clock >= 0).all():
        raise InputError(f"times: (batch, time) or (time,), each >= 0, but got shape {np.shape(times)}")
    if not np.isfinite(clock).all():
        raise InputError("times: finite values only")
    values = {n: np.broadcast_to(v.reshape(-1), (batch,)) for n, v in given.items()}
    return values, np.broadcast_to(clock, (batch, clock.shape[1]))
