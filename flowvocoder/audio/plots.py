"""Spectrogram pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.audio.files import Samples
from flowvocoder.files import writing

RANGE_DB = 80.0
"""From the loudest point of a spectrogram down to black."""

LEVELS = "magma"
DIFFERENCES, MOST_DIFFERENCE_DB = "RdBu_r", 20.0
"""Colour maps of levels, and of differences up to so many dB."""


def spectrogram_db(samples: Samples, n_fft: int = 1024, hop: int = 256) -> npt.NDArray[np.float64]:
    """Power spectrogram in dB, (n_fft / 2 + 1, frames), of audio (T,); a full-scale sine is near 0 dB."""
    window = np.hanning(n_fft + 1)[:-1]
    padded = np.pad(samples.astype(np.float64), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    magnitude = np.abs(np.fft.rfft(frames * window, axis=1)).T * 2.0 / window.sum()
    return np.asarray(20.0 * np.log10(np.maximum(magnitude, 1e-7)))


def save_pair(path: Path, recording: Samples, vocoded: Samples, sample_rate: int) -> None:
    """Write a picture of both spectrograms and their difference. Raises OutputError if it cannot be written."""
    with writing(path) as temporary:
        _figure(recording, vocoded, sample_rate).savefig(temporary, format="png")


def draw_pair(recording: Samples, vocoded: Samples, sample_rate: int) -> npt.NDArray[np.uint8]:
    """The same picture as pixels (height, width, 3)."""
    figure = _figure(recording, vocoded, sample_rate)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def save_curve(path: Path, x: list[float], y: list[float], x_label: str, y_label: str, mark: float | None) -> None:
    """Write a picture of y over x, x on a log scale, with a vertical line at `mark`. Raises OutputError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(x, y)
    axes.set_xscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if mark is not None:
        axes.axvline(mark, color="tab:red", linestyle="--")
        axes.annotate(f" {mark:.1e}", (mark, max(y)), color="tab:red", va="top")
    with writing(path) as temporary:
        figure.savefig(temporary, format="png")


def _figure(recording: Samples, vocoded: Samples, sample_rate: int) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    length = min(len(recording), len(vocoded))
    a, b = spectrogram_db(recording[:length]), spectrogram_db(vocoded[:length])
    top = max(a.max(), b.max())
    extent = (0.0, length / sample_rate, 0.0, sample_rate / 2000)
    figure = Figure(figsize=(10, 8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True)
    shades = {"origin": "lower", "aspect": "auto", "extent": extent}
    for axis, values, title in ((axes[0], a, "recording"), (axes[1], b, "flowvocoder")):
        image = axis.imshow(values, vmin=top - RANGE_DB, vmax=top, cmap=LEVELS, **shades)
        axis.set_title(title, loc="left")
        figure.colorbar(image, ax=axis, label="dB")
    image = axes[2].imshow(b - a, vmin=-MOST_DIFFERENCE_DB, vmax=MOST_DIFFERENCE_DB, cmap=DIFFERENCES, **shades)
    axes[2].set_title("difference", loc="left")
    figure.colorbar(image, ax=axes[2], label="dB")
    for axis in axes:
        axis.set_ylabel("kHz")
    axes[2].set_xlabel("s")
    return figure
