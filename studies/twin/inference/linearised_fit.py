"""The linearised fit: what frames say of the material once the start adapts, and samples of the start's posterior.

The start has thousands of unknowns, the material a handful. The information of the frames on the material, with the
start free to adapt to it, is the Schur complement of the Hessian, taken row by row: fix one parameter a little off, let
the start adapt (:mod:`studies.twin.inference.tangent`), see what is left. The same runs give the sensitivities of the
frames that no change of the start can compensate. Deviations of the start at given parameters come from perturbing
frames and prior and solving again (randomise, then optimise).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from studies.twin.inference.tangent import CLOSE, MOST_BLOCKS, Tangent
from studies.twin.inference.variational import VariationalFit, VariationalProblem

#: Step of a parameter, standard deviations of its prior.
STEP = 0.04


@dataclass
class LinearisedFit:
    """A fit and the runs around it."""

    variational: VariationalProblem
    fit: VariationalFit
    information: np.ndarray  #: (name, name) of the frames alone, the start adapting
    adapted: torch.Tensor  #: (name, component, F) change of the increments for a unit change of z
    sensitivity: torch.Tensor  #: (name, time, pixel y, pixel x) of the frames, likewise
    deviations: torch.Tensor  #: (sample, component, F) of the increments at given z
    rest: torch.Tensor  #: (component, F) from the fit's increments to the minimum at its z
    rest_seen: torch.Tensor  #: (time, pixel y, pixel x) its change of the frames
    inflation: float = 1.0  #: factor of the noise's variance

    def widened(self, inflation: float) -> LinearisedFit:
        information, deviations = self.information / inflation, self.deviations * inflation**0.5
        return replace(self, information=information, deviations=deviations, inflation=inflation)

    def start_at(self, z: np.ndarray) -> torch.Tensor:
        """Coefficients (member, component, F) of the fit's start, adapted to each z (member, name)."""
        moved = torch.einsum("mn,ncf->mcf", torch.from_numpy(z - self.fit.z).float(), self.adapted)
        return self.variational.begin(self.fit.increments + moved)

    def polished(self) -> LinearisedFit:
        """The fit after one Gauss-Newton step for the start and the material together.

        L-BFGS settles the start within tens of iterations, but converges slowly where material and start trade off. The
        step is taken only where it lowers the cost.
        """
        variational, fit = self.variational, self.fit
        residual = torch.from_numpy(fit.predicted).float() - variational.data + self.rest_seen
        weighted = (variational.weight * self.sensitivity).double()
        slope = torch.einsum("ntyx,tyx->n", weighted, residual.double()).numpy()
        at_rest = fit.increments + self.rest
        slope += torch.einsum("ncf,cf->n", self.adapted.double(), at_rest.double()).numpy()
        step = np.linalg.solve(np.eye(len(fit.z)) + self.information, -(slope + fit.z))
        along = torch.einsum("n,ncf->cf", torch.from_numpy(step).float(), self.adapted) + self.rest
        for share in (1.0, 0.5, 0.2):
            z, w = variational.minimise(
                torch.from_numpy(fit.z + share * step)[None], fit.increments[None] + share * along, 0
            )
            if float(variational.last_cost[0]) < fit.cost:
                return replace(self, fit=variational.fit_at(z, w, fit.calls))
        return self


def linearise(
    variational: VariationalProblem, fit: VariationalFit, rng: np.random.Generator, samples: int
) -> LinearisedFit:
    """Perturb each parameter, and the frames ``samples`` times, around a fit; let the start adapt."""
    count = len(fit.z)
    z, w = torch.from_numpy(fit.z), fit.increments
    change = _slopes(variational, z, w)
    tangent = Tangent(variational, z, w)
    residual = torch.from_numpy(fit.predicted).float() - variational.data
    noise = torch.from_numpy(rng.standard_normal((samples, *variational.data.shape)).astype(np.float32))
    pulled = tangent.transposed(
        torch.cat([variational.weight * residual[None], variational.weight * change, variational.weight.sqrt() * noise])
    )
    right = torch.cat([-(pulled[:1] + w), -pulled[1 : 1 + count], pulled[1 + count :]])
    right[1 + count :] += torch.from_numpy(rng.standard_normal((samples, *w.shape)).astype(np.float32))
    found = tangent.solve(right, MOST_BLOCKS, CLOSE)
    with torch.no_grad():
        shown = tangent.frames(found)
    adapted, sensitivity = found[1 : 1 + count], change + shown[1 : 1 + count]
    # The Gauss-Newton form of the Schur complement: change of the frames, and the prior's cost of the adapted start. An
    # error in the adaptation enters squared.
    weighted = (variational.weight * sensitivity).double()
    information = torch.einsum("ntyx,mtyx->nm", weighted, sensitivity.double())
    information += torch.einsum("ncf,mcf->nm", adapted.double(), adapted.double())
    return LinearisedFit(
        variational, fit, information.numpy(), adapted, sensitivity, found[1 + count :], found[0], shown[0]
    )


def _slopes(variational: VariationalProblem, z: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Derivatives of the frames (name, time, pixel y, pixel x) with respect to z at a given start, by differences."""
    count = len(z)
    offsets = STEP * torch.cat([torch.eye(count, dtype=torch.float64), -torch.eye(count, dtype=torch.float64)])
    with torch.no_grad():
        predicted, _ = variational.predict(z + offsets, variational.begin(w[None]).expand(2 * count, -1, -1))
    return (predicted[:count] - predicted[count:]) / (2.0 * STEP)
