"""`encode`: audio to the flow's latent."""

import argparse
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_not_input, check_output, load_vocoder, read_recording
from flowvocoder.cli.latent import write_latent
from flowvocoder.cli.options import add_checkpoint


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="IN", type=Path, help="recording")
    parser.add_argument("output", metavar="OUT.npz", type=Path, help="latent z, mel, length and mel spec")
    add_checkpoint(parser)


def run(arguments: argparse.Namespace) -> int:
    """IN -> OUT.npz."""
    import torch

    check_output(arguments.output, (".npz",))
    check_not_input(arguments.output, arguments.input)
    vocoder = load_vocoder(arguments)
    recording = read_recording(arguments.input, vocoder.spec)
    z, mel = vocoder.encode(torch.from_numpy(recording.samples))
    write_latent(arguments.output, z[0], mel[0], len(recording.samples), vocoder.spec)
    channels, columns = z.shape[1:]
    print(f"{arguments.output}: latent of {channels} channels x {columns} columns, mean {z.mean():.3f},"
          f" std {z.std():.3f}")  # fmt: skip
    return 0


COMMAND = Command("encode", "encode a recording as the flow's latent z", options, run)
