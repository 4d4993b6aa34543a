"""Makes what docs/gallery.md plays and shows: python docs/scripts/gallery.py [NAME=CHECKPOINT ...]

Ogg Opus and a plot of spectrograms for each of the two bundled recordings, with every system. Each NAME=CHECKPOINT is
one more system.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention

OUT = Path(__file__).parents[1] / "gallery"
EXAMPLES = Path(flowvocoder.__file__).parent / "examples"
OPUS_RATE = 24_000  # Hz; Opus knows no 22 050
COMPRESSION = 0.78  # of libsndfile, about 70 kbit/s
QUALITY = 75  # of WebP
VOICES = "universal-22k", "universal-24k", "pocket-22k"  # the default first
STREAMS_MS = (128, 46)  # behind their input

System = Callable[[np.ndarray, int], np.ndarray]
"""What makes audio of a recording (T,) at its rate in Hz: (T,) at the same rate."""


def systems(others: list[str]) -> dict[str, System]:
    found: dict[str, System] = {"recording": lambda audio, rate: audio}
    found |= {name: _spoken_by(name) for name in VOICES}
    found |= {f"stream-{ms}": _spoken_by(VOICES[0], latency_ms=ms) for ms in STREAMS_MS}
    found["flow"] = _spoken_by(VOICES[0], gl_iters=0)
    found |= {name: _spoken_by(path) for name, _, path in (other.partition("=") for other in others)}
    return found | {"griffin-lim": _griffin_lim}


def _spoken_by(checkpoint: str | Path, **options: Any) -> System:
    """A voice, which may speak at another rate."""
    voice = Vocoder.from_pretrained(checkpoint)

    def speak(audio: np.ndarray, rate: int) -> np.ndarray:
        heard = torch.from_numpy(soxr.resample(audio, rate, voice.sample_rate))
        spoken = voice.synthesize(voice.mel_for(heard), seed=0, **options)[0]
        return np.asarray(soxr.resample(spoken.numpy(), voice.sample_rate, rate))

    return speak


def _griffin_lim(audio: np.ndarray, rate: int) -> np.ndarray:
    spec = convention("tacotron2")
    return griffin_lim(MelFrontEnd(spec)(torch.from_numpy(audio)), spec).numpy()


def samples(path: Path, systems: dict[str, System]) -> Iterator[tuple[str, np.ndarray, int]]:
    """(system, audio, rate) of one recording."""
    audio, rate = soundfile.read(path, dtype="float32")
    for name, system in systems.items():
        yield name, system(audio, rate)[: len(audio)], rate


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
