"""`encode`: audio to the flow's latent."""

import argparse
from pathlib import Path

from flowvocoder.cli.bulk import Convert, add_paths, convert_files, recordings_to
from flowvocoder.cli.command import Command
from flowvocoder.cli.common import LONGEST_ENCODED, load_vocoder, read_recording
from flowvocoder.cli.latent import write_latent
from flowvocoder.cli.options import add_checkpoint


def options(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "recording", "OUT.npz")
    add_checkpoint(parser)


def run(arguments: argparse.Namespace) -> int:
    """Each recording to a .npz."""
    return convert_files(arguments, recordings_to(".npz"), _encoder)


def _encoder(arguments: argparse.Namespace, several: bool) -> Convert:
    import torch

    vocoder = load_vocoder(arguments)

    def encode(recording: Path, output: Path) -> str:
        samples = read_recording(recording, vocoder.spec, LONGEST_ENCODED).samples
        z, mel = vocoder.encode(torch.from_numpy(samples))
        write_latent(output, z[0], mel[0], len(samples), vocoder.spec)
        channels, columns = z.shape[1:]
        size = f"latent of {channels} channels x {columns} columns"
        return f"{output}: {size}, mean {z.mean():.3f}, std {z.std():.3f}"

    return encode


COMMAND = Command("encode", "encode recordings: the flow's latent z, with mel and length", options, run)
