"""`mel`: audio to mel files."""

import argparse
from pathlib import Path

from flowvocoder.cli.bulk import Convert, add_paths, convert_files, recordings_to
from flowvocoder.cli.command import Command
from flowvocoder.cli.common import load_vocoder, read_recording, set_machine
from flowvocoder.cli.options import add_checkpoint


def options(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "recording", "OUT.npy")
    parser.add_argument("--convention", help="mel convention: tacotron2, hifigan, ... (default: the checkpoint's)")
    add_checkpoint(parser)


def run(arguments: argparse.Namespace) -> int:
    """Each recording to a .npy, in the checkpoint's convention or the one named."""
    return convert_files(arguments, recordings_to(".npy"), _converter)


def _converter(arguments: argparse.Namespace, several: bool) -> Convert:
    import torch

    from flowvocoder.mel.files import write_mel
    from flowvocoder.mel.frontend import MelFrontEnd
    from flowvocoder.mel.spec import convention

    spec = convention(arguments.convention) if arguments.convention else load_vocoder(arguments).spec
    device = set_machine(arguments)
    front_end = MelFrontEnd(spec).to(device)

    def convert(recording: Path, output: Path) -> str:
        audio = torch.from_numpy(read_recording(recording, spec).samples)
        values = front_end(audio.to(device))
        write_mel(output, values.cpu().numpy(), spec)
        return f"{output}: {values.shape[0]} bands x {values.shape[1]} frames, {spec.name()}"

    return convert


COMMAND = Command("mel", "compute recordings' mel spectrograms; each spec goes to OUT.npy.json", options, run)
