"""Priors of parameters: what a YAML may say, and the map to and from a standard normal variable.

Everything that estimates works on standard normal variables z; a parameter is a monotone function of its z.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from sweeps.inputs.strict_model import Positive, StrictModel, problem

_SQRT2 = math.sqrt(2.0)


class LogNormal(StrictModel):
    """``{prior: lognormal, median: 1.0, sigma: 0.5}``: log of the parameter is normal."""

    prior: Literal["lognormal"]
    median: Positive
    sigma: Positive

    def value(self, z: torch.Tensor) -> torch.Tensor:
        """The parameter at z, same shape."""
        return self.median * torch.exp(self.sigma * z)


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
        return self.low + (self.high - self.low) * 0.5 * (1.0 + torch.erf(z / _SQRT2))


class Fixed(StrictModel):
    """A number: known, not estimated."""

    prior: Literal["fixed"] = "fixed"
    at: Positive

    def value(self, z: torch.Tensor) -> torch.Tensor:
        """The parameter, whatever z; same shape."""
        return torch.full_like(z, self.at)


def _form(value: Any) -> Any:
    return {"prior": "fixed", "at": float(value)} if _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Prior = Annotated[
    Annotated[LogNormal, Tag("lognormal")] | Annotated[Uniform, Tag("uniform")] | Annotated[Fixed, Tag("fixed")],
    Discriminator("prior"),
    BeforeValidator(_form),
]

DEFAULT_PRIORS: dict[str, Any] = {
    "mobility": LogNormal(prior="lognormal", median=1.0, sigma=1.0),
    "kappa": LogNormal(prior="lognormal", median=1.0, sigma=0.5),
    "gamma": Fixed(at=1.5),
}


def estimated(prior: Any) -> bool:
    """Whether a prior leaves anything to estimate."""
    return not isinstance(prior, Fixed)
