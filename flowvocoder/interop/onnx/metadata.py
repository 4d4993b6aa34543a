"""What an exported file says of itself."""

from typing import Any

from flowvocoder import __version__
from flowvocoder.checkpoint import Checkpoint
from flowvocoder.interop.onnx.modules import StepExport, WholeExport

ENOUGH = 24
"""Passes over the lowest kilohertz by the mel alone: more make little difference."""


def metadata(checkpoint: Checkpoint, module: StepExport | WholeExport) -> dict[str, Any]:
    """Mel spec, sizes, licence, and for a streaming step its state; values as JSON."""
    step = module.step
    low_match = checkpoint.about.get("low_match", 0)
    if checkpoint.model.fine is not None:
        low_match = min(low_match, ENOUGH)  # what would lead them is not in the file
    values: dict[str, Any] = {
        "format": "flowvocoder",
        "version": __version__,
        "variant": "step" if isinstance(module, StepExport) else "whole",
        "mel_spec": checkpoint.experiment.mel.to_dict(),
        "sample_rate": checkpoint.experiment.mel.sample_rate,
        "hop_length": checkpoint.experiment.mel.hop_length,
        "block": step.block,
        "delay": step.delay * step.block,
        "temperature": checkpoint.about.get("temperature", 0.8),
        "match": checkpoint.about.get("match", 0),
        "low_match": low_match,
        "licence": checkpoint.about.get("licence", "unknown"),
        "training_data": checkpoint.about.get("training_data", []),
    }
    if isinstance(module, StepExport):
        values["state_shapes"] = step.state_shapes
    return values
