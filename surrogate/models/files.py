"""A model on disk: ``weights.safetensors`` and ``model.json``, which holds its sha256 and everything else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from solvers.errors import InputError
from solvers.registries import resolve
from surrogate.networks.registry import NETWORKS
from sweeps.files import write_bytes, write_text

if TYPE_CHECKING:
    import torch

    from surrogate.models.protocol import RolloutSurrogate, Surrogate

FORMAT = 1
WEIGHTS, MODEL = "weights.safetensors", "model.json"
#: Entries of a description that decide what a model answers.
DECIDING = ("weights_sha256", "process", "kind", "settings", "schedule", "handover", "clips", "domain", "calibration")
SHIPPED = Path(__file__).parents[1] / "weights"


def shipped() -> list[str]:
    """Names of the models that come with the program."""
    return sorted(folder.parent.name for folder in SHIPPED.glob(f"*/{MODEL}"))


def folder_of(name_or_path: str | Path) -> Path:
    """The folder of a model, by registered name or path; InputError where there is none."""
    if str(name_or_path) in shipped():
        return SHIPPED / str(name_or_path)
    path = Path(name_or_path)
    path = path.parent if path.name in (WEIGHTS, MODEL) else path
    if (path / MODEL).is_file():
        return path
    names = ", ".join(shipped()) or "none yet"
    raise InputError(f"found {str(name_or_path)!r}, allowed a folder with {MODEL}, or one of: {names}")


def load_surrogate(name_or_path: str | Path, device: str = "cpu") -> Surrogate:
    """A model by registered name or path of its folder; its checksum is compared, and nothing is unpickled.

    Raises:
        InputError: for an unknown name, or files that are damaged, foreign or do not fit together.
    """
    folder = folder_of(name_or_path)
    about = read_about(folder)
    if about["kind"] not in NETWORKS:
        raise InputError(f"{folder}: kind {about['kind']!r} of {about['process']!r} is not known to this version")
    model: Surrogate = resolve(NETWORKS[about["kind"]].model)(about, read_tensors(folder, about), device)
    return model


def load_rollout_surrogate(name_or_path: str | Path, device: str = "cpu") -> RolloutSurrogate:
    """A model that runs from a start. InputError as :func:`load_surrogate`, and for one without rollouts."""
    model = load_surrogate(name_or_path, device)
    if not NETWORKS[model.kind].rollouts:
        raise InputError(f"model {model.name}: found a network of kind {model.kind}, allowed one of kind jump")
    return cast("RolloutSurrogate", model)


def save_model(folder: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, object]) -> None:
    """Writes a model; ``about`` is completed by format and sha256."""
    from safetensors.torch import save as save_bytes

    content = save_bytes({name: t.detach().contiguous().cpu() for name, t in tensors.items()})
    write_bytes(folder / WEIGHTS, content)
    complete = {"format": FORMAT, "weights_sha256": hashlib.sha256(content).hexdigest(), **about}
    write_text(folder / MODEL, json.dumps(complete, indent=1) + "\n")


def update_model(folder: Path, **changes: object) -> None:
    """Replaces entries of ``model.json`` (calibration, domain)."""
    about = read_about(folder) | changes
    write_text(folder / MODEL, json.dumps(about, indent=1) + "\n")


def read_about(folder: Path) -> dict[str, Any]:
    """``model.json``; InputError for a file that is none, or of a later format."""
    path = folder / MODEL
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a model description ({error})") from None
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: format: found {found!r}, allowed {FORMAT}")
    missing = [key for key in ("name", "process", "kind", "settings", "weights_sha256") if key not in about]
    if missing:
        raise InputError(f"{path}: the entries {', '.join(missing)} are missing; this is not one of our models")
    return dict(about)


def fingerprint(name_or_path: str | Path) -> str:
    """Hash of everything in a model that decides its answers; its card and the record of its training do not."""
    about = read_about(folder_of(name_or_path))
    deciding = {key: about.get(key) for key in DECIDING}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:32]


def read_weights(folder: Path, about: Mapping[str, Any]) -> bytes:
    """The file of weights, its checksum compared; InputError where it is missing, truncated or changed."""
    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    found = hashlib.sha256(content).hexdigest()
    if found != about["weights_sha256"]:
        raise InputError(
            f"{path}: corrupted or of another model: found sha256 {found[:12]}..., "
            f"{MODEL} says {about['weights_sha256'][:12]}..."
        )
    return content


def check_cells(name: str, settings: Mapping[str, int], shape: tuple[int, ...], boundary: str) -> None:
    """Refuse a grid that a jump network of some ``settings`` cannot take; a no-flux box is extended to twice its cells.

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


def read_tensors(folder: Path, about: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights, nothing ever unpickled; InputError as :func:`read_weights`, and for a foreign file."""
    from safetensors import SafetensorError
    from safetensors.torch import load as load_bytes

    content = read_weights(folder, about)
    try:
        return load_bytes(content)
    except SafetensorError as error:
        raise InputError(f"{folder / WEIGHTS}: not a safetensors file ({error})") from None
