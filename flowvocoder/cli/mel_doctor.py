"""`mel doctor`: which convention a mel is in."""

import argparse
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowvocoder.cli.command import Command
from flowvocoder.errors import ConfigError, MelError
from flowvocoder.mel.spec import CONVENTIONS, MelSpec
from flowvocoder.voice_card import BUNDLED_VOICE

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
    from flowvocoder.audio.files import at_rate, piped, read_as_stored
    from flowvocoder.cli.common import say_changes
    from flowvocoder.mel import doctor
    from flowvocoder.mel.arrays import read_bands
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
        stored = read_as_stored(arguments.reference, content=piped(arguments.reference))  # once: it may be a pipe
        say_changes(arguments.reference, stored)
        found = doctor.fits(mel, functools.cache(lambda rate: at_rate(stored, rate).samples))
        if not found:
            raise MelError(f"{arguments.mel}: no convention has {mel.shape[0]} bands and {mel.shape[1]} frames of"
                           f" {arguments.reference}")  # fmt: skip
        if arguments.save is not None:
            own = [fit for fit in found if fit.name in CONVENTIONS and not fit.reading.startswith("power")]
            write_statistics(arguments.save, (own or found)[0].statistics)
    if arguments.json:
        print(json.dumps({"bands": mel.shape[0], "frames": mel.shape[1], "transposed": turned, "plausible": plausible,
                          "fits": [_values(fit) for fit in found]}, indent=2))  # fmt: skip
        return 0
    print(f"{arguments.mel}: {mel.shape[0]} bands x {mel.shape[1]} frames, {float(mel.min()):.3g} to"
          f" {float(mel.max()):.3g}" + "; transposed" * turned)  # fmt: skip
    if found:
        _print_fits(arguments, found, turned)
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


def _print_fits(arguments: argparse.Namespace, found: "list[Fit]", turned: bool) -> None:
    from flowvocoder.mel.doctor import EXACT, FAR
    from flowvocoder.mel.numbers import UNITS

    print("  nats from the recording's mel: as it is, scaled, scaled a band")
    for fit in found:
        print(f"  {fit.name}: {fit.before:.3f}, {fit.scaled:.3f}, {fit.by_band:.3f} ({fit.numbers()})")
    best = found[0]
    if best.by_band > FAR:
        print(f"none of these: {best.name} is nearest, and {best.by_band:.2f} nats away however its bands are scaled")
        return
    sure = "exactly" if min(best.before, best.scaled, best.by_band) < EXACT else "nearest"
    print(f"{sure} {best.name}; {best.numbers()}")
    stated = best.reading == "logarithms" and (best.before < EXACT or best.name not in CONVENTIONS)
    if stated and not turned:
        _run(f"synth --convention {best.name} {arguments.mel} OUT.wav{_voice(best)}")
        return
    convert = f"mel convert {arguments.mel} OUT.npy --convention {best.name}"
    if stated:
        _run(convert)
    elif best.reading != "logarithms":
        _run(f"{convert} --numbers {best.reading}")
    elif best.numbers() in UNITS:
        _run(f"{convert} --numbers {best.numbers()}")
    else:
        if arguments.save is None:
            _run(f"mel doctor {arguments.mel} --reference {arguments.reference} --save STATS.json")
        _run(f"{convert} --stats {arguments.save or 'STATS.json'}")
    _run(f"synth OUT.npy OUT.wav{_voice(best)}")


def _run(command: str) -> None:
    print(f"run: flowvocoder {command}")


def _voice(best: "Fit") -> str:
    """The option that names a voice that takes such mels; nothing where the default one does, or none is known."""
    from flowvocoder.cli.common import voices_for
    from flowvocoder.mel.conversion import MelConversion
    from flowvocoder.mel.toolkits import toolkit

    def takes(mel: dict[str, Any]) -> bool:
        try:
            return bool(MelConversion(toolkit(best.name), MelSpec.from_dict(mel)))
        except MelError:
            return False

    names = voices_for(takes)
    return "" if BUNDLED_VOICE.name in names or not names else f" --checkpoint {names[0]}"


COMMAND = Command("mel doctor", "which convention a mel is in, and what to run", options, run)
