"""Prints how much the codecs of `flowvocoder pack` change the bundled recordings: `python docs/scripts/codecs.py`."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

import flowvocoder
from flowvocoder.audio.files import read_audio
from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.audio.resample import resample
from flowvocoder.prepare.codecs import Codec, encode_audio

EXAMPLES = Path(flowvocoder.__file__).parent / "examples"
RATE, WINDOW, HOP = 22050, 1024, 256
BANDS = (0, 4000), (4000, 8000), (8000, 11_025)
CASES: list[tuple[Codec, int]] = [("flac", 22050), ("flac", 24000), ("vorbis", 22050), ("opus", 24000)]

Floats = npt.NDArray[np.float32]


def magnitudes(samples: Floats) -> npt.NDArray[np.float64]:
    """(frames, bins)"""
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    return np.abs(np.fft.rfft(frames * np.hanning(WINDOW)))


def distances(samples: Floats, decoded: Floats) -> list[float]:
    """Log-spectral distance in dB in each band, and the mean change of level there, over loud frames."""
    ours, theirs = magnitudes(samples), magnitudes(decoded[: len(samples)])
    loud = ours.max(1) > 0.01 * ours.max()
    change = 20.0 * np.log10((theirs[loud] + 1e-3) / (ours[loud] + 1e-3))
    hz = np.linspace(0, RATE / 2, ours.shape[1])
    found: list[float] = []
    for low, high in BANDS:
        inside = change[:, (hz >= low) & (hz < high)]
        found += [float(np.sqrt(np.square(inside).mean(1)).mean()), float(inside.mean())]
    return found


def main() -> None:
    print("| codec | Hz | recording | kbit/s | " + " | ".join(f"{a}-{b} Hz: dB, level" for a, b in BANDS) + " |")
    print("|---" * (4 + len(BANDS)) + "|")
    for codec, rate in CASES:
        for name in ("kathleen", "kerstin"):
            samples = read_audio(EXAMPLES / f"{name}.flac", RATE).samples
            content = encode_audio(to_pcm16(samples if rate == RATE else resample(samples, RATE, rate))[0], rate, codec)
            decoded = sf.read(io.BytesIO(content), dtype="float32")[0]
            decoded = decoded if rate == RATE else resample(decoded, rate, RATE)
            values = distances(samples, decoded)
            cells = " | ".join(f"{d:.2f}, {level:+.2f}" for d, level in zip(values[::2], values[1::2], strict=True))
            print(f"| {codec} | {rate} | {name} | {8e-3 * len(content) * RATE / len(samples):.0f} | {cells} |")


if __name__ == "__main__":
    main()
