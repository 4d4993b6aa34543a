"""Long-term (pitch) prediction as a volume-preserving bijection in the time domain."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.periodicity import pitch_periods
from flowvocoder.flows.base import Bijection, no_volume_change
from flowvocoder.flows.convolution import TimeConv, zeros
from flowvocoder.flows.excitation import depth_of, phase_at_centres, pulse_envelope
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.flows.recursion.reference import GROUP, REACH, predict, synthesise
from flowvocoder.units import PCM16_STEP, ceil_div

WIDEST = 4.0
"""Standard deviation of the widest tap shape, in samples; each other is half as wide as the next. The wider the shape,
the lower the band it predicts: the gain falls to half at 0.19/width of the sampling rate, 1.0 kHz for the widest at
22 050 Hz, then 2.1, 4.1 and 8.3 kHz."""

MAX_GAIN = 0.98
"""Upper limit of the sum of all taps. They are positive, so below 1 the synthesis recursion is stable."""


class PitchPredictor(Bijection):
    """e[n] = x[n] - sum_k a_k[n] x[n - k], taps near the pitch lag: (B, 1, T) -> (B, 1, T), log-det 0.

    The Jacobian is unit lower triangular. Lag and gains come from the context: a softmax over integer lags whose local
    centre of mass gives a fractional lag, and a softmax over the tap shapes (and "none"), each a Gaussian around the
    lag and so a low-pass. This is the long-term predictor of speech coders (Atal and Schroeder 1970; Ramachandran and
    Kabal 1989) with its parameters read from the mel instead of sent.

    Speech above a kilohertz repeats its envelope from one pulse to the next more than its waveform. Likelihood wants
    the gains of the waveform; heard with those, pulses drown. So `sample` has gains of its own: those of the likelihood
    and what a second network adds to their logits, which is nothing until sampling is trained. And `pulses` gives the
    noise that samples are made from an envelope that repeats itself every lag, since what is predicted from noise is
    noise, the same one again and again and not a pulse.

    Beside the likelihood the predictor has losses of its own, `own_losses`. The lag is taught by one of them alone.
    The other keeps the gains open while lag and flow are untrained; otherwise likelihood shuts them in the first
    steps, when the lag is still wrong, and never finds them again.

    Args:
        context: channels of the context.
        min_lag, max_lag: range of the lag in samples.
        hidden: width of the predicting network.
        causal: that network looks back only.
        shapes: how many tap shapes.
        pulses: samples are made from pulsed noise (`flows/excitation.py`).
    """

    cheap_inverse = False  # a recursion over samples

    def __init__(
        self,
        context: int,
        min_lag: int,
        max_lag: int,
        hidden: int,
        causal: bool = False,
        shapes: int = 3,
        pulses: bool = False,
    ):
        super().__init__()
        if min_lag <= REACH + GROUP:
            raise ValueError(f"min_lag must be above {REACH + GROUP} samples, not {min_lag}")
        self.min_lag, self.max_lag = min_lag, max_lag
        lags = max_lag - min_lag + 1
        self.net, self.sample_net = (
            nn.Sequential(
                TimeConv(context, hidden, 3, causal=causal),
                nn.SiLU(),
                TimeConv(hidden, hidden, 3, causal=causal),
                nn.SiLU(),
            )
            for _ in range(2)
        )
        self.lag_head = TimeConv(hidden, lags)
        self.gain_head = TimeConv(hidden, shapes + 1)
        self.sample_head = zeros(TimeConv(hidden, shapes + 1))
        self.sample_pulse = zeros(TimeConv(hidden, 1)) if pulses else None
        nn.init.zeros_(self.gain_head.weight)
        with torch.no_grad():
            self.gain_head.bias.copy_(torch.tensor([0.0] * shapes + [2.0]))  # type: ignore[union-attr]

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        lag, taps = self._taps(x, context)
        with torch.autocast(x.device.type, enabled=False):
            return (x[:, 0] - predict(x[:, 0], lag, taps))[:, None], no_volume_change(x)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return self._synthesise(z, *self._taps(z, context))

    def sample(self, z: Tensor, context: Tensor) -> Tensor:
        lag, logits = self._lag_and_logits(z, context)
        # How it sounds teaches the second network alone.
        h = self.sample_net(context.detach())
        gain = self._gain(logits.detach() + self.sample_head(h), z.dtype)
        if self.sample_pulse is not None:
            z = z * self._pulses(lag, depth_of(self.sample_pulse(h)[:, 0], z.dtype), z.shape[-1])[:, None]
        return self._synthesise(z, *self._interpolate(lag, gain, z))

    def _pulses(self, lag: Tensor, depth: Tensor, samples: int) -> Tensor:
        """The envelope (B, T) of the noise from lags and depths (B, N)."""
        lag, depth = (torch.cat([x[:, :1], x, x[:, -1:]], 1) for x in (lag, depth))
        block = samples // (lag.shape[1] - 2)
        return pulse_envelope(lag, depth, phase_at_centres(lag, block, torch.zeros_like(lag[:, 0])), block)

    def _synthesise(self, z: Tensor, lag: Tensor, taps: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return synthesise(z[:, 0], lag, taps)[:, None]

    def own_losses(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """What teaches lag and gains without the rest of the flow; scalars.

        The first is the cross-entropy of the predicted lag against the one at which the audio repeats itself (blocks
        count by how strongly they do), times 0.05 to be of the second's size. The second is the entropy per sample
        that the prediction, made with the true lag, leaves if all that follows removes the spectral envelope: half
        the mean log energy over tiles of the lapped transform, less that of x.

        Shape:
            x: (B, 1, T) audio
        """
        target, weight = pitch_periods(x[:, 0], self.min_lag, self.max_lag, context.shape[-1])
        h = self.net(context)
        log_p = F.log_softmax(self.lag_head(h).float(), 1)
        # An item at a time, so that a batch in parts has the same loss as a whole one.
        cross_entropy = -(((target * log_p).sum(1) * weight).sum(1) / (weight.sum(1) + 1.0)).mean()
        gain = self._gain(self.gain_head(h), x.dtype)
        lag, taps = self._interpolate(fractional_lag(target.log(), self.min_lag), gain, x)
        with torch.autocast(x.device.type, enabled=False):
            residual = x[:, 0] - predict(x[:, 0], lag, taps)
            entropy = _tile_entropy(residual) - _tile_entropy(x[:, 0])
        return 0.05 * cross_entropy, entropy

    def _taps(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        lag, logits = self._lag_and_logits(x, context)
        return self._interpolate(lag, self._gain(logits, x.dtype), x)

    def _lag_and_logits(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        h = self.net(context)
        return fractional_lag(self.lag_head(h).detach().to(x.dtype), self.min_lag), self.gain_head(h)

    def _gain(self, logits: Tensor, dtype: torch.dtype) -> Tensor:
        return MAX_GAIN * torch.softmax(logits.to(dtype), 1)[:, :-1]

    def _interpolate(self, lag: Tensor, gain: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Block rate to nodes: (B, N), (B, W, N) -> whole lags (B, G + 1), taps (B, G + 1, 2 * REACH + 1)."""
        blocks, samples = lag.shape[-1], x.shape[-1]
        before, share = node_positions(0, ceil_div(samples, GROUP) + 1, samples // blocks, x)
        first, second = before.clamp(0, blocks - 1), (before + 1).clamp(0, blocks - 1)
        return taps_at(
            torch.lerp(lag[..., first], lag[..., second], share),
            torch.lerp(gain[..., first], gain[..., second], share),
            self.min_lag,
        )

    def extra_repr(self) -> str:
        return f"min_lag={self.min_lag}, max_lag={self.max_lag}"


def node_positions(first: int | Tensor, count: int, block: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Where nodes lie between the centres of blocks: the block before each (count,) and the share of the next one.

    Node i is at sample i * GROUP whatever the length, so that the start of a signal does not depend on its end; in
    whole numbers, since float32 has no room for the samples of an hour.
    """
    twice = 2 * GROUP * (torch.arange(count, device=like.device) + first) - block
    before = torch.div(twice, 2 * block, rounding_mode="floor")
    return before, (twice - 2 * block * before).to(like.dtype) / (2 * block)


def taps_at(lag: Tensor, gain: Tensor, min_lag: int) -> tuple[Tensor, Tensor]:
    """Fractional lags (B, G + 1) and gains (B, W, G + 1) to whole lags and taps (B, G + 1, 2 * REACH + 1)."""
    # NaN in the data must reach the loss, where the step is skipped, not the index of a gather.
    whole = lag.nan_to_num(float(min_lag)).round()
    # Taps first in memory: what is the same for all of them is then read in one stretch.
    offset = torch.arange(-REACH, REACH + 1, device=lag.device, dtype=lag.dtype)[:, None, None] + (whole - lag)
    taps = torch.zeros_like(offset)
    shape = torch.exp((offset * (0.5**0.5 / WIDEST)).square().neg())
    for g in gain.unbind(1)[::-1]:
        taps = torch.addcmul(taps, shape, g / shape.sum(0))
        shape = shape.square().square()  # half as wide, cheaper than by exp
    return whole.long(), taps.movedim(0, -1).contiguous()


def fractional_lag(logits: Tensor, min_lag: int, around: int = 4) -> Tensor:
    """Centre of mass of softmax(logits) within `around` lags of its peak, in samples: (B, L, N) -> (B, N)."""
    p = torch.softmax(logits, 1)
    peak = p.argmax(1, keepdim=True)
    index = (peak + torch.arange(-around, around + 1, device=p.device)[:, None]).clamp(0, p.shape[1] - 1)
    near = p.gather(1, index)
    return (near * index).sum(1) / near.sum(1) + min_lag


def _tile_entropy(x: Tensor, block: int = 128, bands: int = 4, blocks: int = 4) -> Tensor:
    """Half the mean log energy of tiles of the lapped transform of (B, T), in nats per sample up to a constant."""
    x = x[:, : x.shape[1] // (block * blocks) * block * blocks]
    energy = F.avg_pool2d(LappedTransform(block)(x[:, None], x)[0].square(), (bands, blocks))
    return 0.5 * (energy + PCM16_STEP**2 / 12).log().mean()
