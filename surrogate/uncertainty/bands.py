"""The bands of a calibrated model: half-widths by quantity and lead (made by :mod:`.conformal`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from solvers.errors import InputError
from surrogate.uncertainty.descriptions import NullIsInfinite, parsed
from surrogate.uncertainty.difficulty import Difficulty, difficulty_columns

if TYPE_CHECKING:
    from surrogate.rollout.prediction import Prediction

Scale = Literal["relative", "absolute"]
Values = Mapping[str, ArrayLike]
#: Name -> (low, high), shaped as the quantity.
Bands = dict[str, tuple[np.ndarray, np.ndarray]]

#: ``relative``: half-widths of log(value), a factor either way; ``absolute``: in the units of the value.
SCALES: dict[str, Scale] = {
    "free_energy": "relative",
    "mean": "absolute",
    "domain_size": "relative",
    "domain_size_interface": "relative",
    "interface_density": "relative",
    "structure_factor": "relative",
    "grain_count": "relative",
    "mean_grain_area": "relative",
    "grain_area_quantile": "relative",
}
#: No absolute half-width is below it: fields are in single precision.
ROUNDING = 1e-6
#: The quantity whose coordinates depend on the grid.
WAVENUMBERS = "structure_factor"


@dataclass(frozen=True)
class QoiBands:
    """The calibration of one quantity.

    Attributes:
        scale: see :data:`SCALES`.
        half_widths: (bin, extra) in units of the difficulty; extra is 1 for a quantity without a further axis.
        trajectories: (bin, extra) how many calibration trajectories had a known error there.
        monotone: whether half-widths were raised to their running maximum over lead.
        difficulty: what errors were divided by, or None for one.
        extra: (extra,) increasing coordinates of the further axis where they depend on the grid (wavenumbers in
            rad/cell), else None. Half-widths are interpolated to those of a prediction, and constant beyond the ends.
    """

    scale: Scale
    half_widths: tuple[tuple[NullIsInfinite, ...], ...]
    trajectories: tuple[tuple[int, ...], ...]
    monotone: bool
    difficulty: Difficulty | None = None
    extra: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.extra is not None and (
            len(self.extra) != len(self.half_widths[0]) or not (np.diff(self.extra) > 0).all()
        ):
            raise ValueError(f"{len(self.extra)} increasing coordinates for {len(self.half_widths[0])} half-widths")


@dataclass(frozen=True)
class Calibration:
    """Bands of a model, by quantity and lead.

    Attributes:
        level: nominal coverage.
        edges: (bin + 1,) leads; bin i holds (edges[i], edges[i + 1]].
    """

    level: float
    edges: tuple[float, ...]
    qois: dict[str, QoiBands]

    def __post_init__(self) -> None:
        bins = len(self.edges) - 1
        for own in self.qois.values():
            if len(own.half_widths) != bins or len(own.trajectories) != bins or bins < 1:
                raise ValueError(f"{len(own.half_widths)} rows of half-widths for {bins} bins")

    def bands(
        self,
        qois: Values,
        lead: ArrayLike,
        *,
        age: ArrayLike | None = None,
        groups: Values | None = None,
        extra: Values | None = None,
    ) -> Bands:
        """Bands around predictions.

        Args:
            qois: name -> predicted (batch, time) or (batch, time, extra).
            lead: (batch, time) scaled age since the model took over. At leads of 0 and less the first bin's bands are
                given; beyond the longest lead of the calibration, and where the lead is NaN, bands are infinite.
            age: (batch, time) scaled ages, where the calibration was given them.
            groups: name -> (batch,), where the calibration was given them.
            extra: name -> (extra,) coordinates of a quantity's last axis. Needed where its length is not the
                calibration's; without them it has the calibration's coordinates.

        Returns:
            name -> (low, high), float64, shaped as the prediction. NaN predictions have NaN bands.

        Raises:
            InputError: for a quantity that was not calibrated, shapes that do not fit, or missing age or groups.
        """
        unknown = sorted(set(qois) - set(self.qois))
        if unknown:
            raise InputError(f"bands: no calibration for {', '.join(unknown)}; there is one for {', '.join(self.qois)}")
        leads = float_array(lead, "lead", 2)
        bins = lead_bins(leads, self.edges)
        found = {}
        for name, values in qois.items():
            predicted = qoi_array(values, name, leads.shape)
            own = self.qois[name]
            table = _table(own, (extra or {}).get(name))
            if predicted.ndim == 3 and table.shape[1] != predicted.shape[2]:
                raise InputError(f"{name}: last axis of {table.shape[1]}, but got {predicted.shape[2]}")
            # One row more for leads beyond the calibration.
            width = np.vstack([table, np.full(table.shape[1], np.inf)])[bins]
            if own.difficulty is not None:
                width = width * own.difficulty(difficulty_columns(leads, age, groups))[:, :, None]
            found[name] = _around(predicted, width, own.scale)
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON; infinite half-widths become null."""
        data = asdict(self)
        for own in data["qois"].values():
            own["half_widths"] = [[w if math.isfinite(w) else None for w in row] for row in own["half_widths"]]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Calibration:
        """The reverse of :meth:`as_dict`; InputError if something is missing or does not fit."""
        return parsed(cls, data, "calibration")


def _table(own: QoiBands, wanted: ArrayLike | None) -> np.ndarray:
    """Half-widths (bin, extra) at the coordinates ``wanted`` (extra,), or at the calibration's own for None."""
    table = np.asarray(own.half_widths)
    if own.extra is None or wanted is None:
        return table
    known = np.asarray(own.extra)
    place = np.clip(np.asarray(wanted, dtype=np.float64), known[0], known[-1])
    left = np.clip(np.searchsorted(known, place, side="right") - 1, 0, max(0, len(known) - 2))
    right = np.minimum(left + 1, len(known) - 1)
    share = (place - known[left]) / np.maximum(known[right] - known[left], 1e-300)
    with np.errstate(invalid="ignore"):
        found = np.where(share > 0, (1 - share) * table[:, left] + share * table[:, right], table[:, left])
    # Nothing times infinity: next to a coordinate without a band there is none.
    return np.where(np.isnan(found), np.inf, found)


def comparable(qois: Values, floors: Mapping[str, np.ndarray], unit: float) -> dict[str, np.ndarray]:
    """Quantities (batch, time[, extra]) as calibrations see them: raised to their floors, absolute ones on the scale of
    the wells.

    ``floors`` are those of :meth:`surrogate.processes.LearnedProcess.band_floors`, ``unit`` that of a prediction.
    """
    found = {}
    for name, values in qois.items():
        array = np.asarray(values, dtype=np.float64)
        if name in floors:
            array = np.maximum(array, floors[name][:, None])
        found[name] = array / unit if SCALES.get(name) == "absolute" else array
    return found


def prediction_bands(
    calibration: Calibration, prediction: Prediction, qois: Values, tolerance: float, floors: Mapping[str, np.ndarray]
) -> Bands:
    """Bands of a model's prediction; the solver's first frames have the solver's tolerance, value * (1 -+ tolerance).

    Args:
        calibration: of the model.
        prediction: what it returned.
        qois: name -> (batch, time) or (batch, time, extra), of the prediction's frames.
        tolerance: of the solver before the model took over.
        floors: see :meth:`surrogate.processes.LearnedProcess.band_floors`; low ends at a floor are 0.
    """
    lead, unit = prediction.lead, prediction.unit
    known = comparable(qois, floors, unit)
    extra = {WAVENUMBERS: prediction.wavenumbers}
    found = {}
    bands = calibration.bands(known, lead, age=prediction.ages, groups=prediction.groups, extra=extra)
    for name, (low, high) in bands.items():
        values = np.asarray(qois[name], dtype=np.float64)
        if SCALES.get(name) == "absolute":
            low, high = unit * low, unit * high
        if name in floors:
            low = np.where(low <= floors[name][:, None], np.minimum(0.0, values), low)
        solved = (lead <= 0).reshape(lead.shape + (1,) * (values.ndim - 2))
        # A mean may be zero, but is kept to rounding only.
        margin = tolerance * np.abs(values)
        if SCALES.get(name) == "absolute":
            margin = np.maximum(margin, ROUNDING * unit)
        found[name] = np.where(solved, values - margin, low), np.where(solved, values + margin, high)
    return found


def lead_bins(lead: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Bin of each lead, int64: the first for leads below it too, and one past the last for longer ones and NaN."""
    slack = 1e-6 * abs(edges[-1])
    bins = np.clip(np.searchsorted(edges, lead, side="left") - 1, 0, len(edges) - 2)
    return np.where(lead <= edges[-1] + slack, bins, len(edges) - 1)


def _around(predicted: np.ndarray, width: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    if predicted.ndim == 2:
        width = width[:, :, 0]
    if scale == "absolute":
        width = np.maximum(width, ROUNDING)
        return predicted - width, predicted + width
    # A prediction without a logarithm has infinite error on this scale.
    usable = predicted > 0
    base = np.where(usable, predicted, 1.0)
    low, high = base * np.exp(-width), base * np.exp(width)
    low, high = np.where(usable, low, -np.inf), np.where(usable, high, np.inf)
    unknown = np.isnan(predicted)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def float_array(values: ArrayLike, name: str, ndim: int) -> np.ndarray:
    """``values`` as float64; InputError for another number of axes."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim:
        raise InputError(f"{name}: {ndim} axes (trajectory, time), but got shape {array.shape}")
    return array


def qoi_array(values: ArrayLike, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """``values`` as float64 (trajectory, time) or (trajectory, time, extra); InputError for another shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (2, 3) or array.shape[:2] != shape:
        raise InputError(f"{name}: (trajectory, time) = {shape} and at most one more axis, but got {array.shape}")
    return array
