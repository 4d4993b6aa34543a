"""A table of how a voice serves each mel convention: the mel of what comes out against the one given, and PESQ.

    python docs/scripts/conventions.py CORPUS [--checkpoint universal-22k] [--clips 7]

CORPUS has recordings, of which the first of each speaker are taken, four seconds of each. The mels are computed by the
conventions' definitions, seed 0. `best of 8` keeps, of eight seeds, the draw whose mel is nearest to the one given.
"""

import argparse
import dataclasses
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from flowvocoder import Vocoder
from flowvocoder.audio.files import Samples, read_as_stored
from flowvocoder.audio.resample import resample
from flowvocoder.data.corpus import find_utterances
from flowvocoder.evaluation import evaluate_pair
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.toolkits import Toolkit, toolkit

NAMES = "tacotron2", "hifigan", "nemo", "parallelwavegan", "diffsinger", "coqui"
SECONDS, SEEDS = 4, 8


def clips(corpus: Path, rate: int, count: int) -> list[Samples]:
    """The first recording of each speaker, then the second, and so on."""
    speakers = defaultdict(list)
    for utterance in sorted(find_utterances(corpus), key=lambda one: one.path):
        speakers[utterance.speaker].append(utterance.path)
    turns = itertools.zip_longest(*speakers.values())
    paths = [path for turn in turns for path in turn if path is not None][:count]
    recordings = [read_as_stored(path) for path in paths]
    return [resample(one.samples, one.sample_rate, rate)[: SECONDS * rate] for one in recordings]


def given(samples: Samples, kind: Toolkit) -> torch.Tensor:
    """The numbers (1, n_mels, F) as the program gives them."""
    spec = dataclasses.replace(kind.spec, floor=1e-10) if kind.added else kind.spec
    mel = MelFrontEnd(spec)(torch.from_numpy(samples)[None])
    mel = (mel.exp() + kind.added).log() if kind.added else mel
    return (mel - kind.shift) / kind.factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", metavar="CORPUS", type=Path)
    parser.add_argument("--checkpoint", default="universal-22k")
    parser.add_argument("--clips", type=int, default=7)
    arguments = parser.parse_args()
    voice = Vocoder.from_pretrained(arguments.checkpoint)
    recordings = clips(arguments.corpus, voice.sample_rate, arguments.clips)
    print("| given | mel distance | PESQ-WB |", "|---|---|---|", sep="\n")
    for name in NAMES:
        kind = toolkit(name)
        found = []
        for samples in recordings:
            mel = given(samples, kind)
            made = voice.synthesize(mel, seed=0, convention=name)[0].numpy()
            found.append((distance(made, mel, kind), pesq(samples, made, voice.sample_rate)))
        print(f"| `{name}` | {np.mean(found, 0)[0]:.3f} | {np.mean(found, 0)[1]:.2f} |", flush=True)
    kind, best = toolkit(voice.spec.name()), []
    for samples in recordings:
        mel = given(samples, kind)
        draws = [voice.synthesize(mel, seed=seed)[0].numpy() for seed in range(SEEDS)]
        nearest = min(draws, key=lambda made: distance(made, mel, kind))
        best.append((distance(nearest, mel, kind), pesq(samples, nearest, voice.sample_rate)))
    print(f"| best of {SEEDS} | {np.mean(best, 0)[0]:.3f} | {np.mean(best, 0)[1]:.2f} |")


def distance(made: Samples, mel: torch.Tensor, kind: Toolkit) -> float:
    """Mean |difference| of the mel of what was made, in nats."""
    unit = np.log(10.0) if kind.spec.log == "log10" else 1.0
    other = given(made, kind)[..., : mel.shape[2]]
    return float((other - mel[..., : other.shape[2]]).abs().mean()) * kind.factor * unit


def pesq(samples: Samples, made: Samples, rate: int) -> float:
    return evaluate_pair(samples, made, rate)["pesq"]


if __name__ == "__main__":
    main()
