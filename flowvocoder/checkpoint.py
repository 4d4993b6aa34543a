"""Checkpoints: a folder with `model.safetensors` and `config.json`. Never a pickle."""

import contextlib
import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from flowvocoder.config import Experiment
from flowvocoder.errors import CheckpointError, ConfigError, OutputError
from flowvocoder.files import read_json, readable_folder, reading, sha256_of, sha256_of_json, writing_folder
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.hub import fetched, is_on_hub
from flowvocoder.inference import plain_defaults
from flowvocoder.migration import FORMAT_VERSION, migrated, tensor_name
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.guide import Guide
from flowvocoder.postfilter.refiner import Refiner
from flowvocoder.presets import experiment_from_dict
from flowvocoder.voice_card import VoiceCard, voices

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A voice: a flow, what it was trained with, and what is known about it.

    Attributes:
        model: the flow, an exact density of audio given its mel.
        experiment: its sizes, its mels and its training.
        card: origin, licence, tuned settings.
        postfilter: the trained post-filter; None if nothing after the flow has weights.
    """

    model: FlowVocoder
    experiment: Experiment
    card: VoiceCard = dataclasses.field(default_factory=VoiceCard)
    postfilter: PostFilter | None = None


@plain_defaults()
def build_model(experiment: Experiment) -> FlowVocoder:
    """A fresh model of the experiment's architecture."""
    return experiment.model.build(experiment.mel)


@contextlib.contextmanager
def at_most(numbers: int, path: Path) -> Iterator[None]:
    """Stops the building of a model that has more parameters than its file has numbers.

    Each is registered before it is filled, so that little memory is taken by then.

    Raises:
        CheckpointError: naming the file.
    """
    left, thread = numbers, threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if parameter is not None and threading.get_ident() == thread:
            left -= parameter.numel()
            if left < 0:
                raise CheckpointError(
                    f"{path}: holds fewer numbers than the model that it describes: {numbers} at most"
                )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


@plain_defaults()
def build_postfilter(experiment: Experiment) -> PostFilter | None:
    """A fresh post-filter with the experiment's networks; None if it has none."""
    sizes = experiment.postfilter
    if sizes is None:
        return None
    mel, refiner = experiment.mel, None
    guide = Guide(mel, sizes.guide_channels, sizes.guide_layers) if sizes.guide_channels else None
    if sizes.refiner_channels:
        refiner = Refiner(mel, sizes.refiner_channels, sizes.refiner_layers)
    return PostFilter(mel, guide, refiner)


def modules(model: FlowVocoder, postfilter: PostFilter | None) -> nn.ModuleDict:
    """All that has weights, under the names that a checkpoint gives it."""
    return nn.ModuleDict({"model": model} if postfilter is None else {"model": model, "postfilter": postfilter})


def save_checkpoint(path: Path, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> None:
    """Write the folder under a temporary name, then rename it.

    Args:
        dtype: of the stored weights; float16 halves the file. Loading always gives float32.

    Raises:
        OutputError: it cannot be written, or the folder holds something else.
    """
    if path.is_dir() and not (path / CONFIG).exists() and (others := sorted(file.name for file in path.iterdir())):
        raise OutputError(f"{path}: holds {others[0]} and is no checkpoint, so it is not replaced: name another folder")
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in modules(checkpoint.model, checkpoint.postfilter).state_dict().items()
    }
    with writing_folder(path) as folder:
        save_file(tensors, folder / WEIGHTS)
        config = {
            "format_version": FORMAT_VERSION,
            **checkpoint.experiment.to_dict(),
            "card": checkpoint.card.to_dict(),
            "weights_sha256": sha256_of(folder / WEIGHTS),
        }
        (folder / CONFIG).write_text(signed(config), encoding="utf-8")


@plain_defaults()
def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint folder of any format, in evaluation mode and float32.

    Raises:
        CheckpointError: missing, truncated, altered, of a newer format, or not a checkpoint at all.
    """
    path = folder_of(path)
    config = read_config(path)
    weights = path / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{path}: no {WEIGHTS} in this folder")
    if sha256_of(weights) != config.get("weights_sha256"):
        raise CheckpointError(f"{weights}: truncated or altered: its SHA-256 is not the one {CONFIG} states")
    try:
        experiment, card = experiment_from_dict(config), VoiceCard.from_dict(config["card"])
    except ConfigError as error:
        raise CheckpointError(f"{path / CONFIG}: {error}") from error
    with at_most(weights.stat().st_size // 2, weights):  # a number has two bytes or four
        model, postfilter = build_model(experiment), build_postfilter(experiment)
    voice = modules(model, postfilter)
    with reading(weights, CheckpointError, f"does not fit the architecture in {CONFIG}"):
        voice.load_state_dict(_tensors(weights))
    for name, tensor in voice.state_dict().items():
        if not bool(tensor.sum().isfinite() or tensor.isfinite().all()):  # the sum is quick, and may overflow
            raise CheckpointError(f"{weights}: {name} holds values that are not finite")
    voice.eval().requires_grad_(False).to(device)
    return Checkpoint(model, experiment, card, postfilter)


def folder_of(path: Path) -> Path:
    """Where a checkpoint is read from: its folder, or that of the cache if it is on the hub.

    Raises:
        CheckpointError: the hub has no such voice, or cannot be reached.
    """
    return fetched(path, (CONFIG, WEIGHTS)) if is_on_hub(path) else readable_folder(path)


def read_config(path: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint folder, checked, with the names of today's format whatever its own.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    path = fetched(path, (CONFIG,)) if is_on_hub(path) else readable_folder(path)
    if not path.exists():
        hint = "" if path.parent.name else f": `flowvocoder voices` lists {', '.join(voices())}"
        raise CheckpointError(f"{path}: no such checkpoint{hint}")
    if not path.is_dir():
        hint = "`flowvocoder import-checkpoint` makes one of a published file"
        raise CheckpointError(f"{path}: not a checkpoint: expected a folder with {WEIGHTS} and {CONFIG} ({hint})")
    file = path / CONFIG
    if not file.is_file():
        inside = path / "checkpoint"  # of a training run
        hint = f": perhaps {inside} is meant" if (inside / CONFIG).is_file() else ""
        hint = hint or ": `--engine onnx` runs what `export` wrote" * any(path.glob("*.onnx"))
        raise CheckpointError(f"{path}: no {CONFIG} in this folder, so not a checkpoint{hint}")
    problem = "truncated or altered: not the configuration of a checkpoint"
    config = read_json(file, CheckpointError, problem)
    if not isinstance(config, dict) or "format_version" not in config:
        raise CheckpointError(f"{file}: {problem}")
    version = config["format_version"]
    if type(version) is int and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: format version {version} is newer than this program's {FORMAT_VERSION}: update flowvocoder"
        )
    if config.get("config_sha256") != _config_sha256(config):
        raise CheckpointError(f"{file}: altered: its SHA-256 is not the one it states")
    with reading(file, CheckpointError, problem):
        try:
            return migrated(config)
        except ConfigError as error:
            raise CheckpointError(f"{file}: {error}") from error


def signed(config: dict[str, Any]) -> str:
    """The text of `config.json`, with its own SHA-256."""
    return json.dumps({**config, "config_sha256": _config_sha256(config)}, indent=2) + "\n"


def _tensors(weights: Path) -> dict[str, Tensor]:
    with safe_open(weights, framework="pt") as file:
        return {tensor_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _config_sha256(config: dict[str, Any]) -> str:
    """Of everything in the configuration but this hash itself."""
    rest = {key: value for key, value in config.items() if key != "config_sha256"}
    return sha256_of_json(rest)
