"""`export`: a checkpoint for other programs."""

import argparse
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_output, iterations
from flowvocoder.cli.options import add_iterations
from flowvocoder.errors import ConfigError
from flowvocoder.voice_card import checkpoint_folder, voice_name


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=checkpoint_folder,
                        help="checkpoint folder, or one of `voices`; `bundled`: the default")  # fmt: skip
    parser.add_argument("output", metavar="OUT", type=Path, nargs="?",
                        help="OUT.onnx or OUT.pt2; a name without suffix: a folder for machines without PyTorch;"
                        " none: where a voice of `voices` is looked for there")  # fmt: skip
    parser.add_argument("--format", choices=["onnx", "pt2"], default="onnx",
                        help="onnx (default) or pt2 (torch.export)")  # fmt: skip
    parser.add_argument("--step", action="store_true",
                        help="export one streaming step, with its state as inputs and outputs; --gl-iters 0: of the"
                        " flow alone")  # fmt: skip
    parser.add_argument("--precision", choices=["float32", "float16", "int8"], default="float32",
                        help="of the weights in an ONNX file (default float32); float16 halves it, int8 keeps hidden"
                        " layers in 8 bits and the rest in 16")  # fmt: skip
    add_iterations(parser)


def run(arguments: argparse.Namespace) -> int:
    """CHECKPOINT -> OUT.onnx, OUT.pt2 or a folder, with mel spec and licence inside."""
    import dataclasses

    from flowvocoder.checkpoint import load_checkpoint
    from flowvocoder.interop.onnx.export import export_folder, export_onnx
    from flowvocoder.interop.program import export_pt2
    from flowvocoder.runtime.vocoder import POSTFILTER, ROUNDS, STEP, exported_folder
    from flowvocoder.threads import set_threads

    set_threads(1)  # as other commands do by default
    name = voice_name(arguments.checkpoint)
    output = arguments.output or (exported_folder(name) if name else None)
    if output is None:
        raise ConfigError(f"{arguments.checkpoint} is none of `voices`: name OUT")
    in_folder = arguments.format == "onnx" and not arguments.step and not output.suffix
    if not in_folder:
        check_output(output, (f".{arguments.format}",))
    given = {name: number for name, number in iterations(arguments).items() if name != "latency_ms"}
    if arguments.step and (given["gl_iters"] or given["low_band_iters"]):
        raise ConfigError("--gl-iters and --low-band-iters are of whole mels: with --step only 0, for the flow alone")
    precision = arguments.precision
    if precision != "float32" and arguments.format == "pt2":
        raise ConfigError(f"--precision {precision} is of ONNX files: not with --format pt2")
    checkpoint = load_checkpoint(arguments.checkpoint)
    card = dataclasses.replace(checkpoint.card, postfilter=checkpoint.card.postfilter.chosen(**given))
    checkpoint = dataclasses.replace(checkpoint, card=card)
    if in_folder:
        export_folder(checkpoint, output, precision)
        size = sum((output / name).stat().st_size for name in (STEP, POSTFILTER, ROUNDS)) / 1e6
        print(f"{output}: whole mels and streams without PyTorch, {size:.1f} MB")
        return 0
    if arguments.format == "pt2":
        export_pt2(checkpoint, output, arguments.step)
    else:
        export_onnx(checkpoint, output, arguments.step, precision)
    size = output.stat().st_size / 1e6
    print(f"{output}: {'streaming step' if arguments.step else 'whole mels'}, {size:.1f} MB")
    return 0


COMMAND = Command("export", "write a checkpoint for other programs: ONNX or torch.export", options, run)
