"""Priors of parameters: what a YAML may say, and each parameter as a monotone function of a standard normal variable z.

All estimation works on z.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from sweeps.inputs.strict_model import Positive, StrictModel, problem

if TYPE_CHECKING:
    import torch

_SQRT2 = math.sqrt(2.0)


class LogNormal(StrictModel):
    """``{prior: lognormal, median: 1.0, sigma: 0.5}``: log of the parameter is normal."""

    prior: Literal["lognormal"]
    median: Positive
    sigma: Positive

    def value(self, z: torch.Tensor) -> torch.Tensor:
        """The parameter at z, same shape."""
        return self.median * (self.sigma * z).exp()

    def z_of(self, value: float) -> float:
        """The inverse of :meth:`value`."""
        return math.log(value / self.median) / self.sigma


class Uniform(StrictModel):
    """``{prior: uniform, low: 0.5, high: 2.0}``."""

    prior: Literal["uniform"]
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if not self.low < self.high:
            raise problem(f"low {self.low:g} and high {self.high:g}", "low < high", ("high",))
        return self

    def value(self, z: torch.Tensor) -> torch.Tensor:
        """The parameter at z, same shape."""
        return self.low + (self.high - self.low) * 0.5 * (1.0 + (z / _SQRT2).erf())

    def z_of(self, value: float) -> float:
        """The inverse of :meth:`value`; at most 3 for what lies at or beyond the ends."""
        share = (value - self.low) / (self.high - self.low)
        return min(3.0, max(-3.0, NormalDist().inv_cdf(min(1.0 - 1e-9, max(1e-9, share)))))


class Fixed(StrictModel):
    """A number: known, not estimated."""

    prior: Literal["fixed"] = "fixed"
    at: Positive

    def value(self, z: torch.Tensor) -> torch.Tensor:
        """The parameter, whatever z; same shape."""
        return z.new_full(z.shape, self.at)

    def z_of(self, value: float) -> float:  # noqa: ARG002
        """0: it does not depend on z."""
        return 0.0


def _number_is_fixed(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"prior": "fixed", "at": float(value)}
    return value


Prior = Annotated[
    Annotated[LogNormal, Tag("lognormal")] | Annotated[Uniform, Tag("uniform")] | Annotated[Fixed, Tag("fixed")],
    Discriminator("prior"),
    BeforeValidator(_number_is_fixed),
]
