"""Makes what docs/gallery.md plays and shows: python docs/scripts/gallery.py [NAME=CHECKPOINT ...]

Ogg Opus and a plot of spectrograms for each of the two bundled recordings, with every system. Each NAME=CHECKPOINT is
one more system.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import flowvocoder
from flowvocoder import Vocoder
from flowvocoder.audio.plots import RANGE_DB, spectrogram_db
from flowvocoder.evaluation.griffin_lim import griffin_lim

OUT = Path(__file__).parents[1] / "gallery"
EXAMPLES = Path(flowvocoder.__file__).parent / "examples"
OPUS_RATE = 24_000  # Hz; Opus knows no 22 050
COMPRESSION = 0.78  # of libsndfile, about 70 kbit/s
QUALITY = 75  # of WebP

System = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def systems(others: list[str]) -> dict[str, System]:
    """What makes audio (T,) of a recording (T,) and its mel (n_mels, F)."""
    voice = Vocoder.from_pretrained()
    found: dict[str, System] = {
        "recording": lambda audio, mel: audio,
        "default": lambda audio, mel: voice.synthesize(mel, seed=0)[0],
        "stream": lambda audio, mel: voice.synthesize(mel, seed=0, gl_iters=4, low_band_iters=0)[0],
        "flow": lambda audio, mel: voice.synthesize(mel, seed=0, gl_iters=0)[0],
    }
    for name, _, path in (other.partition("=") for other in others):
        found[name] = _spoken_by(Vocoder.from_pretrained(path))
    return found | {"griffin-lim": lambda audio, mel: griffin_lim(mel, voice.spec)}


def _spoken_by(voice: Vocoder) -> System:
    return lambda audio, mel: voice.synthesize(mel, seed=0)[0]


def samples(path: Path, systems: dict[str, System]) -> Iterator[tuple[str, np.ndarray, int]]:
    """(system, audio, rate) of one recording."""
    audio, rate = soundfile.read(path, dtype="float32")
    mel = Vocoder.from_pretrained().mel_for(torch.from_numpy(audio))[0]
    for name, system in systems.items():
        yield name, system(torch.from_numpy(audio), mel)[: len(audio)].numpy(), rate


def write_opus(path: Path, audio: np.ndarray, rate: int) -> None:
    resampled = soxr.resample(audio, rate, OPUS_RATE).clip(-1, 1)
    soundfile.write(path, resampled, OPUS_RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION)


def write_plot(path: Path, heard: list[tuple[str, np.ndarray, int]]) -> None:
    """All spectrograms in two columns."""
    figure = Figure(figsize=(9, 2.2 * (len(heard) + 1) // 2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    top = spectrogram_db(heard[0][1]).max()
    for number, (name, audio, rate) in enumerate(heard, 1):
        axes = figure.add_subplot((len(heard) + 1) // 2, 2, number)
        extent = (0.0, len(audio) / rate, 0.0, rate / 2000)
        axes.imshow(spectrogram_db(audio), vmin=top - RANGE_DB, vmax=top, cmap="magma", origin="lower", aspect="auto",
                    extent=extent)  # fmt: skip
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylabel("kHz")
    figure.canvas.draw()
    Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3]).save(path, quality=QUALITY)


def main(others: list[str]) -> None:
    OUT.mkdir(exist_ok=True)
    chosen = systems(others)
    for path in sorted(EXAMPLES.glob("*.flac")):
        heard = list(samples(path, chosen))
        for name, audio, rate in heard:
            write_opus(OUT / f"{path.stem}-{name}.ogg", audio, rate)
        write_plot(OUT / f"{path.stem}.webp", heard)
    for suffix in (".ogg", ".webp"):
        print(suffix, sum(p.stat().st_size for p in OUT.glob(f"*{suffix}")) // 1000, "kB")


if __name__ == "__main__":
    main(sys.argv[1:])
