"""How much samples of the same mel differ: what the mel does not say."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio.plots import LEVELS, new_figure
from flowvocoder.audio.stft import power, stft
from flowvocoder.errors import ConfigError
from flowvocoder.files import writing
from flowvocoder.mel.frontend import mel_filterbank
from flowvocoder.mel.spec import MelSpec

NOISE_DB = 5.57
"""Standard deviation of the level of Gaussian noise in a bin: 10 pi / (ln 10 sqrt 6)."""

RANGES = (0, 500, 1000, 2000, 4000, 8000)
"""Hz, of the means that are printed."""


def spread(draws: Iterable[Tensor], spec: MelSpec) -> Tensor:
    """Standard deviation over draws, in dB, of the level of a bin of the spectrum: the mean of each mel band.

    0 is what all draws agree on. `NOISE_DB` is noise of a known envelope, about which the mel says no more than that.

    Shape:
        draws: (B, F * hop_length) each -> (B, n_mels, F)

    Raises:
        ConfigError: fewer than two draws.
    """
    count, mean, total = 0, torch.zeros(()), torch.zeros(())
    for audio in draws:
        spectrum = stft(audio, spec.n_fft, spec.hop_length, pad_mode="constant")[..., :-1]
        level = 10.0 * power(spectrum, 1e-10).log10()
        count += 1
        before = level - mean
        mean = mean + before / count
        total = total + before * (level - mean)
    if count < 2:
        raise ConfigError(f"a spread needs 2 draws or more, not {count}")
    weights = mel_filterbank(spec).to(total)
    return (weights / weights.sum(1, keepdim=True).clamp_min(1e-12)) @ (total / (count - 1)).sqrt()


def by_range(spreads: Tensor, mel: Tensor, centres: Tensor) -> dict[str, float]:
    """Mean spread in dB of each range of frequencies, over the louder half of frames: (n_mels, F) both."""
    level = mel.mean(0)
    loud = spreads[:, level >= level.median()]
    found = {}
    for low, high in zip(RANGES, (*RANGES[1:], float("inf")), strict=True):
        bands = loud[(centres >= low) & (centres < high)]
        if len(bands):
            found[f"{low}-{high} Hz" if high < float("inf") else f"above {low} Hz"] = float(bands.mean())
    return found


def save_spread(path: Path, spreads: Tensor, mel: Tensor, seconds: float) -> None:
    """The mel, and the spread below it, as a PNG: (n_mels, F) both. Raises OutputError."""
    figure = new_figure(11, 6)
    panels = figure.subplots(2, 1, sharex=True)
    scales = (mel, "mel", None), (spreads, "spread, dB", 1.3 * NOISE_DB)
    for axes, (values, title, most) in zip(panels, scales, strict=True):
        image = axes.imshow(np.asarray(values), aspect="auto", origin="lower", cmap=LEVELS, vmax=most,
                            vmin=None if most is None else 0.0, extent=(0.0, seconds, 0, len(values)))  # fmt: skip
        axes.set_title(title, loc="left")
        axes.set_ylabel("band")
        figure.colorbar(image, ax=axes)
    panels[1].set_xlabel("s")
    with writing(path) as temporary:
        figure.savefig(temporary, format="png")
