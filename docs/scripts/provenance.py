"""Tables of docs/how-to/prove.md: how often what a voice made is proven, and what does not survive.

python docs/scripts/provenance.py CORPUS... [--files 1000] [--survivals 40]
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from flowvocoder import Vocoder
from flowvocoder.analysis.provenance import _compared, _latent, _noise, prove
from flowvocoder.audio.files import read_audio
from flowvocoder.audio.resample import resample
from flowvocoder.progress import progress

SECONDS, RATE = 1.0, 22050
OTHERS = 16
"""Seeds that each file was not made with."""
Change = Callable[[np.ndarray], np.ndarray]


def rounded(x: np.ndarray) -> np.ndarray:
    return (np.round(np.clip(x, -1, 1 - 2**-15) * 32768) / 32768).astype(np.float32)


def noisy(db: float) -> Change:
    def change(x: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).standard_normal(len(x)) * np.sqrt(np.square(x).mean()) * 10 ** (-db / 20)
        return rounded(x + noise.astype(np.float32))

    return change


def coded(format: str, subtype: str, rate: int, level: float) -> Change:
    def change(x: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        sf.write(file, resample(x, RATE, rate), rate, subtype, format=format, compression_level=level)
        file.seek(0)
        return rounded(resample(sf.read(file, dtype="float32")[0], rate, RATE))

    return change


def through(rate: int) -> Change:
    return lambda x: rounded(resample(resample(x, RATE, rate), rate, RATE))


CHANGES: dict[str, Change] = {
    "16 bits": rounded,
    "16 bits, 20 dB quieter": lambda x: rounded(0.1 * x),
    "8 bits": lambda x: (np.round(x * 128) / 128).astype(np.float32),
    "clipped at half its peak": lambda x: rounded(np.clip(x, -0.5 * np.abs(x).max(), 0.5 * np.abs(x).max())),
    "MP3, 64 kbit/s": coded("MP3", "MPEG_LAYER_III", RATE, 0.63),
    "MP3, 32 kbit/s": coded("MP3", "MPEG_LAYER_III", RATE, 0.84),
    "Opus, 24 kbit/s": coded("OGG", "OPUS", 24000, 0.93),
    "through 16 kHz": through(16000),
    "through 8 kHz": through(8000),
    "noise at 40 dB": noisy(40),
    "noise at 30 dB": noisy(30),
    "noise at 20 dB": noisy(20),
    "0.1 % faster": lambda x: rounded(resample(x, 22072, RATE)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", metavar="CORPUS", nargs="+", type=Path)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--survivals", type=int, default=40)
    arguments = parser.parse_args()
    folders = [sorted(folder.rglob("*.flac")) for folder in arguments.corpora]
    vocoder, rng = Vocoder.from_pretrained(), np.random.default_rng(0)
    true, false, kept = [], [], {name: [] for name in CHANGES}
    for number in progress(range(arguments.files), "prove", "file"):
        files = folders[rng.integers(len(folders))]
        x = read_audio(files[rng.integers(len(files))], RATE).samples
        first = int(rng.integers(max(1, len(x) - int(SECONDS * RATE))))
        audio = torch.from_numpy(x[first : first + int(SECONDS * RATE)])
        if len(audio) < 2048:
            continue
        made = vocoder.resynthesize(audio, seed=number)[0].numpy()
        z = _latent(vocoder, torch.from_numpy(rounded(made))[None, : len(made) // 256 * 256], None)[0]
        true.append(_compared(z, _noise(vocoder, number, z.shape[1]))[0])
        false += [_compared(z, _noise(vocoder, other, z.shape[1]))[0] for other in range(10**6, 10**6 + OTHERS)]
        for name, change in CHANGES.items() if number < arguments.survivals else ():
            changed = torch.from_numpy(change(made).astype(np.float32))
            kept[name].append(prove(vocoder, changed, number, cut=False))
    t, f = np.array(true), np.array(false)
    print(f"{len(t)} files of {SECONDS} s; proven at 1e-6: {np.mean(t > 4.753):.4f}; least statistic {t.min():.1f}")
    print(f"{len(f)} pairs with another seed: {np.mean(f > 4.753):.4f} at 1e-6, {np.mean(f > 2.326):.4f} at 0.01, "
          f"{np.mean(f > 1.645):.4f} at 0.05; largest {f.max():.2f}")  # fmt: skip
    print("| what was done to it | proven at 1e-6 | statistic, median | correlation |\n|---|---|---|---|")
    for name, proofs in kept.items():
        proven = np.mean([p.log10_p <= -6 for p in proofs])
        statistic, correlation = (
            np.median([getattr(p, field) for p in proofs]) for field in ("statistic", "correlation")
        )
        print(f"| {name} | {proven:.2f} | {statistic:.1f} | {correlation:.3f} |")


if __name__ == "__main__":
    main()
