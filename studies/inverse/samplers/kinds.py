"""The samplers of this project; their code is imported when one is used."""

from __future__ import annotations

from studies.inverse.samplers.registry import SamplerKind

_OPTUNA, _SEQUENCES = "studies.inverse.samplers.optuna_samplers", "studies.inverse.samplers.sequences"

KINDS = (
    # The time of a proposal is proportional to the trials that TPE sees; it takes 25 of them at most for good ones.
    SamplerKind("tpe", f"{_OPTUNA}:tpe", window=(100, 100)),
    # GP's time grows with the cube of the trials it sees.
    SamplerKind("gp", f"{_OPTUNA}:gp", window=(60, 40)),
    SamplerKind("nsga2", f"{_OPTUNA}:nsga2", window=(100, 400)),
    SamplerKind("cmaes", f"{_OPTUNA}:cmaes", several_objectives=False, constraints=False, variables=2),
    SamplerKind("qmc", f"{_SEQUENCES}:sobol"),
    SamplerKind("random", f"{_OPTUNA}:random"),
    SamplerKind("grid", f"{_SEQUENCES}:grid"),
)
