"""Table of docs/results/edit.md: pitch, duration and predicted quality of edits, beside WORLD and a phase vocoder.

python docs/scripts/edit.py FILE... [--seconds 4] [--kept FILE.jsonl]

WORLD (Morise et al. 2016) is pyworld's, with DIO and StoneMask. The phase vocoder is librosa's, which moves formants
with the pitch. Quality is DNSMOS P.835, overall. Started again with the same FILE.jsonl, it goes on where it was.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyworld
from tables import table

from flowvocoder.analysis.editing import moved
from flowvocoder.audio.files import read_audio
from flowvocoder.audio.resample import resample
from flowvocoder.evaluation.measures.opinion import _overall
from flowvocoder.evaluation.pitch import RATE, track_pitch
from flowvocoder.extras import librosa
from flowvocoder.progress import progress

EDITS = (4.0, 1.0), (-4.0, 1.0), (0.0, 0.7), (0.0, 1.4)
"""Semitones and speed."""


def world(x: np.ndarray, pitch: float, speed: float) -> np.ndarray:
    f0, envelope, aperiodicity = pyworld.wav2world(x.astype(np.float64), RATE)
    return pyworld.synthesize(f0 * 2 ** (pitch / 12), envelope, aperiodicity, RATE, 5.0 / speed)


def phase_vocoder(x: np.ndarray, pitch: float, speed: float) -> np.ndarray:
    effects = librosa().effects
    shifted = effects.pitch_shift(x, sr=RATE, n_steps=pitch) if pitch else x
    return effects.time_stretch(shifted, rate=speed) if speed != 1.0 else shifted


SYSTEMS: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    "flowvocoder": lambda x, pitch, speed: moved(x, RATE, pitch, speed),
    "WORLD": world,
    "phase vocoder": phase_vocoder,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="of the middle of each")
    parser.add_argument("--kept", type=Path, help="what is done so far, a line an edit")
    arguments = parser.parse_args()
    kept, rows = arguments.kept, []
    if kept and kept.exists():
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
    done = {tuple(row["key"]) for row in rows}
    keys = [(str(f), *edit, system) for f in arguments.files for edit in EDITS for system in SYSTEMS]
    for key in progress([key for key in keys if key not in done], "edit", "edit"):
        rows.append({"key": key, **one(*key, arguments.seconds)})
        if kept:
            with kept.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    report([row for row in rows if tuple(row["key"]) in set(keys)])


def one(file: str, pitch: float, speed: float, system: str, seconds: float) -> dict[str, float]:
    x = read_audio(Path(file), RATE).samples
    middle, half = len(x) // 2, round(seconds * RATE / 2)
    x = x[max(0, middle - half) : middle + half]
    y = np.asarray(SYSTEMS[system](x, pitch, speed), np.float64)
    cents, voiced = pitch_change(x.astype(np.float64), y, speed)
    return {"cents": cents - 100 * pitch, "voiced": voiced, "length": 100 * (len(y) * speed / len(x) - 1),
            "quality": _overall(resample(y, RATE, 16000))}  # fmt: skip


def pitch_change(x: np.ndarray, y: np.ndarray, speed: float) -> tuple[float, float]:
    """Median cents over the frames that are voiced in both, and how many of x are, at the shift at which they agree."""
    before, after = track_pitch(x).f0, track_pitch(y).f0
    best = (np.inf, 0.0, 0.0)
    for shift in range(-6, 7):  # 30 ms either way: a system may be late, and pitch falls
        frames = np.clip(np.rint(np.arange(len(after)) * speed).astype(int) + shift, 0, len(before) - 1)
        both = (before[frames] > 0) & (after > 0)
        cents = 1200 * np.log2(after[both] / before[frames][both])
        spread = float(np.median(np.abs(cents - np.median(cents))))
        best = min(best, (spread, float(np.median(cents)), both.sum() / max(1, (before[frames] > 0).sum())))
    return best[1], best[2]


def report(rows: list[dict[str, Any]]) -> None:
    lines = []
    for pitch, speed, system in ((*edit, system) for edit in EDITS for system in SYSTEMS):
        some = [row for row in rows if tuple(row["key"][1:]) == (pitch, speed, system)]
        if some:
            cents, length = (np.abs([row[key] for row in some]) for key in ("cents", "length"))
            voiced, quality = (float(np.mean([row[key] for row in some])) for key in ("voiced", "quality"))
            lines.append((f"{pitch:+g}", f"{speed:g}", system, f"{np.median(cents):.1f}", f"{cents.max():.1f}",
                          f"{length.max():.2f}", f"{voiced:.2f}", f"{quality:.2f}"))  # fmt: skip
    head = ("semitones", "speed", "system", "cents off, median", "at most", "length off, %", "voiced kept", "DNSMOS")
    print(table(head, lines))


if __name__ == "__main__":
    main()
