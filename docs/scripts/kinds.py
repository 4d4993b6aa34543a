"""A table of how a voice fares with kinds of recordings, and the worst clip of each: its spectrogram and audio.

    python docs/scripts/kinds.py OUT "men=CORPUS:spk01*,spk47*" "whisper=CORPUS:*whisper*" "noise=CORPUS:*@noise"

A kind is a corpus folder, the clips of it whose names fit one of some patterns, and what is done to them: `child` (a
fifth higher and quicker, by resampling), `telephone` (300 to 3400 Hz), `noise` (white, 15 dB below), or a number, the
Hz of a low-pass. The measures are those of `flowvocoder evaluate`, seed 0. `above` is the level above 8.5 kHz over the
recording's, both with the noise of 16 bits, before peaks are clipped. It leaves out a tenth of a second at either end,
where the post-filter has no whole frames.
"""

import argparse
import fnmatch
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tables import table

from flowvocoder import Vocoder
from flowvocoder.audio.files import write_audio
from flowvocoder.audio.plots import save_pair
from flowvocoder.audio.resample import resample
from flowvocoder.data.corpus import open_corpus
from flowvocoder.evaluation import evaluate_pair
from flowvocoder.units import PCM16_STEP
from flowvocoder.voice_card import checkpoint_folder

Samples = npt.NDArray[np.float32]

RATE = 22050
MEASURES = "quality", "pesq", "pulse", "vuv", "f0_fine", "band_db", "hf_db"
HIGH = 8500.0


def band(samples: Samples, low: float, high: float) -> Samples:
    """What lies between two frequencies, with edges of some 80 Hz."""
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    gain = 0.25 * (1 + np.tanh((hz - low) / 40)) * (1 - np.tanh((hz - high) / 40))
    return np.fft.irfft(np.fft.rfft(samples) * gain, len(samples)).astype(np.float32)


def noisy(samples: Samples) -> Samples:
    """With white noise 15 dB below."""
    level = 10 ** (-15 / 20) * float(np.sqrt(np.mean(samples**2)))
    return samples + level * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)


CHANGES: dict[str, Callable[[Samples], Samples]] = {
    "": lambda samples: samples,
    "child": lambda samples: resample(samples, 24 * RATE // 20, RATE)[: len(samples)],
    "telephone": lambda samples: band(samples, 300.0, 3400.0),
    "noise": noisy,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("kinds", nargs="+", metavar="KIND=CORPUS:PATTERNS@CHANGE")
    parser.add_argument("--checkpoint", default="bundled")
    parser.add_argument("--limit", type=int, default=6, help="clips of a kind (default 6)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a clip (default 5)")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    vocoder = Vocoder.from_pretrained(checkpoint_folder(given.checkpoint))
    head = ("kind", "clips", *MEASURES, "above", "worst")
    print(table(head, iter([])), flush=True)
    for text in given.kinds:
        kind, _, rest = text.partition("=")
        print(table(head, iter([row(kind, rest, vocoder, given)])).splitlines()[-1], flush=True)


def row(kind: str, rest: str, vocoder: Vocoder, given: argparse.Namespace) -> tuple[str, ...]:
    """Means over the clips of a kind; the worst one is kept."""
    where, _, change = rest.partition("@")
    folder, _, patterns = where.rpartition(":")
    results: list[tuple[str, dict[str, float]]] = []
    worst = math.inf
    for name, samples in clips(Path(folder), patterns.split(","), given.limit):
        recording = rounded(changed(samples[: int(given.seconds * RATE)], change))
        spoken = vocoder.resynthesize(torch.from_numpy(recording), seed=0)[0].numpy()
        copy = rounded(spoken)
        values = evaluate_pair(recording, copy, RATE)
        results.append((name, {**values, "above": above(spoken) - above(recording)}))
        if not math.isfinite(worst) or values["quality"] < worst:  # a whisper has no quality
            worst = values["quality"]
            save_pair(given.out / f"{kind}.png", recording, copy, RATE)
            write_audio(given.out / f"{kind}.wav", iter([copy]), RATE)
    if not results:
        raise SystemExit(f"{rest}: no such clips")
    means = [np.nanmean([values[name] for _, values in results]) for name in (*MEASURES, "above")]
    lowest = min(results, key=lambda one: np.nan_to_num(one[1]["quality"]))[0]
    return (kind, str(len(results)), *(f"{mean:.3g}" for mean in means), lowest)


def clips(folder: Path, patterns: list[str], limit: int) -> list[tuple[str, Samples]]:
    """Names and audio of a corpus's recordings that fit a pattern: as many of each pattern."""
    corpus = open_corpus(folder)
    everything = sorted([*corpus.training, *corpus.held_out], key=lambda utterance: utterance.id)
    chosen = []
    for pattern in patterns:
        fit = [one for one in everything if fnmatch.fnmatch(one.id.partition("/")[2], pattern)]
        chosen += fit[: max(1, limit // len(patterns))]
    return [(one.id.partition("/")[2], one.read(RATE)) for one in chosen]


def changed(samples: Samples, change: str) -> Samples:
    """A recording after one of CHANGES, or a low-pass at so many Hz."""
    return CHANGES[change](samples) if change in CHANGES else band(samples, -1e9, float(change))


def rounded(samples: Samples) -> Samples:
    """As a 16-bit file holds it."""
    return (np.round(np.clip(samples, -1, 1 - PCM16_STEP) / PCM16_STEP) * PCM16_STEP).astype(np.float32)


def above(samples: Samples) -> float:
    """dB above HIGH inside a recording, with the noise of 16 bits added."""
    samples = samples[RATE // 10 : -RATE // 10] * np.hanning(len(samples) - 2 * (RATE // 10)).astype(np.float32)
    noise = PCM16_STEP * np.random.default_rng(0).uniform(-0.5, 0.5, len(samples))
    high = np.abs(np.fft.rfft(samples + noise)) ** 2
    return float(10 * np.log10(high[np.fft.rfftfreq(len(samples), 1 / RATE) > HIGH].mean()))


if __name__ == "__main__":
    main()
