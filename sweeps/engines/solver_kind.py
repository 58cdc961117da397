"""The solver as a kind of engine: its block in the file. Loads no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from solvers.accuracy import LOWEST_TOLERANCE
from sweeps.engines.registry import Device, EngineBlock, EngineKind, Tolerance
from sweeps.inputs.strict_model import problem


class SolverBlock(EngineBlock):
    """The PDE solver; tolerance is the relative L2 error at every time against the converged PDE.

    Without ``dtype``, float32 serves tolerances of 5e-3 and above: rounding then stays below a tenth of it.
    """

    kind: Literal["solver"] = "solver"
    tolerance: Tolerance = 1e-3
    dtype: Literal["float64", "float32"] = Field(
        default_factory=lambda data: "float32" if data.get("tolerance", 0.0) >= 5e-3 else "float64"
    )
    device: Device = "auto"

    @model_validator(mode="after")
    def _within_precision(self) -> SolverBlock:
        lowest = LOWEST_TOLERANCE[self.dtype]
        if self.tolerance < lowest:
            hint = ", or dtype float64" if self.dtype == "float32" else ""
            raise problem(f"{self.tolerance:g}", f"a number >= {lowest:g}{hint}", ("tolerance",))
        return self


ENGINE = EngineKind("solver", block=SolverBlock, build="sweeps.engines.solver:solver_of_sweep", fingerprint="")
