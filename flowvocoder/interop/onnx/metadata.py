"""What an exported file says of itself."""

from typing import Any

from flowvocoder import __version__
from flowvocoder.checkpoint import Checkpoint
from flowvocoder.interop.onnx.modules import StepExport, WholeExport


def metadata(checkpoint: Checkpoint, module: StepExport | WholeExport) -> dict[str, Any]:
    """Mel spec, sizes, licence, and for a streaming step its state; values as JSON."""
    step = module.step
    card = checkpoint.card
    values: dict[str, Any] = {
        "format": "flowvocoder",
        "version": __version__,
        "variant": "step" if isinstance(module, StepExport) else "whole",
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
    if isinstance(module, StepExport):
        values["state_shapes"] = step.state_shapes
    return values
