"""The demo's plots, as pixels (height, width, 3)."""

from typing import Any

import numpy as np

from flowvocoder.analysis.walk import LayerState
from flowvocoder.audio.files import Samples
from flowvocoder.audio.plots import LEVELS, spectrogram_db
from flowvocoder.demo.canvas import Array, Canvas, Colours, Look, Pixels, common_spectrograms
from flowvocoder.demo.service import Latent, Likelihood


def comparison(a: Samples, b: Samples, sample_rate: int, names: tuple[str, str], look: Look) -> Pixels:
    """Two recordings on one scale, and their difference."""
    (first, second), top = common_spectrograms(a, b)
    seconds = min(len(a), len(b)) / sample_rate
    canvas = Canvas([1.55, 1.55, 1.55], look)
    canvas.spectrogram(0, first, seconds, sample_rate, top, names[0])
    canvas.spectrogram(1, second, seconds, sample_rate, top, names[1])
    canvas.difference(2, second - first, seconds, sample_rate, "difference: red is louder in the second")
    return canvas.pixels()


def edit_plot(before: Samples, after: Samples, sample_rate: int, look: Look) -> Pixels:
    """Two recordings, which may differ in length: each over its own time."""
    canvas = Canvas([1.55, 1.55], look)
    levels = [spectrogram_db(samples) for samples in (before, after)]
    top = max(float(db.max()) for db in levels)
    for index, (db, samples, name) in enumerate(zip(levels, (before, after), ("before", "after"), strict=True)):
        canvas.spectrogram(index, db, len(samples) / sample_rate, sample_rate, top, name)
    return canvas.pixels()


def mel_plot(mel: Array, seconds: float, look: Look) -> Pixels:
    """A log-mel (n_mels, F)."""
    canvas = Canvas([1.7], look)
    style = {"origin": "lower", "aspect": "auto", "extent": (0.0, seconds, 0, len(mel))}
    image = canvas.axes[0].imshow(mel, cmap=LEVELS, **style)
    canvas.title(0, "mel spectrogram")
    canvas.labels(0, "s", "band")
    canvas.colour_scale(0, image, "log")
    return canvas.pixels()


def latent_plot(latent: Latent, look: Look) -> Pixels:
    """The latent over time and frequency, its histogram and its Q-Q plot, and the spectrogram of the decoded audio."""
    seconds, khz = len(latent.decoded) / latent.sample_rate, latent.sample_rate / 2000
    canvas = Canvas([1.5, 1.5, 1.8, 1.8] if look.narrow else [1.5, 1.5, 2.0], look)
    spectrogram = spectrogram_db(latent.decoded)
    canvas.grid(0, latent.z.double().numpy(), seconds, khz, 3.0, "the latent z: no speech left to see")
    canvas.spectrogram(1, spectrogram, seconds, latent.sample_rate, float(spectrogram.max()), "decoded from it")
    canvas.labels(1, "s", "kHz")
    if look.narrow:
        histogram, quantiles = canvas.axes[2:]
    else:
        histogram = canvas.axes[2]
        left, bottom, width, height = histogram.get_position().bounds
        histogram.set_position((left, bottom, 0.44 * width, height))
        quantiles = canvas.plain(canvas.figure.add_axes((left + 0.56 * width, bottom, 0.44 * width, height)))
    s, colours = latent.statistics, canvas.colours
    _histogram(histogram, s.density, s.edges, colours)
    canvas.title(2, "histogram, and the Gaussian")
    quantiles.plot([-4, 4], [-4, 4], color=colours.ink, linewidth=1)
    quantiles.plot(s.expected, s.measured, ".", color=colours.accent, markersize=3)
    quantiles.set_xlim(-4.2, 4.2)
    quantiles.set_ylim(-5.5, 5.5)
    quantiles.grid(color=colours.grid, linewidth=0.6)
    canvas.title(quantiles, "quantiles against the Gaussian's")
    return canvas.pixels()


def likelihood_plot(result: Likelihood, look: Look) -> Pixels:
    """Nats per frame over the spectrogram of the damaged recording, then how surprising each frame is."""
    (_, db), top = common_spectrograms(result.original, result.damaged)
    frames = len(result.before.nats)
    seconds = frames * result.hop / result.sample_rate
    at = (np.arange(frames) + 0.5) * result.hop / result.sample_rate
    canvas = Canvas([1.5, 1.5, 1.2], look)
    canvas.spectrogram(0, db, len(result.damaged) / result.sample_rate, result.sample_rate, top, "what is scored")
    _line_over(canvas, at, smooth(result.after.nats))
    colours, (nats, energy) = canvas.colours, canvas.axes[1:]
    before, after = smooth(result.before.nats), smooth(result.after.nats)
    low, high = float(before.min()), float(max(before.max(), after.max()))
    floor = max(float(after.min()), low - 1.5 * (high - low))  # a fall may be without end: the line leaves at the foot
    for where, colour in ((after < before, colours.fall), (after > before, colours.rise)):
        nats.fill_between(at, before, after, where=where, color=colour, alpha=0.25, linewidth=0, interpolate=True)
    nats.plot(at, before, color=colours.faint, linewidth=1)
    nats.plot(at, after, color=colours.ink, linewidth=1.2)
    nats.set_ylim(min(floor, low) - 0.05 * (high - low), high + 0.05 * (high - low))
    canvas.title(1, "nats per frame, grey before the damage")
    energy.axhspan(0.7, 1.4, color=colours.accent, alpha=0.15, linewidth=0)
    energy.semilogy(at, smooth(result.after.energy), color=colours.warm, linewidth=1.2)
    energy.set_ylim(0.03, 30.0)
    energy.set_yticks([0.1, 1.0, 10.0], ["0.1", "1", "10"])
    energy.minorticks_off()
    canvas.title(2, "surprise: 1 is as expected of speech")
    canvas.labels(2, "s")
    for axis in (nats, energy):
        axis.set_xlim(0.0, seconds)
        axis.grid(color=colours.grid, linewidth=0.6)
    return canvas.pixels()


def _line_over(canvas: Canvas, at: Array, nats: Array) -> None:
    """The line alone over a spectrogram, to see what it rises and falls with; its numbers are in the panel below."""
    over = canvas.plain(canvas.axes[0].twinx())
    over.set_yticks([])
    low, high = np.percentile(nats, (2, 98))
    margin = 0.15 * (high - low) + 1e-9
    over.set_ylim(low - margin, high + margin)
    over.plot(at, nats, color="white", linewidth=2.6, alpha=0.35)
    over.plot(at, nats, color="white", linewidth=1.1)


def smooth(values: Array, width: int = 5) -> Array:
    """Means over `width` frames: single frames jitter by more than most damage does."""
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")


def layer_plot(layer: LayerState, sample_rate: int, samples: int, look: Look) -> Pixels:
    """One state on the way through the flow: over time and frequency, and the histogram of its values."""
    seconds, values = samples / sample_rate, layer.state.double().cpu().numpy()
    canvas = Canvas([2.3, 1.1], look)
    if len(values) == 1:
        db = spectrogram_db(values[0].astype(np.float32))
        canvas.spectrogram(0, db, seconds, sample_rate, float(db.max()), layer.name)
    else:
        most = 3.0 * float(values.std())
        canvas.grid(0, values, seconds, sample_rate / 2000 if layer.bands else len(values), most, layer.name)
    canvas.labels(0, "s", "kHz" if layer.bands else "channel")
    histogram = canvas.axes[1]
    deviation = float(values.std())
    _histogram(histogram, *np.histogram(values / deviation, 121, (-4.5, 4.5), density=True), canvas.colours)
    canvas.title(1, "histogram of the values, and the Gaussian")
    return canvas.pixels()


def _histogram(axis: Any, density: Array, edges: Array, colours: Colours) -> None:
    """With the bell curve over it."""
    x = np.linspace(-4.5, 4.5, 200)
    axis.stairs(density, edges, fill=True, color=colours.accent, alpha=0.35, linewidth=0)
    axis.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi), color=colours.ink, linewidth=1)
    axis.set_xlim(-4.5, 4.5)
    axis.set_yticks([])
