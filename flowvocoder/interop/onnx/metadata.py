"""What an exported file says of itself."""

from typing import Any

from flowvocoder import __version__
from flowvocoder.checkpoint import Checkpoint
from flowvocoder.streaming.flow import FlowStep


def metadata(checkpoint: Checkpoint, step: FlowStep, variant: str) -> dict[str, Any]:
    """Mel spec, sizes, licence, and for a streaming step its state; values as JSON.

    Args:
        variant: "whole", "step" or "postfilter".
    """
    card = checkpoint.card
    values: dict[str, Any] = {
        "format": "flowvocoder",
        "version": __version__,
        "variant": variant,
        "mel_spec": checkpoint.experiment.mel.to_dict(),
        "sample_rate": checkpoint.experiment.mel.sample_rate,
        "hop_length": checkpoint.experiment.mel.hop_length,
        "block": step.block,
        "delay": step.delay * step.block,
        "noise": "standard normal numbers times the temperature, (batch, block, frames * hop_length / block)",
        "temperature": card.temperature,
        "gl_iters": card.postfilter.gl_iters,
        "low_band_iters": card.postfilter.low_band_iters,
        "licence": card.licence,
        "training_data": list(card.training_data),
    }
    if variant == "step":
        values["state_shapes"] = step.state_shapes
    return values
