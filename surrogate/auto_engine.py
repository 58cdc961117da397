"""``engine: auto``: the cheapest engine that was measured to meet the tolerance, on this machine.

The table of measurements is :mod:`surrogate.evaluation.frontier`'s. What was chosen stands in the plan, in the place of
``auto``, and in the store, with the reason: a sweep that is run again goes on with it, whatever has been measured
since.
"""

from __future__ import annotations

import json
from typing import Any

from solvers.errors import InputError
from solvers.registries import resolve
from surrogate.engine_kinds import AutoBlock
from surrogate.evaluation.frontier.choice import auto_choice
from sweeps.config.parameters import extremes
from sweeps.config.sweep import SweepConfig
from sweeps.engines.registry import ENGINES, EngineChoice
from sweeps.store.store import Store


def choose(config: SweepConfig) -> tuple[SweepConfig, EngineChoice]:
    """The sweep with an engine in the place of ``auto``, and why that one.

    Raises:
        InputError: where the table cannot be measured.
    """
    block = config.engine
    assert isinstance(block, AutoBlock)
    requested = {**block.model_dump(mode="json"), "of": "statistics" if config.output.retain == "qoi" else "fields"}
    choice = _stored(config, requested) or _measured(config, block, requested)
    engine = resolve(ENGINES[choice.engine["kind"]].block)(**choice.engine)
    return config.model_copy(update={"engine": engine}), choice


def _stored(config: SweepConfig, requested: dict[str, Any]) -> EngineChoice | None:
    """What a store that is already there was made with, if the file still asks for the same."""
    try:
        store = Store.find(config.output.path)
    except InputError:
        return None  # opening it to write raises what is wrong with it
    text = store.attributes.get("engine_choice") if store is not None else None
    choice = EngineChoice(**json.loads(str(text))) if text else None
    return choice if choice and choice.requested == requested else None


def _measured(config: SweepConfig, block: AutoBlock, requested: dict[str, Any]) -> EngineChoice:
    found = auto_choice(
        config.process,
        config.grid.shape,
        contrast=_largest(config, "mobility_contrast"),
        tolerance=block.tolerance,
        of=requested["of"],
    )
    solver = {"kind": "solver", "tolerance": block.tolerance, "dtype": block.dtype, "device": block.device}
    if found.model is None:
        return EngineChoice(requested, solver, found.reason, found.measured)
    engine = {"kind": "surrogate", "model": found.model, "device": block.device, "outside": solver}
    return EngineChoice(requested, engine, found.reason, found.measured)


def _largest(config: SweepConfig, name: str) -> float:
    """Of a parameter over the design, as the file has it; 0 where it is left out or in a table."""
    spec = config.parameters.get(name)
    return max((value for value, _ in extremes(spec)), default=0.0) if spec is not None else 0.0
