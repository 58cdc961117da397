"""Where a model may be trusted: a box of dimensionless groups, and frames like those it was trained on.

The distance of a frame is that of its features (:meth:`surrogate.processes.LearnedProcess.frame_features`) from the
nearest of some training frames, in the metric of the features' covariance (Mahalanobis 1936). One ellipsoid around all
training frames
would not do: from fine structures to coarse ones they lie along a curve. What is far is decided by training frames
whose trajectories are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from solvers.errors import InputError
from surrogate.processes import LEARNED_PROCESSES, AnyProcess, learned_process
from surrogate.uncertainty.descriptions import parsed

REFERENCES = 400
FOLDS = 4
#: Share of the training frames that must be inside when their trajectories are left out. Fewer false alarms come of it,
#: since then there are more trajectories to be near to.
QUANTILE = 0.995
#: Values on an edge of the box are inside, whatever their last digits.
ROUNDING = 1e-6
#: Group of a box's size, see :meth:`Domain.side_of`.
SIDE = "side"


@dataclass(frozen=True)
class FrameDomain:
    """Frames like those of the training.

    Attributes:
        names: of the features.
        centre: (feature,), subtracted first.
        whitening: (feature, feature), which makes the covariance of the training frames the identity.
        references: (frame, feature) whitened features of training frames.
        threshold: largest distance from the nearest of them.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    references: tuple[tuple[float, ...], ...]
    threshold: float

    def __post_init__(self) -> None:
        size = len(self.names)
        if len(self.centre) != size or {len(row) for row in self.whitening} != {size} or len(self.whitening) != size:
            raise ValueError(f"centre and whitening of {size} features")
        if {len(row) for row in self.references} != {size}:
            raise ValueError(f"references of {size} features")

    def nearest(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance (batch,) of features (batch, feature) from the nearest reference, infinite for features that are not
        finite, and its number (batch,)."""
        white = (np.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0) - self.centre) @ np.asarray(self.whitening)
        references = np.asarray(self.references)
        square = (white**2).sum(1)[:, None] + (references**2).sum(1)[None, :] - 2 * white @ references.T
        number = square.argmin(1)
        distance = np.sqrt(np.maximum(square[np.arange(len(white)), number], 0.0))
        return np.where(np.isfinite(features).all(1), distance, np.inf), number

    def reason(self, features: np.ndarray, distance: float, number: int) -> str:
        """Why a frame is outside, with the feature (of (feature,)) farthest from its reference, in training spreads."""
        if not np.isfinite(distance):
            return "frame not finite, allowed finite values"
        whitening = np.asarray(self.whitening)
        raw = np.linalg.solve(whitening.T, np.asarray(self.references[number])) + self.centre
        spread = np.sqrt(np.diag(np.linalg.inv(whitening @ whitening.T)))
        which = int(np.argmax(np.abs(features - raw) / spread))
        found = f"{self.names[which]} {features[which]:.4g}"
        return f"frame {distance:.3g} from the nearest training frame, allowed {self.threshold:.3g} ({found})"


@dataclass(frozen=True)
class Domain:
    """Where a model may be trusted: ``box``, group -> lowest and highest value, both allowed; and ``frames`` like those
    of the training, or None for no such condition."""

    process: str
    box: dict[str, tuple[float, float]]
    frames: FrameDomain | None = None

    def __post_init__(self) -> None:
        if self.process not in LEARNED_PROCESSES or not self.box:
            raise ValueError(f"process {self.process!r}, {len(self.box)} groups")

    def inside(self, groups: Mapping[str, ArrayLike], features: ArrayLike | None = None) -> np.ndarray:
        """bool (batch,): whether samples are in the domain.

        Args:
            groups: name -> (batch,), all that the box has. A NaN is outside.
            features: (batch, feature) of the frames a forecast starts from; None looks at the groups alone.

        Raises:
            InputError: for other groups than the box's, or shapes that do not fit.
        """
        return np.array([not reason for reason in self.reasons(groups, features)])

    def side_of(self, shape: Sequence[int]) -> float:
        """The group :data:`SIDE` of a box: its shortest side where that is too short, otherwise its longest.

        ``shape``: cells along each axis, of the even extension for a no-flux box.
        """
        low, _ = self.box.get(SIDE, (0.0, np.inf))
        return float(min(shape) if min(shape) < low else max(shape))

    def reasons(self, groups: Mapping[str, ArrayLike], features: ArrayLike | None = None) -> list[str]:
        """Why samples are outside: one line each, empty for those inside. Arguments and Raises as :meth:`inside`."""
        values = self._checked(groups)
        batch = len(next(iter(values.values())))
        lines: list[list[str]] = [[] for _ in range(batch)]
        for name, value in values.items():
            low, high = self.box[name]
            slack = ROUNDING * max(abs(low), abs(high), high - low)
            for i in np.flatnonzero(~((value >= low - slack) & (value <= high + slack))):
                lines[i].append(f"{name} {value[i]:.4g}, allowed {low:.4g} to {high:.4g}")
        if features is not None and self.frames is not None:
            rows = np.asarray(features, dtype=np.float64)
            if rows.shape != (batch, len(self.frames.names)):
                expected = (batch, len(self.frames.names))
                raise InputError(f"domain: features of shape {expected}, but got {rows.shape}")
            distance, number = self.frames.nearest(rows)
            for i in np.flatnonzero(distance > self.frames.threshold):
                lines[i].append(self.frames.reason(rows[i], float(distance[i]), int(number[i])))
        return ["; ".join(line) for line in lines]

    def _checked(self, groups: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        if set(groups) != set(self.box):
            raise InputError(f"domain: groups {', '.join(self.box)}, but got {', '.join(groups) or 'none'}")
        values = {name: np.asarray(groups[name], dtype=np.float64) for name in self.box}
        shapes = {v.shape for v in values.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise InputError(f"domain: groups of one shape (batch,), but got {sorted(shapes)}")
        return values

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Domain:
        """The reverse of :meth:`as_dict`; InputError if something is missing or does not fit."""
        return parsed(cls, data, "domain")


def read_domain(process: str, data: Mapping[str, Any]) -> Domain:
    """The domain in a model's description: what :meth:`Domain.as_dict` wrote, or a plain box by name of the group.

    A plain box is what training leaves behind. Its range of ages is no limit: the bands limit how long a
    forecast may be, as they are infinite beyond the leads that were calibrated.

    Raises:
        InputError: for anything else, or a group that models of the process do not know.
    """
    known = (*learned_process(process).groups, SIDE)
    if not data:
        raise InputError(f"domain: groups among {', '.join(known)} of {process}, but got none")
    if "box" in data:
        domain = Domain.from_dict(data)
    else:
        try:
            limits = {str(n): (float(low), float(high)) for n, (low, high) in data.items() if n != "age"}
            domain = Domain(process, limits)
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"domain: expected name: [low, high], but found {error!r}") from None
    foreign = [n for n in domain.box if n not in known]
    if domain.process != process or foreign:
        found = f"{', '.join(domain.box)} of {domain.process}"
        raise InputError(f"domain: groups among {', '.join(known)} of {process}, but got {found}")
    return domain


def _tuples(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def fit_domain(
    process: str,
    groups: Mapping[str, ArrayLike],
    features: ArrayLike | None = None,
    *,
    trajectory: ArrayLike | None = None,
    box: Mapping[str, tuple[float, float]] | None = None,
) -> Domain:
    """The domain of a training set.

    Args:
        groups: name -> (frame,) groups of the training frames. The box is their range: of n values drawn at random, a
            new one lies outside with probability 2 / (n + 1).
        features: (frame, feature) of the training frames, all finite; None makes a box alone.
        trajectory: (frame,) which trajectory each is of, with ``features``.
        box: ranges known from the design of the training set, in place of the range found; may name more groups.

    Raises:
        InputError: for shapes that do not fit, features that are not finite, or fewer than 4 trajectories.
    """
    known_process = learned_process(process)
    ranges: dict[str, tuple[float, float]] = {}
    for name in [*groups, *(n for n in box or {} if n not in groups)]:
        known = (box or {}).get(name)
        values = np.asarray(known if known is not None else groups[name], dtype=np.float64).reshape(-1)
        low, high = (values[0], values[-1]) if known is not None else (values.min(), values.max())
        if not (np.isfinite([low, high]).all() and low <= high):
            raise InputError(f"domain: {name} with finite low <= high, but got {low:g} and {high:g}")
        ranges[name] = (float(low), float(high))
    frames = None if features is None else _fit_frames(known_process, features, trajectory)
    return Domain(process, ranges, frames)


def _fit_frames(process: AnyProcess, features: ArrayLike, trajectory: ArrayLike | None) -> FrameDomain:
    rows = np.asarray(features, dtype=np.float64)
    names, floors = process.features, process.feature_floors
    owner = np.asarray(trajectory)
    if rows.ndim != 2 or rows.shape[1] != len(names) or owner.shape != rows.shape[:1]:
        shapes = f"{rows.shape} and {owner.shape}"
        raise InputError(f"fit_domain: features (frame, {len(names)}) and trajectory (frame,), but got {shapes}")
    if not np.isfinite(rows).all():
        raise InputError(f"fit_domain: finite features, but {(~np.isfinite(rows).all(1)).sum()} frames have others")
    draw = np.random.default_rng(0)
    trajectories = draw.permutation(np.unique(owner))
    if len(trajectories) < FOLDS:
        raise InputError(f"fit_domain: at least {FOLDS} trajectories, but got {len(trajectories)}")
    distances = np.empty(len(rows))
    for left_out in range(FOLDS):
        inside = np.isin(owner, trajectories[left_out::FOLDS])
        distances[inside] = _references(names, rows[~inside], floors, draw).nearest(rows[inside])[0]
    # The rank that holds for a new frame too, as in conformal prediction; with few frames the largest distance.
    rank = min(len(rows), int(np.ceil(QUANTILE * (len(rows) + 1))))
    found = _references(names, rows, floors, draw)
    return replace(found, threshold=float(np.sort(distances)[rank - 1]))


def _references(
    names: tuple[str, ...], rows: np.ndarray, floors: tuple[float, ...], draw: np.random.Generator
) -> FrameDomain:
    """Some of the frames (frame, feature) as references, in the metric of them all; no threshold yet."""
    centre = rows.mean(0)
    covariance = np.cov(rows.T, bias=True) + np.diag(np.square(floors))
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
    white = (rows - centre) @ whitening
    # Rounding keeps model files small.
    references = white[_spread_out(white, draw)].round(4)
    return FrameDomain(names, tuple(centre.tolist()), _tuples(whitening), _tuples(references), np.inf)


def _spread_out(points: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Numbers of :data:`REFERENCES` points, each the farthest from those before it (Gonzalez 1985,
    doi:10.1016/0304-3975(85)90224-5): rare frames, such as the first ones, are as near to a reference as common ones.
    """
    chosen = [int(draw.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    for _ in range(min(REFERENCES, len(points)) - 1):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(distance.argmax()))
    return np.asarray(chosen)
