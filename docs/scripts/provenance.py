"""Tables of docs/how-to/edit.md: how often what a voice made is proven, and what does not survive.

python docs/scripts/provenance.py CORPUS... [--files 1000] [--survivals 40] [--kept FILE.jsonl]

True files are made by the voice with the seed that is looked for. False files are recordings, and what the voice made
with another seed. Started again with the same FILE.jsonl, it goes on where it was.
"""

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
Row = dict[str, Any]


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
    parser.add_argument("--kept", type=Path, help="what is done so far, a line a file")
    arguments = parser.parse_args()
    folders = [sorted(folder.rglob("*.flac")) for folder in arguments.corpora]
    kept, rows = arguments.kept, []
    if kept and kept.exists():
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
    vocoder = Vocoder.from_pretrained()
    for number in progress(range(len(rows), arguments.files), "prove", "file"):
        rows.append(one(vocoder, folders, number, survivals=number < arguments.survivals))
        if kept:
            with kept.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    report(rows[: arguments.files])


def one(vocoder: Vocoder, folders: list[list[Path]], number: int, survivals: bool) -> Row:
    """A true file and its statistic, those of false ones, and [log10 p, statistic, correlation] after each change."""
    rng = np.random.default_rng([0, number])
    audio = np.zeros(0, np.float32)
    while len(audio) < 2048:
        files = folders[rng.integers(len(folders))]
        x = read_audio(files[rng.integers(len(files))], RATE).samples
        first = int(rng.integers(max(1, len(x) - int(SECONDS * RATE))))
        audio = x[first : first + int(SECONDS * RATE)]
    made = vocoder.resynthesize(torch.from_numpy(audio), seed=number)[0].numpy()
    z, recorded = (_latent(vocoder, torch.from_numpy(rounded(x))[None, : len(x) // 256 * 256], None)[0]
                   for x in (made, audio))  # fmt: skip
    noise = _noise(vocoder, number, z.shape[1])
    others = [_noise(vocoder, other, z.shape[1]) for other in range(10**6, 10**6 + OTHERS)]
    proofs = {}
    for name, change in CHANGES.items() if survivals else ():
        proof = prove(vocoder, torch.from_numpy(change(made).astype(np.float32)), number, cut=False)
        proofs[name] = [proof.log10_p, proof.statistic, proof.correlation]
    return {"true": _compared(z, noise)[0], "recording": _compared(recorded, noise)[0],
            "others": [_compared(z, other)[0] for other in others], "changed": proofs}  # fmt: skip


def report(rows: list[Row]) -> None:
    true, recordings, others = (np.hstack([row[key] for row in rows]) for key in ("true", "recording", "others"))
    print(f"{len(true)} files of {SECONDS} s; proven at 1e-6: {np.mean(true > 4.753):.4f}; "
          f"least statistic {true.min():.1f}")  # fmt: skip
    for what, false in (("recordings with a seed", recordings), ("pairs with another seed", others)):
        print(f"{len(false)} {what}: {np.mean(false > 4.753):.4f} at 1e-6, {np.mean(false > 2.326):.4f} at 0.01, "
              f"{np.mean(false > 1.645):.4f} at 0.05; largest {false.max():.2f}")  # fmt: skip
    print("| what was done to it | proven at 1e-6 | statistic, median | correlation |\n|---|---|---|---|")
    for name in rows[0]["changed"]:
        proofs = np.array([row["changed"][name] for row in rows if row["changed"]])
        proven, (_, statistic, correlation) = np.mean(proofs[:, 0] <= -6), np.median(proofs, 0)
        print(f"| {name} | {proven:.2f} | {statistic:.1f} | {correlation:.3f} |")


if __name__ == "__main__":
    main()
