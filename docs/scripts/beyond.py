"""Weights of `flowvocoder.postfilter.beyond`: levels above 8 kHz, by least squares on what a mel shows.

    python docs/scripts/beyond.py --corpus DIR --corpus DIR

Every speaker weighs the same. A quarter of the speakers tests the fit; the weights printed are of all.
"""

import argparse
import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from flowvocoder.audio.bandwidth import band_edge
from flowvocoder.data.corpus import Utterance, open_corpus
from flowvocoder.data.splits import hash_of
from flowvocoder.mel.frontend import MelFrontEnd, band_centres, unit_noise_level
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.beyond import readings
from flowvocoder.units import PCM16_STEP

SPEC = MelSpec()
EDGES = (8000.0, 9000.0, 10000.0, 11025.0)
"""Hz: between them lie the bands of `ABOVE`."""

CUTS = (3400.0, 5500.0, 7000.0)
"""Hz at which some of the recordings are low-passed as well."""

FULL = 10500.0
"""Hz that a recording must reach."""

SECONDS, FEW, MANY = 6, 3, 12
"""Of a recording; recordings of a speaker in a corpus of several, and of one."""

Doubles = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", action="append", type=Path, required=True)
    torch.set_grad_enabled(False)
    rows = [row for corpus in parser.parse_args().corpus for row in of_corpus(corpus)]
    voices = sorted({voice for voice, _, _, _ in rows})
    random.Random(0).shuffle(voices)
    tested = set(voices[: len(voices) // 4])
    weights = fit([row for row in rows if row[0] not in tested])
    print(f"{len(rows)} recordings, {len(voices)} speakers; error in dB of a recording's level, of unseen speakers:")
    for cut in (None, *CUTS):
        errors = [
            float((weights.T @ x - y).mean()) * 20 / math.log(10) for v, c, x, y in rows if v in tested and c == cut
        ]
        print(f"  {cut or 'as it is'}: mean {np.mean(errors):+.1f}, mean absolute {np.abs(errors).mean():.1f}")
    print(np.round(fit(rows).T, 3).tolist())


def of_corpus(path: Path) -> Iterator[tuple[str, float | None, Doubles, Doubles]]:
    """Speaker, low-pass, what is read off each frame (7, F) and its levels above (3, F)."""
    corpus = open_corpus(path)
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in (*corpus.training, *corpus.held_out):
        by_speaker.setdefault(utterance.voice, []).append(utterance)
    for voice, mine in by_speaker.items():
        for utterance in sorted(mine, key=lambda one: hash_of(one.id))[: FEW if len(by_speaker) > 5 else MANY]:
            samples = utterance.read(SPEC.sample_rate)[: SECONDS * SPEC.sample_rate].astype(np.float64)
            if len(samples) < 8 * SPEC.n_fft or band_edge(samples, SPEC.sample_rate)[0] < FULL:
                continue
            for cut in (None, CUTS[hash_of(utterance.id) % len(CUTS)]):
                yield voice, cut, *frames(samples if cut is None else low_passed(samples, cut))


def low_passed(samples: Doubles, cut: float) -> Doubles:
    """Without what lies above, but for the noise of 16 bits."""
    spectrum, hz = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / SPEC.sample_rate)
    kept = np.fft.irfft(spectrum * (0.5 - 0.5 * np.tanh((hz - cut) / 40.0)), len(samples))
    return kept + PCM16_STEP * np.random.default_rng(0).uniform(-0.5, 0.5, len(samples))


def frames(samples: Doubles) -> tuple[Doubles, Doubles]:
    """What is read off every frame, with a 1 below it, and the levels to be known, of noise of standard deviation 1."""
    audio = torch.from_numpy(samples).float()
    mel = MelFrontEnd(SPEC)(audio) - unit_noise_level(SPEC)[:, None]
    known = readings(band_centres(SPEC)).T @ mel
    window = torch.hann_window(SPEC.n_fft)
    power = torch.stft(audio, SPEC.n_fft, SPEC.hop_length, window=window, return_complex=True).abs().square()
    hz = torch.linspace(0, SPEC.sample_rate / 2, len(power))
    bands = [power[(hz >= low) & (hz <= high)].mean(0) for low, high in itertools.pairwise(EDGES)]
    levels = 0.5 * ((torch.stack(bands) + 1e-8) / window.square().sum()).log()
    return torch.cat([known, torch.ones(1, known.shape[1])]).double().numpy(), levels.double().numpy()


def fit(rows: list[tuple[str, float | None, Doubles, Doubles]]) -> Doubles:
    """Weights (7, 3) of least squares in which speakers, and the recordings of each, weigh the same."""
    voices = [voice for voice, _, _, _ in rows]
    left, right = 1e-3 * np.eye(rows[0][2].shape[0]), 0.0
    for voice, _, x, y in rows:
        weight = 1.0 / (voices.count(voice) * x.shape[1])
        left, right = left + weight * x @ x.T, right + weight * x @ y.T
    return np.asarray(np.linalg.solve(left, right))


if __name__ == "__main__":
    main()
