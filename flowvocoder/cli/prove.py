"""`prove`: whether a checkpoint made a recording from the noise of a seed."""

import argparse
import functools
import json
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import LONGEST_ENCODED, load_vocoder, read_recording
from flowvocoder.cli.options import add_checkpoint, positive, seed
from flowvocoder.errors import AudioError, ConfigError, MelError
from flowvocoder.progress import progress

NOT_PROVEN = 1
"""Exit code where nothing speaks for it."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="FILE", type=Path, help="recording")
    parser.add_argument("--mel", metavar="MEL", type=Path, help="mel that it was made from (default: its own)")
    parser.add_argument("--seed", type=seed, default=0, help="seed that it was made with (default 0)")
    parser.add_argument("--false-alarms", metavar="CHANCE", type=positive, default=1e-6,
                        help="chance of a proof for what this checkpoint did not make (default 1e-6)")  # fmt: skip
    parser.add_argument("--as-it-stands", action="store_true",
                        help="the recording begins where the synthesis does: look nowhere else")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_checkpoint(parser, files=False)


def run(arguments: argparse.Namespace) -> int:
    """Says so and returns 0, or 1 where nothing speaks for it."""
    import torch

    from flowvocoder.analysis.provenance import prove
    from flowvocoder.mel.files import read_mel

    if not 0.0 < arguments.false_alarms < 1.0:
        raise ConfigError(f"--false-alarms must be below 1, not {arguments.false_alarms}")
    vocoder = load_vocoder(arguments)
    samples = torch.from_numpy(read_recording(arguments.recording, vocoder.spec, LONGEST_ENCODED).samples)
    mel = None if arguments.mel is None else torch.from_numpy(read_mel(arguments.mel, vocoder.spec))
    if mel is not None and mel.shape[1] < (frames := len(samples) // vocoder.spec.hop_length):
        raise MelError(f"{arguments.mel}: {mel.shape[1]} frames are fewer than the recording's {frames}")
    watch = functools.partial(progress, what="search where it was cut", unit="part")
    try:
        proof = prove(vocoder, samples, arguments.seed, mel, arguments.false_alarms, not arguments.as_it_stands, watch)
    except AudioError as error:
        raise AudioError(f"{arguments.recording}: {error}") from error
    proven = proof.offset is not None
    if arguments.json:
        said = {
            "file": str(arguments.recording),
            "seed": arguments.seed,
            "proven": proven,
            "log10_p": round(proof.log10_p, 2),
            "statistic": round(proof.statistic, 3),
            "correlation": round(proof.correlation, 4),
            "offset": proof.offset,
            "trials": proof.trials,
        }
        print(json.dumps(said, indent=2))
    else:
        chance = f"p = 10^{proof.log10_p:.1f}, correlation {proof.correlation:.3f}"
        place = f", from its sample {proof.offset} on" if proof.offset else ""
        made = f"made by this checkpoint with seed {arguments.seed}{place}"
        print(f"{arguments.recording}: {made if proven else f'nothing speaks for seed {arguments.seed}'} ({chance})")
    return 0 if proven else NOT_PROVEN


COMMAND = Command("prove", "whether a checkpoint made a recording from the noise of a seed", options, run)
