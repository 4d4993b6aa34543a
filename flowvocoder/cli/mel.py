"""`mel`: audio to a mel file."""

import argparse
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_not_input, check_output, load_vocoder, read_recording, set_machine
from flowvocoder.cli.options import add_checkpoint


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="IN", type=Path, help="recording")
    parser.add_argument("output", metavar="OUT.npy", type=Path, help="mel file; its spec goes to OUT.npy.json")
    parser.add_argument("--convention", help="mel convention: tacotron2, hifigan, ... (default: the checkpoint's)")
    add_checkpoint(parser)


def run(arguments: argparse.Namespace) -> int:
    """IN -> OUT.npy, in the checkpoint's convention or the one named."""
    import torch

    from flowvocoder.mel.files import write_mel
    from flowvocoder.mel.frontend import MelFrontEnd
    from flowvocoder.mel.spec import convention

    check_output(arguments.output, (".npy",))
    check_not_input(arguments.output, arguments.input)
    spec = convention(arguments.convention) if arguments.convention else load_vocoder(arguments).spec
    device = set_machine(arguments)
    audio = torch.from_numpy(read_recording(arguments.input, spec).samples)
    values = MelFrontEnd(spec).to(device)(audio.to(device))
    write_mel(arguments.output, values.cpu().numpy(), spec)
    print(f"{arguments.output}: {values.shape[0]} bands x {values.shape[1]} frames, {spec.name()}")
    return 0


COMMAND = Command("mel", "compute a recording's mel spectrogram", options, run)
