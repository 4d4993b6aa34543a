"""`decode`: a latent back to audio."""

import argparse
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_not_input, check_output, load_vocoder, write_speech
from flowvocoder.cli.latent import read_latent
from flowvocoder.cli.options import add_checkpoint
from flowvocoder.errors import MelError


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="IN.npz", type=Path, help="latent file, written by `encode`")
    parser.add_argument("output", metavar="OUT.wav", type=Path, help="audio, .wav or .flac")
    add_checkpoint(parser)


def run(arguments: argparse.Namespace) -> int:
    """IN.npz -> OUT.wav: the recording, if its latent is as `encode` left it."""
    check_output(arguments.output, (".wav", ".flac"))
    check_not_input(arguments.output, arguments.input)
    vocoder = load_vocoder(arguments)
    z, mel, samples = read_latent(arguments.input, vocoder.spec)
    try:
        audio = vocoder.decode(z, mel)[0, :samples].cpu().numpy()
    except MelError as error:
        raise MelError(f"{arguments.input}: {error}") from error
    write_speech(arguments.output, [audio], vocoder.sample_rate)
    print(f"{arguments.output}: {len(audio) / vocoder.sample_rate:.2f} s")
    return 0


COMMAND = Command("decode", "decode a latent z back to audio", options, run)
