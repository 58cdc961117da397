"""``Twin``: follows frames, estimates the material, forecasts, and checks whether the model explains the frames."""

from __future__ import annotations

import contextlib
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from solvers.errors import InputError
from solvers.grids.spectral_basis import basis_for
from solvers.torch_threads import torch_threads
from studies.twin.config import TwinConfig
from studies.twin.diagnostics.determined_part import DeterminedPart, determined_part
from studies.twin.diagnostics.identifiability import Determined, identifiability
from studies.twin.diagnostics.model_check import ModelCheck, check_model
from studies.twin.diagnostics.scores import ForecastScore, errors_of
from studies.twin.forecast import MemberForecasts, crossing_times, forecast_members
from studies.twin.inference.estimate import TwinEstimate, estimate, levels_by_dynamics
from studies.twin.inference.variational import AssimilationProblem
from studies.twin.model.process_model import Members
from studies.twin.observations.boundaries import told_boundary
from studies.twin.observations.frames import (
    GreyScale,
    ObservedFrames,
    camera_for,
    estimate_levels,
    estimate_noise,
    make_frames,
    open_camera,
    wavelength,
)
from studies.twin.processes import twin_process
from studies.twin.quantiles import quantiles
from sweeps.cluster.client import open_client
from sweeps.config.cluster import LocalCluster
from sweeps.config.cluster_kinds import CLUSTERS
from sweeps.inputs.yaml_source import load_yaml
from sweeps.store.layout import OVER_TOLERANCE

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Snapshot:
    """The posterior of the parameters after some frames."""

    time: float  #: of the last frame
    frames: int  #: how many there were
    values: dict[str, np.ndarray]  #: parameter -> float64 (member,)
    wall_s: float  #: duration of the update
    calls: int  #: trajectories of the window that were run, forward or adjoint alike


@dataclass
class Forecast:
    """Members at later times."""

    times: np.ndarray  #: float64 (time,)
    field: np.ndarray  #: float32 (member, time, y, x), the process's field at the model's cells
    grey: np.ndarray  #: float32 (member, time, pixel y, pixel x), as a frame would show it, without noise
    qois: dict[str, np.ndarray]  #: name -> (member, time) or (member, time, extra)
    engine: list[str]  #: what made each member
    #: one entry a threshold: its text, and (member,) times, NaN where it is not passed
    crossings: list[tuple[str, np.ndarray]]
    determined: DeterminedPart  #: what the members determine of the window

    def crossing_lines(self) -> list[str]:
        """One line a threshold: when it is passed, and how many members may be off by more than the tolerance."""
        lines, over = [], sum(OVER_TOLERANCE in name for name in self.engine)
        doubt = f"; {over} of {len(self.engine)} members may exceed the solver's tolerance" if over else ""
        for text, times in self.crossings:
            passed = np.isfinite(times)
            line = f"{text}: not before {self.times[-1]:g}"
            if passed.any():
                low, middle, high = quantiles(times[passed])
                line = f"{text}: at {middle:.4g} ({low:.4g} to {high:.4g}) in {passed.mean():.0%} of the members"
            lines.append(line + doubt)
        return lines


class Twin:
    """A digital twin of one specimen, as its file ``config`` says; before the first frame, results raise InputError."""

    def __init__(self, config: TwinConfig) -> None:
        self.config = config
        self.process = twin_process(config.process)
        self.frames: ObservedFrames | None = None
        self.problem: AssimilationProblem | None = None
        self.estimate: TwinEstimate | None = None
        self.history: list[Snapshot] = []  #: one an update
        self.scores: list[ForecastScore] = []  #: one a frame that came later than all before it

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Twin:
        """A twin from a file; nothing is read of its frames yet. InputError, in one line, for anything wrong in it."""
        return cls(load_yaml(path, TwinConfig, overrides))

    def update(self, frame: np.ndarray, time: float) -> TwinEstimate:
        """Take in one frame (y, x) of grey values, NaN where not seen, and estimate anew; frames may come in any order.

        A frame later than all before it is compared with what was forecast of it first: the last of ``scores``.

        Raises:
            InputError: for a frame of another size, a time that was seen before, or a frame without a pixel.
        """
        frame = np.asarray(frame, dtype=np.float64)
        alone = make_frames(np.array([time]), frame[None], "update")
        if self.frames is None:
            return self.assimilate(alone)
        if frame.shape != self.frames.grey.shape[1:]:
            raise InputError(f"frame: found {frame.shape} pixels, allowed {self.frames.grey.shape[1:]} as before")
        if time in self.frames.times:
            raise InputError(f"time: found {time:g} once more, allowed a time without a frame")
        scores = [self.score(frame, time)] if time > self.frames.times[-1] else []
        times = np.append(self.frames.times, time)
        found = self.assimilate(make_frames(times, np.concatenate([self.frames.grey, frame[None]]), "update"))
        self.scores += scores
        return found

    def assimilate(self, frames: ObservedFrames) -> TwinEstimate:
        """Estimate from these frames, all of them; continues from the last estimate where they begin alike.

        Raises InputError for frames that do not fit the file.
        """
        begun = clock.perf_counter()
        problem = self.problem_for(frames)
        before = self.estimate if self._continues(frames, problem) else None
        settings = self.config.assimilation
        # Several are slower for arrays this small, and sums, and with them a restarted twin's posterior, would depend
        # on the number of cores.
        with torch_threads(1):
            found = estimate(
                problem, frames, settings.members, settings.steps, settings.iterations, settings.seed, before
            )
        self.frames, self.problem, self.estimate = frames, problem, found
        values = {n: v.numpy() for n, v in problem.values(torch.from_numpy(found.posterior.z)).items()}
        if self.process.conserves_mean:
            # Coefficient 0 of a start is its mean.
            values["composition"] = found.posterior.starts[:, 0, 0].double().numpy()
        took = clock.perf_counter() - begun
        self.history.append(Snapshot(float(frames.times[-1]), len(frames.times), values, took, found.calls))
        return found

    def problem_for(self, frames: ObservedFrames) -> AssimilationProblem:
        """Camera, priors, noise and levels for these frames. Raises InputError where they do not fit the file."""
        config, seen = self.config, self.config.observations
        noise = estimate_noise(frames) if isinstance(seen.noise, str) else seen.noise
        if isinstance(seen.levels, str):
            grey = levels_by_dynamics(frames, self.process, estimate_levels(frames, self.process, noise))
        else:
            grey = GreyScale(noise, *seen.levels)
        height, width = frames.grey.shape[1:]
        spacing, boundary, pixel = config.grid.spacing, config.grid.boundary, seen.pixel_size
        told = told_boundary(frames, noise) if boundary == "open" else boundary
        if told is None:
            camera = open_camera(frames, spacing, pixel)
        else:
            camera = camera_for((height, width), spacing, told, config.grid.shape, pixel, seen.origin)
        return AssimilationProblem(self.process, camera, config.parameters, grey, config.assimilation.model_error)

    def _continues(self, frames: ObservedFrames, problem: AssimilationProblem) -> bool:
        """Whether the last estimate's start is a start of these frames too.

        Levels and noise are estimated anew with every frame; the first guess of the start is kept.
        """
        if self.frames is None or self.problem is None or problem.camera != self.problem.camera:
            return False
        return bool(frames.times[0] == self.frames.times[0]) and len(frames.times) > len(self.frames.times)

    def current(self) -> tuple[ObservedFrames, AssimilationProblem, TwinEstimate]:
        """The frames so far, the estimation problem, and the estimate."""
        if self.frames is None or self.problem is None or self.estimate is None:
            raise InputError("twin: found no frame yet, allowed forecasts after the first update")
        return self.frames, self.problem, self.estimate

    def box(self) -> str:
        """The model's box, and why, in words."""
        _, problem, _ = self.current()
        camera, asked = problem.camera, self.config.grid.boundary
        if camera.open:
            cells = camera.origin[0]
            return f"a window of a larger specimen, with a margin of {cells} cells around it"
        name = camera.grid.boundary.replace("_", "-")
        return f"{name}, as the frames meet their edges" if asked == "open" else f"{name}, as the file says"

    def wavelength(self) -> float:
        """Mean wavelength (cells) of the microstructure in the last frame."""
        _, problem, found = self.current()
        return problem.camera.block * wavelength(found.fit.predicted[-1])

    def check(self) -> ModelCheck:
        """Whether the process explains the frames so far."""
        frames, problem, found = self.current()
        return check_model(problem, frames, found, self.config.assimilation.seed)

    def identifiability(self) -> list[Determined]:
        """What the frames determine."""
        _, problem, found = self.current()
        return identifiability(problem, found.posterior.z)

    def score(self, frame: np.ndarray, time: float) -> ForecastScore:
        """How a later frame (y, x) compares with what is forecast of it from the frames so far."""
        frames, problem, found = self.current()
        # In this process: workers would take longer to start.
        with torch_threads(1):
            made = forecast_members(self.members(self.config.forecast.members), np.array([time]), self.config.engine)
        last = found.posterior.predicted[:, -1].double().numpy().mean(0)
        rmse, persistence, inside = errors_of(self._as_grey(made)[:, 0], last, np.asarray(frame), problem.sigma)
        known = float(self._determined(np.array([time]), made).share[0])
        count, since = len(frames.times), float(frames.times[-1])
        return ForecastScore(time, since, count, problem.grey.noise, rmse, persistence, inside, known)

    def forecast_times(self) -> np.ndarray:
        """Times of the file's forecast, later than the last frame."""
        frames, _, _ = self.current()
        wanted, last = self.config.forecast, float(frames.times[-1])
        count = int(np.floor((wanted.until - last) / wanted.every + 1e-9))
        if count < 1:
            raise InputError(f"forecast.until: found {wanted.until:g}, allowed later than the last frame, {last:g}")
        return last + wanted.every * np.arange(1, count + 1)

    def members(self, most: int | None = None) -> Members:
        """States to go on from, of ``most`` members."""
        frames, problem, found = self.current()
        count = len(found.posterior.z) if most is None else min(most, len(found.posterior.z))
        z = torch.from_numpy(found.posterior.z[:count])
        values = {n: v.numpy() for n, v in problem.values(z).items() if n in problem.priors}
        grid, lasts, shape = problem.camera.grid, found.posterior.lasts[:count], tuple(found.fit.shape)
        states = basis_for(grid, lasts.dtype, "cpu", shape).inverse(lasts)
        return Members(problem.process, grid, shape, states, values, found.start, float(frames.times[-1]))

    def forecast(self, times: Sequence[float] | np.ndarray | None = None, client: Client | None = None) -> Forecast:
        """The members at later times.

        Args:
            times: absolute, not before the last frame; those of the file by default.
            client: a Dask client; without one, workers are started where the file asks for several.
        """
        when = self.forecast_times() if times is None else np.asarray(times, dtype=np.float64)
        members = self.members(self.config.forecast.members)
        with self._client(client, len(members.states)) as running, torch_threads(1):
            made = forecast_members(members, when, self.config.engine, running)
        crossings = [
            (t.text, crossing_times(when, made.qois[t.qoi], t.level, upward=t.above is not None))
            for t in self.config.forecast.thresholds
        ]
        part = self._determined(when, made)
        return Forecast(when, made.field, self._as_grey(made), made.qois, made.engine, crossings, part)

    def _as_grey(self, made: MemberForecasts) -> np.ndarray:
        """Float32 (member, time, pixel y, pixel x), as frames would show it, without noise."""
        _, problem, found = self.current()
        values = problem.values(torch.from_numpy(found.posterior.z[: len(made.field)]))
        return problem.to_grey(problem.camera.view(torch.from_numpy(made.field)), values).numpy()

    def _determined(self, times: np.ndarray, made: MemberForecasts) -> DeterminedPart:
        return determined_part(times, made.field, self.current()[1].camera.window, self.wavelength())

    def _client(self, client: Client | None, tasks: int) -> contextlib.AbstractContextManager[Client | None]:
        cluster = self.config.cluster
        kind = CLUSTERS.get(cluster.kind)
        # What is left open is done here: a forecast's members take less than workers take to start.
        here = (
            kind.in_process or kind.choose is not None or (isinstance(cluster, LocalCluster) and cluster.workers == 1)
        )
        return contextlib.nullcontext(client) if client is not None or here else open_client(cluster, tasks)
