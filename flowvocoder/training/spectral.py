"""Spectral distance between samples of the model and recordings, for the hybrid objective."""

from torch import Tensor, nn

from flowvocoder.audio.stft import RESOLUTIONS, magnitude, stft
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec


class SpectralDistance(nn.Module):
    """Multi-resolution STFT distance (spectral convergence and log magnitude) plus log-mel distance.

    Each part is a norm of the difference of two features, hence a metric. So twice the mean distance to a recording,
    less the distance of two samples, is a proper scoring rule.

    Shape:
        a, b: (B, T), what to compare; unit: (B, T), whose magnitude is the unit of spectral convergence -> scalar
    """

    def __init__(self, spec: MelSpec, floor: float = 1e-4):
        super().__init__()
        self.floor = floor
        self.mel = MelFrontEnd(spec)

    def forward(self, a: Tensor, b: Tensor, unit: Tensor) -> Tensor:
        total = a.new_zeros(())
        for resolution in RESOLUTIONS:
            # The floor keeps silence, and the gradient of the square root there, finite.
            p, q, u = (magnitude(stft(x, *resolution), self.floor**2) for x in (a, b, unit))
            convergence = ((p - q).square().sum((1, 2)) / u.square().sum((1, 2)).clamp_min(1e-9)).sqrt().mean()
            total = total + convergence + (p.log() - q.log()).abs().mean()
        return total / len(RESOLUTIONS) + (self.mel(a) - self.mel(b)).abs().mean()
