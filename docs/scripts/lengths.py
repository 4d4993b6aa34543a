"""Seconds and memory of synthesis without PyTorch, by length: python docs/scripts/lengths.py VOICE [SECONDS ...]

VOICE is a folder of `flowvocoder export`. Every length runs in a process of its own, on one thread. Prints a table and
draws docs/assets/lengths.webp.
"""

import json
import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure

OUT = Path(__file__).parents[1] / "assets" / "lengths.webp"
ONE = """
import json, sys, time
import numpy as np, soundfile
from flowvocoder.runtime import Vocoder
from flowvocoder.voice_card import VOICES

def peak():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

vocoder, seconds = Vocoder.from_pretrained(sys.argv[1]), float(sys.argv[2])
audio, _ = soundfile.read(VOICES.parent / "examples" / "kathleen.flac", dtype="float32")
mel = vocoder.mel_for(audio)[0]
frames = round(seconds * vocoder.sample_rate / vocoder.spec.hop_length)
mel = np.tile(mel, (1, -(-frames // mel.shape[1])))[:, :frames]
loaded, cpu = peak(), time.process_time()
samples = sum(piece.shape[1] for piece in vocoder.synthesize_pieces(mel, seed=0))
assert samples == frames * vocoder.spec.hop_length
print(json.dumps([seconds, loaded, peak(), time.process_time() - cpu]))
"""


def main(voice: str, *seconds: str) -> None:
    print("| s | MB once loaded | peak MB | CPU seconds | × real time |\n|---|---|---|---|---|")
    rows = []
    for length in seconds or ("1", "10", "60", "600", "3600"):
        done = subprocess.run([sys.executable, "-c", ONE, voice, length], check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
        audio, loaded, peak, cpu = rows[-1]
        print(f"| {audio:g} | {loaded:.0f} | {peak:.0f} | {cpu:.2f} | {audio / cpu:.1f} |", flush=True)
    draw(rows)


def draw(rows: list[list[float]]) -> None:
    """Rows of the table: seconds, MB once loaded, peak MB, CPU seconds."""
    lengths, _, peaks, cpus = zip(*rows, strict=True)
    figure = Figure(figsize=(8, 3), layout="constrained", dpi=100)
    left, right = figure.subplots(1, 2)
    for axes, values, label in ((left, peaks, "peak MB"), (right, cpus, "CPU seconds")):
        axes.plot(lengths, values, "o-")
        axes.set(xlabel="seconds of audio", ylabel=label, xscale="log")
        axes.grid(alpha=0.3)
    left.set_ylim(0, 1.15 * max(peaks))
    right.set_yscale("log")
    figure.savefig(OUT, pil_kwargs={"quality": 80})


if __name__ == "__main__":
    main(*sys.argv[1:])
