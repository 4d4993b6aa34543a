"""`mel doctor`: which convention a mel is in."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.cli.command import Command
from flowvocoder.errors import ConfigError, MelError

if TYPE_CHECKING:
    from flowvocoder.mel.doctor import Fit


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mel", metavar="MEL", type=Path, help="mel file: .npy, .npz or .pt")
    parser.add_argument("--reference", metavar="AUDIO", type=Path, help="a recording of the same utterance")
    parser.add_argument("--save", metavar="STATS.json", type=Path,
                        help="write the affine map a band that fits best, for `mel convert --stats`")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Say what the numbers look like; beside a recording, how far each convention is from them."""
    from flowvocoder.cli.common import read_recording
    from flowvocoder.mel import doctor
    from flowvocoder.mel.arrays import read_bands
    from flowvocoder.mel.spec import CONVENTIONS
    from flowvocoder.mel.statistics import write_statistics

    if arguments.save is not None and arguments.reference is None:
        raise ConfigError("--save writes what is fitted to a recording: it needs --reference")
    mel = read_bands(arguments.mel)
    bands = {spec.n_mels for spec in CONVENTIONS.values()}
    turned = mel.shape[0] not in bands and mel.shape[1] in bands
    mel = mel.T if turned else mel
    plausible = doctor.plausible_as(mel)
    found = []
    if arguments.reference is not None:
        found = doctor.fits(mel, lambda spec: read_recording(arguments.reference, spec).samples)
        if not found:
            raise MelError(f"{arguments.mel}: no convention has {mel.shape[0]} bands and {mel.shape[1]} frames of"
                           f" {arguments.reference}")  # fmt: skip
        if arguments.save is not None:
            write_statistics(arguments.save, found[0].statistics)
    if arguments.json:
        print(json.dumps({"bands": mel.shape[0], "frames": mel.shape[1], "transposed": turned, "plausible": plausible,
                          "fits": [_values(fit) for fit in found]}, indent=2))  # fmt: skip
        return 0
    print(f"{arguments.mel}: {mel.shape[0]} bands x {mel.shape[1]} frames, {float(mel.min()):.3g} to"
          f" {float(mel.max()):.3g}" + "; transposed" * turned)  # fmt: skip
    if found:
        _print_fits(arguments, found)
        return 0
    for name, problem in plausible.items():
        print(f"  {name}: {problem or 'plausible'}")
    if not plausible:
        print(f"  no convention has {mel.shape[0]} bands")
    print("numbers alone do not tell conventions with the same values apart: --reference AUDIO compares")
    return 0


def _values(fit: "Fit") -> dict[str, object]:
    values = {k: v for k, v in vars(fit).items() if k not in ("spec", "statistics")}
    return {**values, "numbers": fit.numbers()}


def _print_fits(arguments: argparse.Namespace, found: "list[Fit]") -> None:
    from flowvocoder.mel.doctor import EXACT

    print("  nats from the recording's mel: as it is, scaled, scaled a band")
    for fit in found:
        print(f"  {fit.name}: {fit.before:.3f}, {fit.scaled:.3f}, {fit.by_band:.3f} ({fit.numbers()})")
    best = found[0]
    sure = "exactly" if min(best.before, best.scaled, best.by_band) < EXACT else "nearest"
    print(f"{sure} {best.name}; {best.numbers()}")
    command = f"flowvocoder mel convert {arguments.mel} OUT.npy --convention {best.name}"
    if best.before < EXACT and best.logarithms:
        print(f"run: flowvocoder synth --convention {best.name} {arguments.mel} OUT.wav")
    elif best.numbers() in ("ln", "log10", "decibels"):
        print(f"run: {command} --numbers {best.numbers()}")
    elif not best.logarithms:
        print(f"run: {command} --numbers magnitudes")
    else:
        print(f"run: {command} --stats {arguments.save or 'STATS.json, which --save STATS.json writes'}")


COMMAND = Command("mel doctor", "which convention a mel is in, and what to run", options, run)
