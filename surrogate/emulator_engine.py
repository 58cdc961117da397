"""The emulator as an engine of sweeps: statistics of finished sweeps at other parameters, with bands and trust."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import InputError
from solvers.processes.registry import process_named
from surrogate.emulator.emulator import Emulator
from surrogate.engine_kinds import EmulatorBlock
from surrogate.setting import Setting
from sweeps.engines.protocol import Answer, Request, named_bands

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig


@dataclass(frozen=True)
class EmulatorEngine:
    """Statistics of finished sweeps at other parameters, in the units of the sweep's ``setting``.

    ``start`` holds numbers of the random start, such as its amplitude; ``name`` is stored with every sample.
    """

    emulator: Emulator
    setting: Setting
    start: dict[str, float]
    name: str
    device: str = "cpu"

    def answer(self, request: Request) -> Answer:
        batch = len(request.times)
        known = {n: v.numpy() for n, v in request.samples.items()} | self.start
        parameters = {n: v for n, v in known.items() if n in self.emulator.parameter_groups} | {"mobility": 1.0}
        found = self.emulator.predict(
            {n: np.broadcast_to(np.asarray(v, dtype=np.float64), (batch,)) for n, v in parameters.items()},
            request.times.double().numpy(),
            setting=self.setting,
        )
        values = found.mean | named_bands({name: (found.low[name], found.high[name]) for name in found.mean})
        finite = np.isfinite(found.mean["free_energy"])
        return Answer(values, {}, finite, np.ones_like(finite), found.trust.copy(), list(found.reasons))


def emulator_engine(config: SweepConfig) -> EmulatorEngine:
    """The emulator of a sweep.

    Raises:
        InputError: for an emulator that is not there, damaged, or of another process, box or kind of start, or one
            without some of the sweep's parameters or quantities.
    """
    block = config.engine
    assert isinstance(block, EmulatorBlock)
    try:
        emulator = _load_emulator(block.model)
        setting = Setting.from_config(config.model_dump(mode="json"))
        if not setting.same_curves(emulator.setting):
            own = emulator.setting
            raise InputError(
                f"emulator {block.model}: found {setting.process}, {setting.shape} cells, {setting.boundary}, start "
                f"{setting.start}, allowed {own.process}, {own.shape} cells, {own.boundary}, start {own.start}"
            )
        missing = [name for name in process_named(config.process).quantities if name not in emulator.fits]
        if missing:
            raise InputError(f"emulator {block.model}: has not learned {', '.join(missing)}")
    except InputError as error:
        raise InputError(f"engine.model: {error}") from None
    numbers = config.initial.model_dump()
    start = {n: float(numbers[n]) for n in setting.learned.parameter_groups if numbers.get(n) is not None}
    return EmulatorEngine(emulator, setting, start, f"emulator {block.model}")


@lru_cache(maxsize=4)
def _load_emulator(folder: str) -> Emulator:
    return Emulator.load(folder)
