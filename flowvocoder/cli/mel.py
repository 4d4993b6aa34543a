"""`mel`: audio to mel files."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.cli.bulk import Convert, add_paths, convert_files, recordings_to
from flowvocoder.cli.command import Command
from flowvocoder.cli.common import load_vocoder, read_recording, set_machine
from flowvocoder.cli.options import add_checkpoint
from flowvocoder.extras import torch_is_there

if TYPE_CHECKING:
    from flowvocoder.audio.files import Samples
    from flowvocoder.mel.spec import MelSpec


def options(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "recording", "OUT.npy")
    parser.add_argument("--convention", help="mel convention: tacotron2, hifigan, ... (default: the checkpoint's)")
    add_checkpoint(parser)


def run(arguments: argparse.Namespace) -> int:
    """Each recording to a .npy, in the checkpoint's convention or the one named."""
    return convert_files(arguments, recordings_to(".npy"), _converter)


def _converter(arguments: argparse.Namespace, several: bool) -> Convert:
    from flowvocoder.mel.files import write_mel
    from flowvocoder.mel.spec import convention

    spec = convention(arguments.convention) if arguments.convention else load_vocoder(arguments).spec
    front_end = _front_end(spec, arguments)

    def convert(recording: Path, output: Path) -> str:
        values = front_end(read_recording(recording, spec).samples)
        write_mel(output, values, spec)
        return f"{output}: {values.shape[0]} bands x {values.shape[1]} frames, {spec.name()}"

    return convert


def _front_end(spec: "MelSpec", arguments: argparse.Namespace) -> "Callable[[Samples], Samples]":
    """Audio (T,) -> mel (n_mels, F)."""
    if not torch_is_there():
        from flowvocoder.runtime.frontend import MelFrontEnd as WithoutTorch

        return WithoutTorch(spec)
    import torch

    from flowvocoder.mel.frontend import MelFrontEnd

    device = set_machine(arguments)
    front_end = MelFrontEnd(spec).to(device)
    return lambda samples: front_end(torch.from_numpy(samples).to(device)).cpu().numpy()


COMMAND = Command("mel", "compute recordings' mel spectrograms; each spec goes to OUT.npy.json", options, run)
