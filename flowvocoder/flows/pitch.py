"""Long-term (pitch) prediction as a volume-preserving bijection in the time domain."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.periodicity import pitch_periods
from flowvocoder.flows.base import Bijection, fixed_in_training, no_volume_change
from flowvocoder.flows.convolution import ConvProduct, Features, FeaturesStep, TimeConv, zeros
from flowvocoder.flows.excitation import excitation_envelope, modulation_depth, phase_at_centres, shares
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.flows.recursion.choice import synthesise
from flowvocoder.flows.recursion.reference import GROUP, REACH, past_samples, predict, taps_at
from flowvocoder.flows.streaming import (
    Context,
    NoStreamingStep,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    require_columns,
    step_for,
)
from flowvocoder.units import PCM16_STEP, ceil_div

MAX_GAIN = 0.98
"""Upper limit of the sum of all taps. They are positive, so below 1 the synthesis recursion is stable."""


class PitchPredictor(Bijection):
    """e[n] = x[n] - sum_k a_k[n] x[n - k], taps near the pitch lag: (B, 1, T) -> (B, 1, T), log-det 0.

    This is the long-term predictor (LTP) of speech coders (Atal and Schroeder 1970; Ramachandran and Kabal 1989) with
    its parameters read from the context instead of sent. The Jacobian is unit lower triangular. A softmax over integer
    lags, whose local centre of mass is a fractional lag, gives the lag. A softmax over the tap filters (and "none"),
    each a Gaussian around the lag and so a low-pass, gives their gains.

    Samples have LTP gains of their own. Above a kilohertz speech repeats its envelope from pulse to pulse more than its
    waveform; with the gains of the waveform, which maximise likelihood, pulses drown in noise. So `sample` adds the
    logits of a second network, which are zero until sampling is trained. With `excitation` the noise that samples are
    made from gets a pitch-synchronous envelope (`flows/excitation.py`): what is predicted from stationary noise is
    the same noise again, not a pulse.

    Beside the likelihood the predictor has losses of its own, `own_losses`. The lag is trained by one of them alone.
    The other keeps the gains open while lag and flow are untrained: otherwise likelihood closes them in the first
    steps, when the lag is still wrong, and never finds them again.

    Args:
        context: channels of the context.
        min_lag, max_lag: range of the lag in samples.
        hidden: width of the predicting network.
        causal: that network looks back only.
        filters: number of tap filters.
        excitation: samples are made from noise with a pitch-synchronous envelope.

    Raises:
        ValueError: the lowest lag is too short for the recursion.
    """

    cheap_inverse = False  # a recursion over samples

    def __init__(
        self,
        context: int,
        min_lag: int,
        max_lag: int,
        hidden: int,
        causal: bool = False,
        filters: int = 3,
        excitation: bool = False,
    ):
        super().__init__()
        if min_lag <= REACH + GROUP:
            raise ValueError(f"min_lag must be above {REACH + GROUP} samples, not {min_lag}")
        self.min_lag, self.max_lag = min_lag, max_lag
        lags = max_lag - min_lag + 1
        self.net, self.sample_net = (Features(context, hidden, causal) for _ in range(2))
        self.lag_head = TimeConv(hidden, lags)
        self.gain_head = TimeConv(hidden, filters + 1)
        self.sample_head = zeros(TimeConv(hidden, filters + 1))
        self.sample_pulse = zeros(TimeConv(hidden, 1)) if excitation else None
        nn.init.zeros_(self.gain_head.weight)
        with torch.no_grad():
            self.gain_head.bias.copy_(torch.tensor([0.0] * filters + [2.0]))  # type: ignore[union-attr]

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        lag, taps = self._taps(x, context)
        with torch.autocast(x.device.type, enabled=False):
            return (x[:, 0] - predict(x[:, 0], lag, taps))[:, None], no_volume_change(x)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return self._synthesise(z, *self._taps(z, context))

    def sampling_parameters(self) -> list[nn.Parameter]:
        """Those that `sample` uses and `inverse` does not."""
        own = (self.sample_net, self.sample_head, self.sample_pulse)
        return [p for module in own if module is not None for p in module.parameters()]

    def sample(self, z: Tensor, context: Tensor) -> Tensor:
        lag, logits = self._lag_and_logits(z, context)
        # How samples sound trains the second network alone.
        h = self.sample_net(fixed_in_training(self, context))
        gain = self._gain(fixed_in_training(self, logits) + self.sample_head(h), z.dtype)
        if self.sample_pulse is not None:
            depth = modulation_depth(self.sample_pulse(h)[:, 0], z.dtype)
            z = z * self._excitation(lag, depth, z.shape[-1])[:, None]
        return self._synthesise(z, *self._interpolate(lag, gain, z))

    def _excitation(self, lag: Tensor, depth: Tensor, samples: int) -> Tensor:
        """The envelope (B, T) of the noise from lags and depths (B, N)."""
        lag, depth = (torch.cat([x[:, :1], x, x[:, -1:]], 1) for x in (lag, depth))
        block = samples // (lag.shape[1] - 2)
        phase = phase_at_centres(lag, block, torch.zeros_like(lag[:, 0]))
        return excitation_envelope(lag, depth, phase, shares(block, lag.dtype, lag.device))

    def _synthesise(self, z: Tensor, lag: Tensor, taps: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return synthesise(z[:, 0], lag, taps)[:, None]

    def own_losses(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """What trains lag and gains without the rest of the flow; scalars.

        The first is the cross-entropy of the predicted lag against the one at which the audio repeats itself (blocks
        count by how strongly they do), times 0.05 to be of the second's size. The second is the entropy per sample
        that prediction with the true lag leaves, if all that follows removes the spectral envelope. It is half the
        mean log energy over tiles of the lapped transform, less that of x.

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
        lag = fixed_in_training(self, self.lag_head(h))
        return fractional_lag(lag.to(x.dtype), self.min_lag), self.gain_head(h)

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


@step_for(PitchPredictor)
class PitchPredictorStep(StreamingStep):
    """Its inverse or `sample`, with lags and gains read one block ahead of the samples."""

    share: Tensor
    back = math.inf

    def __init__(self, layer: PitchPredictor, settings: StepSettings):
        super().__init__(settings)
        require_columns(layer, settings, settings.block)
        if settings.block < 2 * GROUP:
            raise NoStreamingStep(f"PitchPredictor has no streaming step for blocks under {2 * GROUP} samples")
        self.block, self.min_lag = settings.block, layer.min_lag
        self.register_buffer("share", shares(settings.block, settings.dtype, settings.device))
        self.before = past_samples(layer.max_lag)
        self.solve = settings.solver(layer.min_lag, settings.block)
        self.features = FeaturesStep(layer.net)
        self.lag, self.gain = ConvProduct(layer.lag_head), ConvProduct(layer.gain_head)
        self.sampling, self.arithmetic = settings.sampling, settings.arithmetic
        self.depth: ConvProduct | None = None
        if self.sampling:
            self.sample_features = FeaturesStep(layer.sample_net, settings.precision)
            self.sample_gain = ConvProduct(layer.sample_head)
            self.depth = None if layer.sample_pulse is None else ConvProduct(layer.sample_pulse)

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        parameters = self._block_parameters(context, delay - 1, z.shape[1], position, state)
        # From two blocks before the first to one after the last.
        known = _constant_outside(state.extend(parameters, 3), delay + 2, position)
        e = position.mask(z, delay).flatten(1)
        if self.depth is not None:
            e = e * self._excitation(known, delay, position, state)
        return self._recur(e, known, position.start - delay, state).view(z.shape)

    def _block_parameters(
        self, context: Context, delay: int, count: int, position: StreamPosition, state: StreamState
    ) -> Tensor:
        """Lag in samples, gains and modulation depth of every block: (B, count, 2 + W), `delay` blocks late."""
        h = self.features(context, delay, count, position, state)
        lag = fractional_lag(self.lag(h), self.min_lag, axis=2)
        logits, depth = self.gain(h), torch.zeros_like(lag)
        if self.sampling:
            features = self.sample_features(context, delay, count, position, state)
            logits = logits + self.sample_gain(features)
            if self.depth is not None:
                depth = modulation_depth(self.depth(features)[..., 0], lag.dtype)
        return torch.cat([lag[..., None], MAX_GAIN * torch.softmax(logits, 2)[..., :-1], depth[..., None]], 2)

    def _recur(self, e: Tensor, known: Tensor, first: int | Tensor, state: StreamState) -> Tensor:
        """Residual (B, n * block) of the blocks from `first` on -> samples."""
        samples = e.shape[1]
        # A group that the last step cut in two is done again from its start: the same samples once more, then the rest.
        spare = GROUP - 1 if self.block % GROUP else 0
        odd = first * self.block % GROUP if spare else 0
        e = state.extend(e[..., None], spare)[:, spare - odd :, 0]
        groups = ceil_div(e.shape[1], GROUP)
        e = F.pad(e, (0, groups * GROUP - e.shape[1]))
        before, share = node_positions((first * self.block - odd) // GROUP, groups + 1, self.block, e)
        predicted, before = known[..., :-1], before - (first - 2)
        nodes = torch.lerp(predicted[:, before], predicted[:, before + 1], share[:, None])
        past = state.past(e[..., None], self.before + spare)
        x = self.solve(e, nodes, past[:, spare - odd : spare - odd + self.before, 0])[:, odd : odd + samples]
        state.keep(torch.cat([past, x[..., None]], 1)[:, samples:])
        return x

    def _excitation(self, known: Tensor, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        """The envelope of the noise of the blocks that are `delay` late: (B, n * block)."""
        lag, depth = known[:, 1:, 0], known[:, 1:, -1]
        start = state.past(lag[..., None], 1)[:, 0, 0]
        inside = position.inside(lag.shape[1] - 1, delay, lag)
        phase = phase_at_centres(lag, self.block, start, inside)  # 0 before the signal
        state.keep(phase[:, -2:-1, None])
        return self.arithmetic.excitation(lag, depth, phase, self.share)


def _constant_outside(known: Tensor, delay: int, position: StreamPosition) -> Tensor:
    """Parameters (B, n, 2 + W) of blocks, `delay` late; those beyond the first and the last of the signal as these."""
    if position.inside(known.shape[1], delay, known) is None:
        return known
    first = position.start - delay
    at = (torch.arange(known.shape[1], device=known.device) + first).clamp_min(0)[None]
    if position.length is not None:
        at = torch.minimum(at, position.length[:, None] - 1)
    at = (at - first).clamp(0, known.shape[1] - 1)[..., None]
    return known.gather(1, at.expand(known.shape[0], -1, known.shape[2]))


def node_positions(first: int | Tensor, count: int, block: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Where nodes lie between the centres of blocks: the block before each (count,) and the share of the next one.

    Node i is at sample i * GROUP whatever the length, so that the start of a signal does not depend on its end. The
    positions are integers, since float32 cannot count the samples of an hour.
    """
    twice = 2 * GROUP * (torch.arange(count, device=like.device) + first) - block
    before = torch.div(twice, 2 * block, rounding_mode="floor")
    return before, (twice - 2 * block * before).to(like.dtype) / (2 * block)


def fractional_lag(logits: Tensor, min_lag: int, around: int = 4, axis: int = 1) -> Tensor:
    """Centre of mass of softmax(logits) within `around` lags of its peak, in samples: (B, L, N) -> (B, N).

    Args:
        axis: where the lags are.
    """
    logits = logits.movedim(axis, -1)
    peak = logits.argmax(-1, keepdim=True)
    near = peak + torch.arange(-around, around + 1, device=logits.device)
    near = near.clamp(0, logits.shape[-1] - 1)
    # From the peak on: sums of large numbers would round differently from engine to engine.
    beyond = (torch.softmax(logits.gather(-1, near), -1) * (near - peak)).sum(-1)
    return beyond + (peak[..., 0] + min_lag)


def _tile_entropy(x: Tensor, block: int = 128, bands: int = 4, blocks: int = 4) -> Tensor:
    """Half the mean log energy of tiles of the lapped transform of (B, T), in nats per sample up to a constant."""
    x = x[:, : x.shape[1] // (block * blocks) * block * blocks]
    energy = F.avg_pool2d(LappedTransform(block)(x[:, None], x)[0].square(), (bands, blocks))
    return 0.5 * (energy + PCM16_STEP**2 / 12).log().mean()
