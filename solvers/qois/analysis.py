"""Frames being analysed: what several quantities need is computed once."""

from __future__ import annotations

import math
from functools import cached_property

import torch

from solvers import grains
from solvers.frames import Frames
from solvers.grids.grid import Grid
from solvers.processes.base import Problem
from solvers.processes.registry import process_named
from solvers.qois.grains import boundary_density, count_of, grain_areas, mean_of, quantiles_of
from solvers.qois.interfaces import domain_size_interface, interface_density_of
from solvers.qois.registry import qois_of
from solvers.qois.spectra import Spectrum, mean, spectrum
from solvers.registries import resolve


class FrameAnalysis:
    """Frames of a batch and what has been computed of them so far.

    Args:
        problem: see :class:`solvers.processes.base.Problem`.
        frames: ``field`` (batch, time, *shape), ``free_energy`` (batch, time).
    """

    def __init__(self, problem: Problem, frames: Frames) -> None:
        self.problem = problem
        self.frames = frames

    @property
    def grid(self) -> Grid:
        return self.problem.grid

    @property
    def field(self) -> torch.Tensor:
        """(batch, time, *shape)."""
        return self.frames.field

    @cached_property
    def spectrum(self) -> Spectrum:
        """Quadratic statistics of the field."""
        return spectrum(self.field, self.grid)

    @cached_property
    def interface_density(self) -> torch.Tensor:
        """Interface length per area (batch, time) from the gradient of a two-phase field."""
        width = self.problem.reduced_kappa(len(self.field)).sqrt()
        return interface_density_of(self.spectrum.gradient_square / self.problem.field_scale**2, width)

    @cached_property
    def grain_id(self) -> torch.Tensor:
        """(batch, time, *shape) the solver's own numbers of the grains, else those found in phi."""
        if self.frames.grain_id is not None:
            return self.frames.grain_id
        threshold = grains.boundary_threshold(self.problem.gamma)  # type: ignore[attr-defined]
        return grains.label_grains(self.field, self.grid, threshold)

    @cached_property
    def grain_areas(self) -> torch.Tensor:
        """(batch, time, grain), see :func:`solvers.qois.grains.grain_areas`."""
        return grain_areas(self.grain_id, self.grid)

    def where_finite(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` (batch, time, ...), NaN for frames that are not finite."""
        finite = self.frames.finite
        return torch.where(finite.reshape(finite.shape + (1,) * (values.ndim - 2)), values, torch.nan)


def evaluate_qois(problem: Problem, frames: Frames) -> dict[str, torch.Tensor]:
    """Every quantity that the problem's process has.

    Args:
        problem: its parameters are numbers or (batch,).
        frames: ``field`` (batch, time, y, x), ``free_energy`` (batch, time), and for grains ``grain_id``, or None where
            they are to be found in phi (:func:`solvers.grains.segmentation.label_grains`).

    Returns:
        name -> (batch, time) or (batch, time, n). Samples that are not finite come back as NaN.

    Raises:
        InputError: if the frames do not fit the problem's grid.
    """
    analysis = FrameAnalysis(problem, frames)
    own = process_named(problem.process).measures
    return {name: resolve(own.get(name, qoi.function))(analysis) for name, qoi in qois_of(problem.process).items()}


def free_energy(analysis: FrameAnalysis) -> torch.Tensor:
    return analysis.frames.free_energy


def mean_field(analysis: FrameAnalysis) -> torch.Tensor:
    return mean(analysis.field, analysis.grid)


def domain_size(analysis: FrameAnalysis) -> torch.Tensor:
    """2 pi over the mean wavenumber of the structure factor."""
    return 2 * math.pi / analysis.spectrum.mean_wavenumber


def interface_density(analysis: FrameAnalysis) -> torch.Tensor:
    return analysis.interface_density


def domain_size_of_interfaces(analysis: FrameAnalysis) -> torch.Tensor:
    return domain_size_interface(analysis.interface_density)


def structure_factor(analysis: FrameAnalysis) -> torch.Tensor:
    """Radially averaged structure factor (batch, time, k)."""
    return analysis.spectrum.structure_factor


def grain_boundary_density(analysis: FrameAnalysis) -> torch.Tensor:
    return analysis.where_finite(boundary_density(analysis.grain_id, analysis.grid))


def grain_count(analysis: FrameAnalysis) -> torch.Tensor:
    return analysis.where_finite(count_of(analysis.grain_areas))


def mean_grain_area(analysis: FrameAnalysis) -> torch.Tensor:
    """Area covered by grains over their number."""
    return analysis.where_finite(mean_of(analysis.grain_areas))


def grain_area_quantile(analysis: FrameAnalysis) -> torch.Tensor:
    """Quantiles of the grain area (batch, time, quantile)."""
    return analysis.where_finite(quantiles_of(analysis.grain_areas))
