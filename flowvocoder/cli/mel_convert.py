"""`mel convert`: numbers as a program keeps them to a mel file with its spec."""

import argparse
from pathlib import Path

from flowvocoder.cli.bulk import Convert, Formats, add_paths, convert_files
from flowvocoder.cli.command import Command
from flowvocoder.errors import MelError


def options(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "mel", "OUT.npy")
    parser.add_argument("--convention", required=True, help="whose mel it is: tacotron2, hifigan, coqui, ...")
    parser.add_argument("--stats", metavar="FILE", type=Path,
                        help="mean and scale it was normalised by: .npy, .npz, .h5 or .json")  # fmt: skip
    parser.add_argument("--numbers", choices=("ln", "log10", "decibels", "magnitudes", "powers", "power-decibels"),
                        help="what the numbers are, once --stats are undone; librosa's mels are powers"
                        " (default: the convention's)")  # fmt: skip
    parser.add_argument("--trust-mel", action="store_true", help="write what comes out, whatever it looks like")
    parser.set_defaults(threads=1, device="cpu")


def run(arguments: argparse.Namespace) -> int:
    """Each mel to a .npy in the convention named, its spec beside it."""
    from flowvocoder.mel.arrays import SUFFIXES

    return convert_files(arguments, Formats("mel", SUFFIXES, (".npy",)), _converter)


def _converter(arguments: argparse.Namespace, several: bool) -> Convert:
    import numpy as np

    from flowvocoder.mel.arrays import read_bands
    from flowvocoder.mel.diagnose import implausible
    from flowvocoder.mel.files import write_mel
    from flowvocoder.mel.numbers import UNITS, log_magnitudes
    from flowvocoder.mel.statistics import read_statistics
    from flowvocoder.mel.toolkits import toolkit

    source = toolkit(arguments.convention)
    spec = source.spec
    statistics = None if arguments.stats is None else read_statistics(arguments.stats)

    def convert(given: Path, output: Path) -> str:
        mel = read_bands(given)
        if mel.shape[0] != spec.n_mels and mel.shape[1] == spec.n_mels:
            mel = mel.T
        if mel.shape[0] != spec.n_mels:
            raise MelError(f"{given}: has shape {mel.shape}, a {spec.name()} mel has ({spec.n_mels}, frames)")
        if statistics is not None:
            mel = statistics.undo(mel)
        if arguments.numbers is None:
            mel = source.undo(mel)
        try:
            mel = log_magnitudes(mel, arguments.numbers or spec.log, spec)
        except MelError as error:
            raise MelError(f"{given}: {error}") from error
        mel = np.maximum(mel, np.log(spec.floor)) / UNITS[spec.log]
        if not arguments.trust_mel and (problem := implausible(mel, spec)):
            said = f"what comes out is not a plausible {spec.name()} mel: {problem}"
            raise MelError(f"{given}: {said} (--trust-mel writes it)")
        write_mel(output, mel.astype(np.float32), spec)
        return f"{output}: {mel.shape[0]} bands x {mel.shape[1]} frames, {spec.name()}"

    return convert


COMMAND = Command("mel convert", "normalised or scaled mels to mel files with their spec", options, run)
