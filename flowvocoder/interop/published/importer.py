"""From a published checkpoint to one of ours."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from flowvocoder.checkpoint import Checkpoint, at_most, build_model
from flowvocoder.config import Experiment, TrainConfig, check, override
from flowvocoder.errors import CheckpointError, ConfigError
from flowvocoder.files import reading
from flowvocoder.interop.published.archive import read_archive
from flowvocoder.interop.published.layouts import Layout, fill, recognise
from flowvocoder.interop.published.weights import Weights
from flowvocoder.mel.spec import convention
from flowvocoder.voice_card import VoiceCard


def import_checkpoint(path: Path, settings: Sequence[str] = (), licence: str = "unknown") -> tuple[Checkpoint, Layout]:
    """Read a checkpoint of NVIDIA's WaveGlow, SqueezeWave or L0SG's WaveFlow without running anything in it.

    The mel is Tacotron 2's, which all of them were trained on, with the number of bands and the hop of the weights.

    Args:
        settings: `key=value` as `override` takes them, for what the file does not say.
        licence: of the weights, recorded in the checkpoint.

    Raises:
        CheckpointError: unreadable, truncated, malicious, or of a layout that is not known.
        ConfigError: a setting that is not known or does not go together with the weights.
    """
    content, storages = read_archive(path)
    damaged = "truncated, or of a layout that is not known"
    with reading(path, CheckpointError, damaged):
        weights = Weights(path, content, storages)
        layout = recognise(weights)
    try:
        mel = dataclasses.replace(convention("tacotron2"), n_mels=layout.n_mels, hop_length=layout.hop_length)
        experiment = Experiment(layout.model, mel, TrainConfig())
        check(experiment)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    experiment = override(experiment, settings)
    with at_most(4 * sum(storage.numel() for storage in storages.values()) + 2**20, path):
        model = build_model(experiment)
    with reading(path, CheckpointError, damaged):
        fill(model, layout, weights)
    card = VoiceCard(licence=licence, temperature=layout.temperature, source=path.name, layout=layout.name)
    return Checkpoint(model.eval().requires_grad_(False), experiment, card), layout
