"""`edit`: a part of a recording said anew, or all of it at another pitch or speed."""

import argparse
import re
from pathlib import Path

from flowvocoder.cli.bulk import AUDIO_OUT
from flowvocoder.cli.command import Command
from flowvocoder.cli.common import (
    LONGEST_ENCODED,
    check_not_input,
    check_output,
    load_vocoder,
    say_changes,
    say_clipped,
)
from flowvocoder.cli.options import add_checkpoint, positive, seed
from flowvocoder.errors import AudioError, ConfigError

MOVES = "pitch", "speed", "formants"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="IN", type=Path, help="recording")
    parser.add_argument("output", metavar="OUT", type=Path, help="where to write it, .wav or .flac")
    parser.add_argument("--redo", metavar="START-END", type=_span, action="append", default=[],
                        help="seconds to draw anew, as 1.20-1.55; all else stays; may be repeated")  # fmt: skip
    parser.add_argument("--pitch", metavar="SEMITONES", type=float,
                        help="higher by so many, -12 to 12; speed and voice stay")  # fmt: skip
    parser.add_argument("--speed", type=positive, help="times as fast, 0.25 to 4; pitch and voice stay")
    parser.add_argument("--formants", metavar="FACTOR", type=positive,
                        help="on the resonances, 0.5 to 2; above 1 sounds like a smaller speaker")  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="random seed of what is drawn (default 0)")
    parser.add_argument("--temperature", type=float, help="of what is drawn (default: the checkpoint's)")
    add_checkpoint(parser, files=False)


def run(arguments: argparse.Namespace) -> int:
    """Writes the edited recording at its own rate."""
    import numpy as np

    from flowvocoder.analysis.editing import moved, redone
    from flowvocoder.audio.files import read_as_stored, write_audio

    moves = {name: value for name in MOVES if (value := getattr(arguments, name)) is not None}
    if not arguments.redo and not moves:
        raise ConfigError("edit needs something to do: --redo START-END, --pitch, --speed or --formants")
    check_output(arguments.output, AUDIO_OUT)
    check_not_input([arguments.output], [arguments.recording])
    stored = read_as_stored(arguments.recording, longest=LONGEST_ENCODED)
    say_changes(arguments.recording, stored)
    try:
        done = stored.samples
        if arguments.redo:
            drawn = arguments.redo, arguments.seed, arguments.temperature
            done = redone(load_vocoder(arguments), done, stored.sample_rate, *drawn)
        done = moved(done, stored.sample_rate, **moves)
    except AudioError as error:
        raise AudioError(f"{arguments.recording}: {error}") from error
    clipped = write_audio(arguments.output, np.ascontiguousarray(done), stored.sample_rate)
    say_clipped(str(arguments.output), clipped, len(done))
    print(f"{arguments.output}: {len(done) / stored.sample_rate:.2f} s")
    return 0


def _span(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)-(\d{1,6}(?:\.\d{1,6})?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be two times in seconds, as 1.20-1.55, not {text!r}")
    return float(found[1]), float(found[2])


COMMAND = Command("edit", "draw a part of a recording anew, or change pitch, speed or formants", options, run)
