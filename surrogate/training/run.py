"""``phasetwin train RECIPE``: from a recipe to a model on disk."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import torch

from solvers.errors import InputError
from surrogate.models.files import folder_of, read_about, read_tensors, save_model
from surrogate.training.curve import loss_curve
from surrogate.training.data import TrajectorySet, load_trajectories
from surrogate.training.loop import LoopSettings, Trainable, train
from surrogate.training.recipe import Recipe

logger = logging.getLogger("phasetwin")

#: Checkpoints of a training, by the name of its recipe.
CHECKPOINTS = Path("runs/training")


def train_recipe(recipe: Recipe, minutes: float | None, target: Path, threads: int, start: str | None = None) -> str:
    """Train a model, going on from its last checkpoint where there is one, and write it; returns one line on the
    result.

    Args:
        recipe: what is learned, in ``minutes`` (the recipe's for None).
        target: folder of the model.
        threads: of torch.
        start: a model whose weights to begin with where there is no checkpoint. A jump network of another reach begins
            as the same function.

    Raises:
        InputError: for data that cannot be trained on, a checkpoint of something else, or a model to start with that
            cannot be read or is of another network.
    """
    chosen = recipe.training
    data = load_trajectories(recipe.data.train, recipe.process)
    torch.manual_seed(chosen.seed)
    made = recipe.network.prepare(recipe, data)
    network = made.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    begun = _begin_with(recipe, made, start) if start else {}
    settings = LoopSettings(
        minutes or chosen.minutes,
        learning_rate=chosen.learning_rate,
        averaging=chosen.averaging,
        optimiser=chosen.optimiser,
        seed=chosen.seed,
        threads=threads,
    )
    identity = json.dumps([{"settings": made.settings, **made.about}, data.digest, chosen.optimiser], sort_keys=True)
    folder = CHECKPOINTS / recipe.name
    logger.info(f"{recipe.name}: {len(data.fields)} trajectories, checkpoints in {folder}")
    progress = train(network, made.task, settings, folder, hashlib.sha256(identity.encode()).hexdigest())
    history = {"step": progress.step, "minutes": progress.elapsed / 60.0, "score": progress.best, **begun}
    training = {"training": {**history, "curve": progress.history}}
    save_model(target, network.state_dict(), _about(recipe, made, data) | training)
    loss_curve(progress.history, recipe.name, target / "loss.png")
    return f"{target}: score {progress.best:.4f} after {progress.elapsed / 60:.1f} min, {progress.step} steps"


def _begin_with(recipe: Recipe, made: Trainable, model: str) -> dict[str, object]:
    """Take over the weights of a model; returns what the new model's file says of it."""
    folder = folder_of(model)
    about = read_about(folder)
    weights = None
    if about["kind"] == recipe.network.kind:
        weights = recipe.network.adapted(read_tensors(folder, about), dict(about["settings"]), made.settings)
    if weights is None:
        raise InputError(f"--start: found a model of another network, {folder}, allowed one of the recipe's")
    made.network.load_state_dict(weights)
    minutes = about.get("training", {}).get("minutes", 0.0)
    return {"started_from": {"sha256": about["weights_sha256"], "minutes": minutes}}


def _about(recipe: Recipe, made: Trainable, data: TrajectorySet) -> dict[str, object]:
    """What ``model.json`` says of the making of a model."""
    return {
        "name": recipe.name,
        "process": recipe.process,
        "kind": recipe.network.kind,
        "settings": made.settings,
        **made.about,
        **({"handover": recipe.handover.model_dump()} if recipe.handover else {}),
        "recipe": recipe.model_dump(),
        "data_sha256": data.digest,
        "trajectories": len(data.fields),
        "domain": _ranges(data),
    }


def _ranges(data: TrajectorySet) -> dict[str, list[float]]:
    """The box of groups and ages that the trajectories span, symmetric in composition as training is."""
    box = {name: [float(values.min()), float(values.max())] for name, values in data.groups.items()}
    if "composition" in box:
        most = max(abs(c) for c in box["composition"])
        box["composition"] = [-most, most]
    usable = data.ages[data.usable.any(0)]
    return box | {"age": [float(usable.min()), float(usable.max())]}
