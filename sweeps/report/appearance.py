"""How processes, parameters and quantities are named and drawn: as registered, or else as well as their names allow.

A store may be of a process, or hold quantities, that are not installed where it is read. Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from solvers.processes.registry import PROCESSES, Appearance, ParameterInfo
from solvers.qois.quantities import QUANTITIES

OWN_QUANTITIES = frozenset(qoi.name for qoi in QUANTITIES)


def appearance_of(process: str) -> Appearance:
    return PROCESSES[process].appearance if process in PROCESSES else Appearance(title=process.replace("_", " "))


def colour_limits(process: str, options: Mapping[str, Any]) -> tuple[float, float]:
    """Values of the field at both ends of its colours, with some options of the file, such as ``well``."""
    return PROCESSES[process].phase_values(options) if process in PROCESSES else appearance_of(process).limits


def parameter_info(process: str, name: str) -> ParameterInfo:
    known = PROCESSES[process].parameters if process in PROCESSES else ()
    plain = name.replace("_", " ")
    return next((p for p in known if p.name == name), ParameterInfo(name, plain, plain, label=plain))


def parameter_order(process: str, names: Iterable[str]) -> list[str]:
    """Names of parameters, those of the process first, in its order."""
    known = list(PROCESSES[process].parameter_names) if process in PROCESSES else []
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def shown_quantities(wanted: Sequence[str], there: Sequence[str]) -> list[str]:
    """Those ``wanted`` that are there and all of other packages; where that leaves none, all that are there."""
    shown = [name for name in wanted if name in there]
    return shown + [n for n in there if n not in OWN_QUANTITIES and n not in shown] or list(there)


def number(value: float, digits: int = 3) -> str:
    """A number for people: few digits, a true minus sign."""
    return f"{value:.{digits}g}".replace("-", "−", 1) if value < 0 else f"{value:.{digits}g}"
