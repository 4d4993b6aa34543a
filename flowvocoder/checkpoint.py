"""Checkpoints: a folder with `model.safetensors` and `config.json`. Never a pickle."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from flowvocoder.config import Experiment
from flowvocoder.errors import CheckpointError, ConfigError
from flowvocoder.files import readable_folder, sha256_of, writing_folder
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.presets import experiment_from_dict

FORMAT_VERSION = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
BUNDLED_VOICE = Path(__file__).parent / "voices" / "lapglow-live"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model and what is known about it.

    Attributes:
        about: licence, training data, step, metrics: whatever the trainer recorded, JSON values only.
    """

    model: FlowVocoder
    experiment: Experiment
    about: dict[str, Any]


def build_model(experiment: Experiment) -> FlowVocoder:
    """A fresh model of the experiment's architecture."""
    return experiment.model.build(experiment.mel)


def save_checkpoint(path: Path, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> None:
    """Write the folder under a temporary name, then rename it.

    Args:
        dtype: of the stored weights; float16 halves the file. Loading always gives float32.

    Raises:
        OutputError: it cannot be written.
    """
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in checkpoint.model.state_dict().items()
    }
    with writing_folder(path) as folder:
        save_file(tensors, folder / WEIGHTS)
        config = {
            "format_version": FORMAT_VERSION,
            **checkpoint.experiment.to_dict(),
            "about": checkpoint.about,
            "weights_sha256": sha256_of(folder / WEIGHTS),
        }
        config["config_sha256"] = _config_sha256(config)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint folder, in evaluation mode and float32.

    Raises:
        CheckpointError: missing, truncated, altered, of a newer format, or not a checkpoint at all.
    """
    config = read_config(path)
    weights = readable_folder(path) / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{path}: no {WEIGHTS} in this folder")
    if sha256_of(weights) != config.get("weights_sha256"):
        raise CheckpointError(f"{weights}: truncated or altered: its SHA-256 is not the one {CONFIG} states")
    try:
        experiment = experiment_from_dict(config)
        model = build_model(experiment)
        with safe_open(weights, framework="pt") as file:
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except ConfigError as error:
        raise CheckpointError(f"{path / CONFIG}: {error}") from error
    except (SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{weights}: does not fit the architecture in {CONFIG} ({first})") from error
    for name, tensor in model.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{weights}: {name} holds values that are not finite")
    return Checkpoint(model.eval().requires_grad_(False).to(device), experiment, config["about"])


def read_config(path: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint folder, with its format checked.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    path = readable_folder(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    if not path.is_dir():
        hint = "`flowvocoder import-checkpoint` makes one of a published file"
        raise CheckpointError(f"{path}: not a checkpoint: expected a folder with {WEIGHTS} and {CONFIG} ({hint})")
    file = path / CONFIG
    if not file.is_file():
        inside = path / "checkpoint"  # of a training run
        hint = f": perhaps {inside} is meant" if (inside / CONFIG).is_file() else ""
        raise CheckpointError(f"{path}: no {CONFIG} in this folder, so not a checkpoint{hint}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        version = config["format_version"]
        about = config["about"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{file}: truncated or altered: not the configuration of a checkpoint") from error
    if type(version) is int and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: format version {version} is newer than this program's {FORMAT_VERSION}: update flowvocoder"
        )
    if config.get("config_sha256") != _config_sha256(config) or not isinstance(about, dict):
        raise CheckpointError(f"{file}: altered: its SHA-256 is not the one it states")
    return config


def _config_sha256(config: dict[str, Any]) -> str:
    """Of everything in the configuration but this hash itself."""
    rest = {key: value for key, value in config.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
