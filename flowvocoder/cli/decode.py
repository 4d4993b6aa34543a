"""`decode`: a latent back to audio."""

import argparse
from pathlib import Path

from flowvocoder.cli.bulk import AUDIO_OUT, Convert, Formats, add_paths, convert_files
from flowvocoder.cli.command import Command
from flowvocoder.cli.common import load_vocoder, write_speech
from flowvocoder.cli.latent import read_latent
from flowvocoder.cli.options import add_checkpoint
from flowvocoder.errors import MelError

FORMATS = Formats("latent", (".npz",), AUDIO_OUT)


def options(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, FORMATS.what, "OUT.wav")
    add_checkpoint(parser)


def run(arguments: argparse.Namespace) -> int:
    """Each latent that `encode` wrote to audio: the recording, if its latent is as it was."""
    return convert_files(arguments, FORMATS, _decoder)


def _decoder(arguments: argparse.Namespace, several: bool) -> Convert:
    vocoder = load_vocoder(arguments)

    def decode(latent: Path, output: Path) -> str:
        z, mel, samples = read_latent(latent, vocoder.spec)
        try:
            audio = vocoder.decode(z, mel)[0, :samples].cpu().numpy()
        except MelError as error:
            raise MelError(f"{latent}: {error}") from error
        write_speech(output, [audio], vocoder.sample_rate)
        return f"{output}: {len(audio) / vocoder.sample_rate:.2f} s"

    return decode


COMMAND = Command("decode", "decode latents z back to audio", options, run)
