"""Plain numpy ETDRK: what a page of code reaches."""

from __future__ import annotations

from itertools import product

from peers_bench.contender import Contender, Setting, Solver
from peers_bench.problem import NumpyEtdrk


def _build(setting: Setting) -> Solver:
    return NumpyEtdrk(int(setting["cells"]), int(setting["steps"]), int(setting["order"]))


_STEPS = {2: (206, 212, 218, 225, 250, 300, 400, 500), 4: (160, 170, 180, 190, 200, 250, 300)}
_SETTINGS: tuple[Setting, ...] = tuple(
    {"order": order, "cells": cells, "steps": count}
    for order, cells in product((2, 4), (64, 72))
    for count in _STEPS[order]
)
_NOTE = "ETDRK2 and ETDRK4, numpy real transforms, float64; benchmarks/common/spectral.py"
CONTENDERS = [Contender("numpy ETDRK", _SETTINGS, _build, environment="project", chunks=(1, 8), note=_NOTE)]
