"""`score`: exact likelihood of recordings."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowvocoder.cli.bulk import find_files
from flowvocoder.cli.command import FAILED, Command, say
from flowvocoder.cli.common import LONGEST_ENCODED, load_vocoder, read_recording
from flowvocoder.cli.options import add_checkpoint, add_cluster, seed
from flowvocoder.cli.processes import each
from flowvocoder.errors import AudioError
from flowvocoder.progress import progress
from flowvocoder.units import bits_per_sample

if TYPE_CHECKING:
    import torch

    from flowvocoder.vocoder import Vocoder


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="recordings, folders or globs")
    parser.add_argument("--json", action="store_true", help="as a JSON list of file, nats_per_sample, bits_per_sample")
    parser.add_argument("--mel-from", metavar="FILE", type=Path, help="condition on this recording's mel")
    parser.add_argument("--seed", type=seed, default=0, help="random seed of the dequantisation (default 0)")
    add_checkpoint(parser)
    add_cluster(parser, "several recordings")


def run(arguments: argparse.Namespace) -> int:
    """Nats and bits per sample of each file; a file that cannot be scored is named, and the rest is scored."""
    from flowvocoder.audio.files import EXTENSIONS

    files = find_files(arguments.paths, EXTENSIONS)
    rows: list[dict[str, Any]] = []
    scores = progress(each(arguments, _scorer, files, files), "score", "file", len(files))
    for path, nats in zip(files, scores, strict=True):
        if isinstance(nats, str):
            say(f"flowvocoder: {nats}")
            continue
        rows.append({"file": str(path), "nats_per_sample": nats, "bits_per_sample": bits_per_sample(nats)})
        if not arguments.json:
            print(f"{path}: {nats:.4f} nats/sample, {bits_per_sample(nats):.4f} bits/sample", flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif len(rows) > 1:
        mean = sum(r["nats_per_sample"] for r in rows) / len(rows)
        print(f"mean of {len(rows)} files: {mean:.4f} nats/sample, {bits_per_sample(mean):.4f} bits/sample")
    return 0 if len(rows) == len(files) else FAILED


def _scorer(arguments: argparse.Namespace) -> Callable[[Path], float | str]:
    vocoder = load_vocoder(arguments)
    foreign = vocoder.mel(_samples(arguments.mel_from, vocoder)) if arguments.mel_from else None

    def score(path: Path) -> float | str:
        try:
            return _score_one(path, vocoder, foreign, arguments)
        except AudioError as error:
            return str(error)

    return score


def _score_one(path: Path, vocoder: "Vocoder", foreign: "torch.Tensor | None", arguments: argparse.Namespace) -> float:
    audio = _samples(path, vocoder)
    frames = len(audio) // vocoder.spec.hop_length
    if foreign is not None and foreign.shape[-1] < frames:
        raise AudioError(f"{path}: {frames} frames are more than the {foreign.shape[-1]} of {arguments.mel_from}")
    return float(vocoder.score(audio, None if foreign is None else foreign[..., :frames], arguments.seed))


def _samples(path: Path, vocoder: "Vocoder") -> "torch.Tensor":
    import torch

    return torch.from_numpy(read_recording(path, vocoder.spec, LONGEST_ENCODED).samples)


COMMAND = Command("score", "exact likelihood of recordings, in nats and bits per sample", options, run)
