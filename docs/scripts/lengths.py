"""Seconds and memory of synthesis without PyTorch, by length: python docs/scripts/lengths.py VOICE [SECONDS ...]

VOICE is a folder of `flowvocoder export`. Every length runs in a process of its own, on one thread, from a mel file to
an audio file as `synth` does it. Prints a table and draws docs/assets/lengths.webp.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from matplotlib.figure import Figure

from flowvocoder.mel.files import write_mel
from flowvocoder.runtime import Vocoder
from flowvocoder.voice_card import VOICES

OUT = Path(__file__).parents[1] / "assets" / "lengths.webp"
ONE = """
import json, sys, time
from pathlib import Path
from flowvocoder.audio.files import write_audio
from flowvocoder.mel.files import read_mel
from flowvocoder.runtime import Vocoder

def peak():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

vocoder, file = Vocoder.from_pretrained(sys.argv[1]), Path(sys.argv[2])
loaded, cpu = peak(), time.process_time()
pieces = vocoder.synthesize_pieces(read_mel(file, vocoder.spec, mapped=True), seed=0, trust_mel=True)
write_audio(file.with_suffix(".wav"), (piece[0] for piece in pieces), vocoder.sample_rate)
print(json.dumps([loaded, peak(), time.process_time() - cpu]))
"""


def main(voice: str, *seconds: str) -> None:
    vocoder = Vocoder.from_pretrained(Path(voice))
    audio, _ = soundfile.read(VOICES.parent / "examples" / "kathleen.flac", dtype="float32")
    once = vocoder.mel_for(audio)[0]
    print("| s | MB once loaded | peak MB | CPU seconds | × real time |\n|---|---|---|---|---|")
    rows = []
    for length in map(float, seconds or ("1", "10", "60", "600", "3600")):
        frames = round(length * vocoder.sample_rate / vocoder.spec.hop_length)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "mel.npy"
            write_mel(file, np.tile(once, (1, -(-frames // once.shape[1])))[:, :frames], vocoder.spec)
            command = [sys.executable, "-c", ONE, voice, str(file)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append([length, *json.loads(done.stdout)])
        loaded, peak, cpu = rows[-1][1:]
        print(f"| {length:g} | {loaded:.0f} | {peak:.0f} | {cpu:.2f} | {length / cpu:.1f} |", flush=True)
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
