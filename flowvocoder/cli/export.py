"""`export`: a checkpoint for other programs."""

import argparse
from pathlib import Path

from flowvocoder.checkpoint import BUNDLED_VOICE, load_checkpoint
from flowvocoder.cli.common import check_output
from flowvocoder.interop.onnx.export import export_onnx, export_pt2


def export(arguments: argparse.Namespace) -> int:
    """CHECKPOINT -> OUT.onnx or OUT.pt2, with mel spec and licence inside."""
    check_output(arguments.output, (f".{arguments.format}",))
    checkpoint = load_checkpoint(BUNDLED_VOICE if arguments.checkpoint == Path("bundled") else arguments.checkpoint)
    {"onnx": export_onnx, "pt2": export_pt2}[arguments.format](checkpoint, arguments.output, arguments.step)
    size = arguments.output.stat().st_size / 1e6
    print(f"{arguments.output}: {'streaming step' if arguments.step else 'whole mels'}, {size:.1f} MB")
    return 0
