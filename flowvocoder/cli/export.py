"""`export`: a checkpoint for other programs."""

import argparse
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_output, iterations
from flowvocoder.cli.options import add_iterations
from flowvocoder.errors import ConfigError
from flowvocoder.voice_card import checkpoint_folder


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=checkpoint_folder,
                        help="checkpoint folder, or one of `voices`; `bundled`: the default")  # fmt: skip
    parser.add_argument("output", metavar="OUT", type=Path, help="OUT.onnx or OUT.pt2")
    parser.add_argument("--format", choices=["onnx", "pt2"], default="onnx",
                        help="onnx (default) or pt2 (torch.export)")  # fmt: skip
    parser.add_argument("--step", action="store_true",
                        help="export one streaming step of the flow, with its state as inputs and outputs")  # fmt: skip
    add_iterations(parser)


def run(arguments: argparse.Namespace) -> int:
    """CHECKPOINT -> OUT.onnx or OUT.pt2, with mel spec and licence inside."""
    import dataclasses

    from flowvocoder.checkpoint import load_checkpoint
    from flowvocoder.interop.onnx.export import export_onnx, export_pt2
    from flowvocoder.threads import set_threads

    set_threads(1)  # as other commands do by default
    check_output(arguments.output, (f".{arguments.format}",))
    given = {name: number for name, number in iterations(arguments).items() if name != "latency_ms"}
    if arguments.step and any(number is not None for number in given.values()):
        raise ConfigError("--gl-iters and --low-band-iters are of whole mels: not with --step")
    checkpoint = load_checkpoint(arguments.checkpoint)
    card = dataclasses.replace(checkpoint.card, postfilter=checkpoint.card.postfilter.chosen(**given))
    checkpoint = dataclasses.replace(checkpoint, card=card)
    {"onnx": export_onnx, "pt2": export_pt2}[arguments.format](checkpoint, arguments.output, arguments.step)
    size = arguments.output.stat().st_size / 1e6
    print(f"{arguments.output}: {'streaming step' if arguments.step else 'whole mels'}, {size:.1f} MB")
    return 0


COMMAND = Command("export", "write a checkpoint for other programs: ONNX or torch.export", options, run)
