"""Spectral distance between samples of the model and recordings, for the hybrid objective."""

import torch
from torch import Tensor, nn

from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec

RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))
"""n_fft, hop and window in samples: Yamamoto et al. 2020, arXiv:1910.11480."""


class SpectralDistance(nn.Module):
    """Multi-resolution STFT distance (spectral convergence and log magnitude) plus log-mel distance.

    Shape:
        generated, recorded: (B, T) -> scalar
    """

    def __init__(self, spec: MelSpec, floor: float = 1e-4):
        super().__init__()
        self.floor = floor
        self.mel = MelFrontEnd(spec)

    def forward(self, generated: Tensor, recorded: Tensor) -> Tensor:
        total = generated.new_zeros(())
        for n_fft, hop, win in RESOLUTIONS:
            window = torch.hann_window(win, device=generated.device, dtype=generated.dtype)
            a, b = (self._magnitude(x, n_fft, hop, win, window) for x in (generated, recorded))
            convergence = ((a - b).square().sum((1, 2)) / b.square().sum((1, 2)).clamp_min(1e-9)).sqrt().mean()
            total = total + convergence + (a.log() - b.log()).abs().mean()
        return total / len(RESOLUTIONS) + (self.mel(generated) - self.mel(recorded)).abs().mean()

    def _magnitude(self, x: Tensor, n_fft: int, hop: int, win: int, window: Tensor) -> Tensor:
        spectrum = torch.stft(x, n_fft, hop, win, window, return_complex=True)
        # The floor keeps silence, and the gradient of the square root there, finite.
        return (spectrum.real.square() + spectrum.imag.square() + self.floor**2).sqrt()
