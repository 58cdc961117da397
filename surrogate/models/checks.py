"""Can a model run a sweep? Answered from its files alone, without torch, so that ``lint`` and ``plan`` are quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from solvers.errors import InputError
from surrogate.engine_kinds import SurrogateBlock
from surrogate.models.files import folder_of, read_about, read_weights

if TYPE_CHECKING:
    from sweeps.config.sweep import SweepConfig


def check_surrogate(config: SweepConfig) -> None:
    """Refuse a model before anything is written.

    Raises:
        InputError: for a model that is not there, damaged, of another process, without calibrated bands, or that
            cannot take the sweep's grid.
    """
    block = config.engine
    assert isinstance(block, SurrogateBlock)
    try:
        folder = folder_of(block.model)
        about = read_about(folder)
        name = about["name"]
        if about["kind"] != "jump":
            raise InputError(f"model {name}: found a network of kind {about['kind']}, allowed one of kind jump")
        read_weights(folder, about)
        if config.process != about["process"]:
            raise InputError(f"model {name}: found a problem of {config.process}, allowed {about['process']}")
        check_cells(name, about["settings"], config.grid.shape, config.grid.boundary)
        if not about.get("calibration"):
            raise InputError(
                f"model {name}: has no calibrated bands; `phasetwin evaluate {block.model} --calibrate` makes them"
            )
    except InputError as error:
        raise InputError(f"engine.model: {error}") from None


def check_cells(name: str, settings: Mapping[str, int], shape: tuple[int, ...], boundary: str) -> None:
    """Refuse a grid that a jump network cannot take.

    Args:
        name: of the model.
        settings: of its network, ``patch`` and ``kernel`` among them.
        shape: cells of the grid.
        boundary: of the grid; a no-flux box is extended to twice its cells.

    Raises:
        InputError: saying what is allowed.
    """
    patch = settings["patch"]
    least = patch * max(1, settings["kernel"] // 2)
    sides = shape if boundary == "periodic" else tuple(2 * n for n in shape)
    if len(sides) != 2 or any(n % patch or n < least for n in sides):
        raise InputError(
            f"model {name}: found a grid of {' x '.join(map(str, shape))} cells, "
            f"allowed two axes with multiples of {patch}, {least} or more"
        )
