"""The paper's network as a model: ten equally spaced images in, later ones out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from solvers.errors import InputError
from solvers.processes.base import Problem
from surrogate.models.protocol import check_process, filled
from surrogate.networks.gsta import PATCH, GstaNet, GstaSettings, frames_after
from surrogate.processes import learned_process
from surrogate.uncertainty.bands import Calibration


class GstaSurrogate:
    """A :class:`~surrogate.networks.gsta.GstaNet`; see :class:`surrogate.models.protocol.Surrogate`.

    It knows neither parameters nor time: it goes on in the spacing of the frames it is given, and its mobility, kappa
    and composition are those of its training data. ``about`` is ``model.json``.

    Raises:
        InputError: for weights that do not fit the network's shape.
    """

    kind = "gsta"
    #: It has no rollout from a start, so there is nothing to put bands around.
    calibration: Calibration | None = None

    def __init__(self, about: dict[str, Any], tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        self.about = about
        self.name, self.process = str(about["name"]), str(about["process"])
        self.sha256 = str(about["weights_sha256"])
        self._known = learned_process(self.process)
        self.settings = GstaSettings(**about["settings"])
        self.spacing = float(about["clips"]["spacing"])
        self.net = filled(GstaNet(self.settings), tensors, self.name).to(device)
        self.device = device

    def check(self, problem: Problem) -> None:
        check_process(self, problem)
        if problem.grid.ndim != 2 or any(n % PATCH for n in problem.grid.shape):
            raise InputError(
                f"model {self.name}: found a grid of {' x '.join(map(str, problem.grid.shape))} cells, "
                f"allowed two axes with multiples of {PATCH}"
            )

    @torch.inference_mode()
    def forecast(
        self, problem: Problem, frames: torch.Tensor, frame_times: np.ndarray, times: np.ndarray
    ) -> torch.Tensor:
        """See :class:`surrogate.models.protocol.Surrogate`; needs ten frames, and times that go on in their spacing.

        Raises:
            InputError: for another number of frames, or times off that spacing or off the one it was trained at.
        """
        self.check(problem)
        known, count = self._known, self.settings.frames
        given, later = np.asarray(frame_times, dtype=np.float64), np.asarray(times, dtype=np.float64)
        if frames.shape[1] < count:
            raise InputError(f"model {self.name}: found {frames.shape[1]} frames, allowed at least {count}")
        step = given[-1] - given[-2]
        expected = given[-1] + step * np.arange(1, len(later) + 1)
        even = np.allclose(np.diff(given[-count:]), step, rtol=1e-3)
        if not even or not np.allclose(later, expected, rtol=1e-3, atol=1e-3 * step):
            raise InputError(f"model {self.name}: frames and times must be equally spaced, by one spacing")
        rate = known.age_rate(problem, len(frames))
        if not np.allclose(step * rate, self.spacing, rtol=0.05):
            raise InputError(
                f"model {self.name}: found frames {float((step * rate).mean()):.3g} apart in scaled age, "
                f"allowed {self.spacing:g}, the spacing it was trained at"
            )
        last = known.to_network(problem, frames[:, -count:].float().to(self.device))
        forecast = frames_after(self.net, known.to_image(last))
        images = torch.stack([next(forecast) for _ in later], dim=1).cpu()
        return known.from_network(problem, known.from_image(images))
