"""Mel to speech without a model: Griffin and Lim 1984, in the fast form of Perraudin et al. 2013."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.extras import torchaudio
from flowvocoder.inference import plain_defaults
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec

ITERATIONS = 60
MOMENTUM = 0.99


@plain_defaults()
def griffin_lim(mel: Tensor, spec: MelSpec, iterations: int = ITERATIONS, seed: int = 0) -> Tensor:
    """Audio (..., F * hop_length) whose mel comes near `mel` (..., n_mels, F); all above its fmax stays silent.

    Args:
        seed: of the phases it starts from.
    """
    functional = torchaudio().functional
    magnitude, window = magnitude_of(mel, spec), torch.hann_window(spec.win_length, device=mel.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        audio: Tensor = functional.griffinlim(
            magnitude, window, spec.n_fft, spec.hop_length, spec.win_length, power=1.0,
            n_iter=iterations, momentum=MOMENTUM, length=None, rand_init=True,
        )  # fmt: skip
    # It takes frame f to lie around sample f * hop_length; without centring it lies half a hop later.
    early = 0 if spec.padding == "center" else spec.hop_length // 2
    samples = mel.shape[-1] * spec.hop_length
    return F.pad(audio, (early, max(0, samples - early - audio.shape[-1])))[..., :samples]


def magnitude_of(mel: Tensor, spec: MelSpec) -> Tensor:
    """STFT magnitudes (..., n_fft / 2 + 1, F), none negative, that least squares finds for a mel (..., n_mels, F)."""
    linear = (mel.cpu().double() * (math.log(10.0) if spec.log == "log10" else 1.0)).exp()  # not every GPU has double
    return (_inverse_filterbank(spec) @ linear).clamp_min(0.0).float().to(mel.device)


@functools.cache
def _inverse_filterbank(spec: MelSpec) -> Tensor:
    return torch.linalg.pinv(MelFrontEnd(spec).filterbank.double())
