"""``Twin``: follows frames, estimates the material, forecasts; and says when the model does not explain the data."""

from __future__ import annotations

import contextlib
import dataclasses
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solvers.errors import InputError
from studies.twin.config import TwinConfig
from studies.twin.diagnostics.identifiability import Determined, identifiability
from studies.twin.diagnostics.model_check import ModelCheck, check_model
from studies.twin.forecast import MemberForecasts, Members, crossing_times, roll, states_of
from studies.twin.inference.estimate import TwinEstimate, estimate
from studies.twin.inference.variational import AssimilationProblem
from studies.twin.observations.frames import (
    GreyScale,
    ObservedFrames,
    camera_for,
    estimate_levels,
    estimate_noise,
    make_frames,
)
from sweeps.inputs.yaml_source import load_yaml


@dataclass(frozen=True)
class Snapshot:
    """The posterior of the parameters after some frames, for the record.

    Attributes:
        time: of the last frame.
        frames: how many there were.
        values: parameter -> float64 (member,).
        wall_s: what the update took.
        calls: trajectories of the window that were run, forward or adjoint alike.
    """

    time: float
    frames: int
    values: dict[str, np.ndarray]
    wall_s: float
    calls: int


@dataclass
class Forecast:
    """Members at later times.

    Attributes:
        times: float64 (time,).
        field: float32 (member, time, y, x), composition or phi at the model's cells.
        grey: float32 (member, time, pixel y, pixel x), what the camera would show, without noise.
        qois: name -> (member, time) or (member, time, extra).
        crossings: one entry a threshold: its text, and (member,) times, NaN where it is not passed.
        engine: what made each member.
    """

    times: np.ndarray
    field: np.ndarray
    grey: np.ndarray
    qois: dict[str, np.ndarray]
    engine: list[str]
    crossings: list[tuple[str, np.ndarray]] = dataclasses.field(default_factory=list)


class Twin:
    """A digital twin of one specimen.

    Args:
        config: the resolved file.

    Attributes:
        frames: observed so far; None before the first.
        problem: camera, priors and noise; None before the first frame.
        estimate: the posterior; None before the first frame.
        history: one snapshot an update.
    """

    def __init__(self, config: TwinConfig) -> None:
        self.config = config
        self.frames: ObservedFrames | None = None
        self.problem: AssimilationProblem | None = None
        self.estimate: TwinEstimate | None = None
        self.history: list[Snapshot] = []

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Twin:
        """A twin from a file; nothing is read of its frames yet.

        Raises:
            InputError: one line, for anything wrong in the file.
        """
        return cls(load_yaml(path, TwinConfig, overrides))

    def update(self, frame: np.ndarray, time: float) -> TwinEstimate:
        """Take in one frame and estimate anew.

        Args:
            frame: (y, x) grey values, NaN where not seen.
            time: of the frame; frames may come in any order.

        Raises:
            InputError: for a frame of another size, a time that was seen before, or a frame without a pixel.
        """
        frame = np.asarray(frame, dtype=np.float64)
        if self.frames is None:
            return self.assimilate(make_frames(np.array([time]), frame[None], "update"))
        if frame.shape != self.frames.grey.shape[1:]:
            raise InputError(f"frame: found {frame.shape} pixels, allowed {self.frames.grey.shape[1:]} as before")
        if time in self.frames.times:
            raise InputError(f"time: found {time:g} once more, allowed a time without a frame")
        make_frames(np.array([time]), frame[None], "update")
        times = np.append(self.frames.times, time)
        return self.assimilate(make_frames(times, np.concatenate([self.frames.grey, frame[None]]), "update"))

    def assimilate(self, frames: ObservedFrames) -> TwinEstimate:
        """Estimate from these frames, all of them; continues from the last estimate where they begin alike.

        Raises:
            InputError: for frames that do not fit the file.
        """
        begun = clock.perf_counter()
        problem = self.problem_for(frames)
        before = self.estimate if self._continues(frames, problem) else None
        settings = self.config.assimilation
        with one_thread():
            found = estimate(
                problem, frames, settings.members, settings.steps, settings.iterations, settings.seed, before
            )
        self.frames, self.problem, self.estimate = frames, problem, found
        values = {n: v.numpy() for n, v in problem.values(torch.from_numpy(found.posterior.z)).items()}
        values |= self._derived(found)
        took = clock.perf_counter() - begun
        self.history.append(Snapshot(float(frames.times[-1]), len(frames.times), values, took, found.calls))
        return found

    def problem_for(self, frames: ObservedFrames) -> AssimilationProblem:
        """Camera, priors, noise and levels for these frames.

        Raises:
            InputError: for frames that do not fit the file.
        """
        config, seen = self.config, self.config.observations
        height, width = frames.grey.shape[1:]
        camera = camera_for(
            (height, width), config.grid.spacing, config.grid.boundary, config.grid.shape, seen.pixel_size, seen.origin
        )
        noise = estimate_noise(frames) if isinstance(seen.noise, str) else seen.noise
        if isinstance(seen.levels, str):
            low, high, spread = estimate_levels(frames, config.process, noise)
        else:
            (low, high), spread = seen.levels, (0.0, 0.0)
        grey = GreyScale(noise, low, high, spread, not isinstance(seen.noise, str))
        priors: dict[str, object] = dict(config.parameters)
        return AssimilationProblem(config.process, camera, priors, grey, config.assimilation.model_error)

    def _continues(self, frames: ObservedFrames, problem: AssimilationProblem) -> bool:
        """Whether the last estimate's start is a start of these frames too.

        Levels and noise are estimated anew with every frame; the start is relative to its first guess, which is kept.
        """
        if self.frames is None or self.problem is None:
            return False
        return (
            frames.times[0] == self.frames.times[0]
            and len(frames.times) > len(self.frames.times)
            and problem.camera == self.problem.camera
        )

    def _derived(self, found: TwinEstimate) -> dict[str, np.ndarray]:
        """The members' mean compositions: coefficient 0 of their starts, conserved ever after."""
        if self.config.process != "cahn_hilliard":
            return {}
        return {"composition": found.posterior.starts[:, 0, 0].double().numpy()}

    def current(self) -> tuple[ObservedFrames, AssimilationProblem, TwinEstimate]:
        if self.frames is None or self.problem is None or self.estimate is None:
            raise InputError("twin: found no frame yet, allowed forecasts after the first update")
        return self.frames, self.problem, self.estimate

    def check(self) -> ModelCheck:
        """Whether the process explains the frames so far.

        Raises:
            InputError: before the first frame.
        """
        frames, problem, found = self.current()
        return check_model(problem, frames, found, self.config.assimilation.seed)

    def identifiability(self) -> list[Determined]:
        """What the frames determine.

        Raises:
            InputError: before the first frame.
        """
        _, problem, found = self.current()
        return identifiability(problem, found.posterior.z)

    def forecast_times(self) -> np.ndarray:
        """Times that the file asks for: after the last frame, every so much, until the end."""
        frames, _, _ = self.current()
        wanted, last = self.config.forecast, float(frames.times[-1])
        count = int(np.floor((wanted.until - last) / wanted.every + 1e-9))
        if count < 1:
            raise InputError(f"forecast.until: found {wanted.until:g}, allowed later than the last frame, {last:g}")
        return last + wanted.every * np.arange(1, count + 1)

    def members(self, most: int | None = None) -> Members:
        """States to go on from."""
        frames, problem, found = self.current()
        count = len(found.posterior.z) if most is None else min(most, len(found.posterior.z))
        z = torch.from_numpy(found.posterior.z[:count])
        values = {n: v.numpy() for n, v in problem.values(z).items() if n in problem.priors}
        states = states_of(found.posterior.lasts[:count], problem.camera.grid, found.fit.shape)
        return Members(
            problem.process, problem.camera.grid, found.fit.shape, states, values, found.start, float(frames.times[-1])
        )

    def forecast(self, times: Sequence[float] | np.ndarray | None = None, client: Any = None) -> Forecast:
        """What the specimen will look like.

        Args:
            times: absolute, not before the last frame; those of the file by default.
            client: a Dask client; without one, workers are started where the file asks for several.

        Raises:
            InputError: before the first frame, or for times before the last one.
        """
        _, problem, found = self.current()
        when = self.forecast_times() if times is None else np.asarray(times, dtype=np.float64)
        members = self.members(self.config.forecast.members)
        with self._client(client, len(members.states)) as running, one_thread():
            rolled = roll(members, when, self.config.engine, running)
        grey = self._grey(rolled, problem, found)
        crossings = [
            (_text(t), crossing_times(when, rolled.qois[t.qoi], *_level(t))) for t in self.config.forecast.thresholds
        ]
        return Forecast(when, rolled.field, grey, rolled.qois, rolled.engine, crossings)

    def _grey(self, rolled: MemberForecasts, problem: AssimilationProblem, found: TwinEstimate) -> np.ndarray:
        values = problem.values(torch.from_numpy(found.posterior.z[: len(rolled.field)]))
        return problem.to_grey(problem.camera.view(torch.from_numpy(rolled.field)), values).numpy()

    @contextlib.contextmanager
    def _client(self, client: Any, tasks: int) -> Iterator[Any]:
        cluster = self.config.cluster
        if client is not None or (cluster.kind == "local" and cluster.workers == 1):
            yield client
            return
        from sweeps.cluster.client import open_client

        with open_client(cluster, tasks) as started:
            yield started


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside: these arrays are small, and on a busy machine threads wait for each other spinning.

    The sums, and with them a restarted twin's posterior, then do not depend on the number of cores either.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _level(threshold: Any) -> tuple[float, bool]:
    return (threshold.above, True) if threshold.above is not None else (threshold.below, False)


def _text(threshold: Any) -> str:
    level, upward = _level(threshold)
    return f"{threshold.qoi} {'above' if upward else 'below'} {level:g}"
