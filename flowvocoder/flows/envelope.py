"""The spectral envelope that a mel states, as the scale of every band."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.base import fixed_in_training
from flowvocoder.flows.convolution import ConvProduct, Features, FeaturesStep, TimeConv, zeros
from flowvocoder.flows.streaming import Context, StepSettings, StreamingStep, StreamPosition, StreamState, step_for
from flowvocoder.mel.frontend import band_centres, interpolation
from flowvocoder.mel.spec import MelSpec
from flowvocoder.units import PCM16_STEP

LOWEST = math.log(PCM16_STEP / math.sqrt(12.0))
"""Log standard deviation of the dequantisation noise: no band of the orthogonal transform has less."""

SPEECH_LEVEL, SPEECH_SPREAD = -5.0, 2.5
"""Mean and standard deviation of the log level of speech in a band, in nats over white noise of unit variance."""


class Envelope(nn.Module):
    """Log standard deviation of each band from the context of `MelEncoder`: (B, D, N) -> (B, M, N).

    Starts as the spectral envelope that the mel itself states, interpolated to the bands; a small network corrects it.
    """

    def __init__(self, spec: MelSpec, context: int, block: int, channels: int, causal: bool = False):
        super().__init__()
        self.n_mels = spec.n_mels
        self.skip = TimeConv(spec.n_mels, block, 3, causal=causal)
        self.net = Features(context, channels, causal)
        self.last = zeros(TimeConv(channels, block))
        self.sample_last = zeros(TimeConv(channels, block))
        with torch.no_grad():
            self.skip.weight.zero_()
            at_block = self.skip.weight[:, :, self.skip.back]
            at_block.copy_(SPEECH_SPREAD * mel_to_bands(spec, block))
            self.skip.bias.fill_(SPEECH_LEVEL)  # type: ignore[union-attr]

    def forward(self, context: Tensor) -> Tensor:
        return _bounded(self.skip(context[:, : self.n_mels]) + self.last(self.net(context)))

    def sample(self, context: Tensor) -> Tensor:
        """The same for samples: with what a second layer adds, the only one that how samples sound trains."""
        h = fixed_in_training(self, self.net(context))
        s = fixed_in_training(self, self.skip(context[:, : self.n_mels]) + self.last(h))
        return _bounded(s + self.sample_last(h))

    def sampling_parameters(self) -> list[nn.Parameter]:
        """Those that `sample` uses and `forward` does not."""
        return list(self.sample_last.parameters())


@step_for(Envelope)
class EnvelopeStep(StreamingStep):
    """The envelope of the columns that come in, whatever is in them."""

    def __init__(self, envelope: Envelope, settings: StepSettings):
        super().__init__(settings)
        self.n_mels = envelope.n_mels
        self.skip = ConvProduct(envelope.skip, precision=settings.precision)
        self.features = FeaturesStep(envelope.net, settings.precision)
        self.last = ConvProduct(
            envelope.last, *((envelope.sample_last,) if settings.sampling else ()), precision=settings.precision
        )
        self.context_back = max(self.skip.back, self.features.back)

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        count = z.shape[1]
        mel = context.at(delay - self.skip.ahead, count, self.skip.span)[..., : self.n_mels]
        return _bounded(self.skip(mel) + self.last(self.features(context, delay, count, position, state)))


def _bounded(s: Tensor) -> Tensor:
    """A soft lower bound: mels go down to -100 dB and more, dequantised audio does not."""
    s = s.to(torch.promote_types(s.dtype, torch.float32))
    return LOWEST + F.softplus(s - LOWEST, beta=4.0)


def mel_to_bands(spec: MelSpec, block: int) -> Tensor:
    """What interpolates levels of mel bands, linearly in Hz and constant beyond the first and the last: (M, n_mels)."""
    hz = (torch.arange(block, dtype=torch.float32) + 0.5) * spec.sample_rate / (2 * block)
    return interpolation(band_centres(spec), hz).T
