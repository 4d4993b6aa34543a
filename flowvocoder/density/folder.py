"""A fitted density as a folder: `model.safetensors` and `config.json`. Never a pickle."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save_file
from torch import Tensor

from flowvocoder.errors import CheckpointError, OutputError
from flowvocoder.files import check_folder, read_json, readable_folder, reading, sha256_of, writing_folder

FORMAT_VERSION = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
TYPES = {
    "density_format": int,
    "parameters": dict,
    "features": int,
    "context": int,
    "names": list,
    "context_names": list,
    "weights_sha256": str,
}
"""Keys of `config.json` and the types of their values."""


class Saved(NamedTuple):
    """What a folder holds.

    Attributes:
        parameters: of the estimator.
        features, context: D and K.
        names, context_names: of the columns; empty where the fit was not given them.
        tensors: by name.
    """

    parameters: dict[str, Any]
    features: int
    context: int
    names: list[str]
    context_names: list[str]
    tensors: dict[str, Tensor]


def check(path: Path) -> None:
    """Raises OutputError where no density can be saved: a file, or a folder that holds something else."""
    check_folder(path)
    others = sorted({file.name for file in path.iterdir()} - {WEIGHTS, CONFIG}) if path.is_dir() else []
    if others:
        raise OutputError(f"{path}: holds {others[0]}, and so is not replaced: name another folder")


def save(path: Path, saved: Saved) -> None:
    """Write the folder under a temporary name, then rename it.

    Raises:
        OutputError: it cannot be written, or something else is there.
    """
    check(path)
    config = {"density_format": FORMAT_VERSION, **saved._asdict()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in config.pop("tensors").items()}
    with writing_folder(path) as folder:
        save_file(tensors, folder / WEIGHTS)
        config["weights_sha256"] = sha256_of(folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> Saved:
    """Read a folder; whether its parameters and tensors go together is not checked.

    Raises:
        CheckpointError: missing, truncated, altered, of a newer format, or not a density at all.
    """
    config_file, weights = readable_folder(path) / CONFIG, readable_folder(path) / WEIGHTS
    if not (config_file.is_file() and weights.is_file()):
        raise CheckpointError(f"{path}: not a density: expected a folder with {WEIGHTS} and {CONFIG}")
    config = _config(config_file)
    if sha256_of(weights) != config.pop("weights_sha256"):
        raise CheckpointError(f"{weights}: truncated or altered: its SHA-256 is not the one {CONFIG} states")
    with reading(weights, CheckpointError, "not safetensors"):
        tensors = load_file(weights)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{weights}: {name} holds values that are not finite")
    return Saved(**config, tensors=tensors)


def _config(file: Path) -> dict[str, Any]:
    problem = "not the configuration of a density"
    config = read_json(file, CheckpointError, problem)
    if not isinstance(config, dict) or "density_format" not in config:
        raise CheckpointError(f"{file}: {problem}")
    version = config["density_format"]
    if type(version) is int and version > FORMAT_VERSION:
        newer = f"format {version} is newer than this program's {FORMAT_VERSION}"
        raise CheckpointError(f"{file}: {newer}: update flowvocoder")
    if {key: type(value) for key, value in config.items()} != TYPES or config["features"] < 1 or config["context"] < 0:
        raise CheckpointError(f"{file}: altered: {problem}")
    return {key: value for key, value in config.items() if key != "density_format"}
