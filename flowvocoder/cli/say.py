"""`say`: text to speech, through an acoustic model of other people and the flow."""

import argparse
import sys
from pathlib import Path

from flowvocoder.cli.bulk import AUDIO_OUT
from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_output, iterations, load_vocoder, write_speech
from flowvocoder.cli.options import add_checkpoint, add_engine, add_sampling
from flowvocoder.errors import ConfigError, MelError
from flowvocoder.files import reading
from flowvocoder.units import seconds


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", help="what to say; - reads standard input")
    parser.add_argument("output", metavar="OUT.wav", type=Path, help="where to write it")
    parser.add_argument("--tts", metavar="MODEL", default="hibari",
                        help="acoustic model: hibari (default; English), the JSON description of an ONNX file, or a"
                        " Python file, which is run")  # fmt: skip
    parser.add_argument("--speed", type=float, default=1.0, help="speaking rate, 0.5 to 2 (default 1)")
    add_checkpoint(parser, files=False)
    add_engine(parser)
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """Text to OUT.wav."""
    from flowvocoder.text.acoustic import acoustic
    from flowvocoder.text.limits import MOST_CHARACTERS, checked_text

    check_output(arguments.output, AUDIO_OUT)
    given = iterations(arguments)
    text = arguments.text
    if text == "-":
        with reading(Path("standard input"), ConfigError, "not text as this system encodes it"):
            text = sys.stdin.read(2 * MOST_CHARACTERS)
    text = checked_text(text, arguments.speed)
    vocoder = load_vocoder(arguments)
    numbers, source = acoustic(arguments.tts, vocoder)(text, arguments.speed, arguments.seed)
    pieces = vocoder.synthesize_pieces(
        source.undo(numbers),
        arguments.temperature,
        seed=arguments.seed,
        convention=source.spec,
        trust_mel=True,
        **given,
    )
    try:
        write_speech(arguments.output, (piece[0].cpu().numpy() for piece in pieces), vocoder.sample_rate)
    except MelError as error:
        raise MelError(f"{arguments.output}: {error}") from error
    length = seconds(numbers.shape[1] * vocoder.spec.hop_length, vocoder.sample_rate)
    print(f"{arguments.output}: {length:.2f} s")
    return 0


COMMAND = Command("say", "text to speech, in one command", options, run)
