"""Plots: a pair of spectrograms and their difference, and a curve."""

import gc
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from flowvocoder.audio.files import Samples
from flowvocoder.audio.stft import magnitude, stft
from flowvocoder.files import writing
from flowvocoder.units import ceil_div

N_FFT, HOP = 1024, 256
"""Samples of a spectrogram's window, and from one frame to the next."""

MOST_FRAMES = 2000
"""Twice as many as a plot has pixels: longer recordings are drawn with a longer hop."""

RANGE_DB = 80.0
"""From the loudest point of a spectrogram down to black."""

LEVELS = "magma"
DIFFERENCES, MOST_DIFFERENCE_DB = "RdBu_r", 20.0
"""Colour maps of levels, and of differences up to this many dB."""


def spectrogram_db(samples: Samples, n_fft: int = N_FFT, hop: int = HOP) -> npt.NDArray[np.float64]:
    """Power spectrogram in dB, (n_fft / 2 + 1, frames), of audio (T,); a full-scale sine is near 0 dB."""
    audio = torch.from_numpy(np.asarray(samples, dtype=np.float64))
    level = magnitude(stft(audio, n_fft, hop, pad_mode="constant")) * (4.0 / n_fft)  # the window's sum is n_fft / 2
    return np.asarray(20.0 * np.log10(np.maximum(level.numpy(), 1e-7)))


def save_pair(path: Path, recording: Samples, vocoded: Samples, sample_rate: int) -> None:
    """Write a plot of both spectrograms and their difference as a PNG. Raises OutputError if it cannot be written."""
    with writing(path) as temporary:
        _figure(recording, vocoded, sample_rate).savefig(temporary, format="png")
    gc.collect()  # parts of a figure hold each other: some 35 MB would stay until Python looks for such


def draw_pair(recording: Samples, vocoded: Samples, sample_rate: int) -> npt.NDArray[np.uint8]:
    """The same plot as pixels (height, width, 3)."""
    pixels = _drawn(_figure(recording, vocoded, sample_rate))
    gc.collect()  # as in save_pair
    return pixels


def save_curve(path: Path, x: list[float], y: list[float], x_label: str, y_label: str, mark: float | None) -> None:
    """Write a plot of y over x, x on a log scale, with a vertical line at `mark`. Raises OutputError."""
    figure = new_figure(8, 4.5)
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


def new_figure(width: float, height: float, layout: Literal["constrained", "none"] = "constrained") -> Any:
    """An empty figure in inches of 100 pixels, which needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    given: Any = layout  # matplotlib's types leave out "none", which is not a notebook's own default
    figure = Figure(figsize=(width, height), dpi=100, layout=given)
    FigureCanvasAgg(figure)
    return figure


def _drawn(figure: Any) -> npt.NDArray[np.uint8]:
    figure.canvas.draw()
    return np.ascontiguousarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])


def _figure(recording: Samples, vocoded: Samples, sample_rate: int) -> Any:
    length = min(len(recording), len(vocoded))
    hop = max(HOP, ceil_div(length, MOST_FRAMES))
    a, b = (spectrogram_db(x[:length], hop=hop) for x in (recording, vocoded))
    top = max(a.max(), b.max())
    levels = {"cmap": LEVELS, "vmin": top - RANGE_DB, "vmax": top}
    differences = {"cmap": DIFFERENCES, "vmin": -MOST_DIFFERENCE_DB, "vmax": MOST_DIFFERENCE_DB}
    figure = new_figure(10, 8, layout="none")  # to find the margins takes as long as to draw
    panels = ((a, levels, "recording"), (b, levels, "flowvocoder"), (b - a, differences, "difference"))
    box = 0.0, length / sample_rate, 0.0, sample_rate / 2000.0
    for axis, (values, shades, title) in zip(figure.subplots(3, 1, sharex=True), panels, strict=True):
        image = axis.imshow(values, origin="lower", aspect="auto", interpolation="nearest", extent=box, **shades)
        axis.set_title(title, loc="left")
        axis.set(xlabel="seconds", ylabel="kHz")
        axis.label_outer()
        figure.colorbar(image, ax=axis, label="dB", pad=0.02)
    figure.subplots_adjust(left=0.06, right=1.01, bottom=0.06, top=0.96, hspace=0.16)
    return figure
