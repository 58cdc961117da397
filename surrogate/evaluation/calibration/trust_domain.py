"""The trust domain of a model, from the sweeps it was trained on and the frames it is handed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from surrogate.evaluation.calibration.samples import StoreRollouts
from surrogate.processes import Limits, learned_process
from surrogate.training.data import load_trajectories
from surrogate.uncertainty.domain import SIDE, Domain, fit_domain

#: Sides of boxes, in cells: below, structures fill the box; above, nothing was ever compared.
SIDES = (32.0, 1024.0)
#: Frames of each trajectory: the first, like those that a model goes on from, and some of the later ones.
FIRST, LATER = 4, 8
#: By how many mean gaps between points a range is widened.
GAPS = 2.0
#: Share of the calibration's first frames that may be flagged.
FALSE_ALARMS = 0.005


def fit_model_domain(process: str, stores: Sequence[str | Path]) -> Domain:
    """The box of the training sweeps' groups, box sides, and what the frames look like.

    The range of each group is widened by two mean gaps of its points, since the range they were spread over is wider
    than the range found by about one: kappa by its logarithm, composition to both signs, which training treats alike.

    Raises:
        InputError: as :func:`surrogate.training.data.load_trajectories` and
            :func:`surrogate.uncertainty.domain.fit_domain`.
    """
    data, known = load_trajectories(stores, process), learned_process(process)
    rows, owners = [], []
    for trajectory, usable in enumerate(data.usable):
        frames = np.flatnonzero(usable)
        later = frames[FIRST:]
        spread = later[np.unique(np.linspace(0, len(later) - 1, min(LATER, len(later))).astype(int))]
        chosen = np.concatenate([frames[:FIRST], spread])
        if len(chosen):
            fields = torch.from_numpy(data.fields[trajectory, chosen].astype(np.float32))
            kappa = torch.full((len(chosen),), float(data.groups["kappa"][trajectory]), dtype=torch.float64)
            rows.append(known.frame_features(fields, kappa).numpy())
            owners.append(np.full(len(chosen), trajectory))
    box = {name: _widened(name, values, known.group_limits) for name, values in data.groups.items()} | {SIDE: SIDES}
    features = np.concatenate(rows)
    return fit_domain(process, {}, features, trajectory=np.concatenate(owners), box=box)


def _widened(name: str, values: np.ndarray, limits: Mapping[str, Limits]) -> tuple[float, float]:
    points = len(np.unique(values))
    if name == "composition":
        high = float(np.abs(values).max())
        most = high + GAPS * 2.0 * high / max(1, 2 * points - 1)
        return -most, most
    logarithm = name == "kappa"
    numbers = np.log(values) if logarithm else values
    margin = GAPS * np.ptp(numbers) / max(1, points - 1)
    low, high = float(numbers.min() - margin), float(numbers.max() + margin)
    if logarithm:
        low, high = float(np.exp(low)), float(np.exp(high))
    least, most = limits.get(name, (-np.inf, np.inf))
    return max(low, least), min(high, most)


def admit(domain: Domain, outcomes: Sequence[StoreRollouts]) -> Domain:
    """The domain with the frame threshold that the model's first frames in the calibration ask for.

    Those of boxes smaller than the training's lie farther out. A share of :data:`FALSE_ALARMS` of new ones is expected
    outside, by the rank of conformal prediction; where there are too few for that rank, their largest distance is taken
    if it is above the threshold there was.
    """
    if domain.frames is None:
        return domain
    features = np.concatenate([o.prediction.features[o.taken] for o in outcomes])
    distance = np.sort(domain.frames.nearest(features)[0])
    distance = distance[np.isfinite(distance)]
    if not len(distance):
        return domain
    rank = min(len(distance), int(np.ceil((1.0 - FALSE_ALARMS) * (len(distance) + 1))))
    found = float(distance[rank - 1])
    enough = FALSE_ALARMS * (len(distance) + 1) >= 1.0
    threshold = found if enough else max(domain.frames.threshold, found)
    return replace(domain, frames=replace(domain.frames, threshold=threshold))
