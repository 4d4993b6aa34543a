"""LapGlow from noise to audio in steps of any size, with explicit state. Time is the second axis: (B, n, C)."""

import math
from collections.abc import Callable
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.encoders import MelEncoder
from flowvocoder.flows.envelope import LOWEST, Envelope
from flowvocoder.flows.excitation import depth_of, phase_at_centres, pulse_envelope
from flowvocoder.flows.lapped import LappedTransform, rotation_tables
from flowvocoder.flows.level import LevelCoupling
from flowvocoder.flows.pitch import MAX_GAIN, PitchPredictor, fractional_lag, node_positions, taps_at
from flowvocoder.flows.recursion.reference import GROUP, past_samples, solve
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.flows.streaming import Clock, Memory
from flowvocoder.streaming.fold import Context, FoldedCoupling, FoldedLevel, Product, Taps, double
from flowvocoder.units import ceil_div

Solver = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Undoes the pitch prediction: `flows.recursion.solve` or one that gives the same."""


class EncoderStep(nn.Module):
    """`MelEncoder` in steps: (B, f, n_mels) -> (B, f * rate, n_mels + channels), `delay` blocks late."""

    level: Tensor

    def __init__(self, encoder: MelEncoder):
        super().__init__()
        self.register_buffer("level", encoder.level[:, 0].clone())
        self.spread = encoder.spread
        self.rate = encoder.blocks_per_frame
        self.start = Taps(encoder.start)
        first = [Taps(layer[1]) for layer in encoder.layers]  # type: ignore[index]
        self.first = nn.ModuleList(first)
        self.second = nn.ModuleList(Taps(layer[3]) for layer in encoder.layers)  # type: ignore[index]
        # Blocks rate / 2 late, so that those which one new frame completes need that frame and the last one only.
        weight, bias = double(encoder.up)
        taps = [weight[:, :, k : k + self.rate].permute(2, 1, 0).flatten(0, 1) for k in (self.rate, 0)]
        self.up = Product(torch.cat(taps, 1), bias.repeat(self.rate), encoder.up.weight.dtype)
        frames = self.start.ahead + sum(conv.ahead for conv in first)
        self.delay = frames * self.rate + self.rate // 2
        frames = self.start.back + sum(conv.back for conv in first)
        self.back = frames * self.rate + self.rate - self.rate // 2

    def forward(self, mel: Tensor, clock: Clock, memory: Memory) -> Tensor:
        mel = clock.mask((mel - self.level) / self.spread, 0, 1)
        h, delay = self.start(memory.extend(mel, self.start.span)), self.start.ahead
        for first, second in zip(self.first, self.second, strict=True):
            assert isinstance(first, Taps)
            extended = memory.extend(clock.mask(h, delay, 1), first.span)
            old = first.span - first.ahead
            h = extended[:, old : old + h.shape[1]] + second(F.silu(first(F.silu(extended))))
            delay += first.ahead
        pair = memory.extend(clock.mask(h, delay, 1), 1)
        up = F.silu(self.up(torch.cat([pair[:, :-1], pair[:, 1:]], 2)))
        up = up.reshape(up.shape[0], -1, h.shape[2])
        repeated = memory.delay(mel.repeat_interleave(self.rate, 1), self.delay)
        return clock.mask(torch.cat([repeated, up], 2), self.delay, self.rate)


class FeatureStep(nn.Module):
    """Two convolutions with SiLU behind each, at the block rate; `ahead` blocks of look-ahead."""

    def __init__(self, first: nn.Module, second: nn.Module, precision: torch.dtype | None = None):
        super().__init__()
        self.first = Taps(first, precision=precision)  # type: ignore[arg-type]
        self.second = Taps(second, precision=precision)  # type: ignore[arg-type]
        self.ahead = self.first.ahead + self.second.ahead
        self.back = self.first.back + self.second.back

    def forward(self, context: Context, delay: int, count: int, clock: Clock, memory: Memory) -> Tensor:
        """Features that are `delay` blocks late, (B, count, C)."""
        h = self.first(context.at(delay - self.ahead, count, self.first.span))
        h = clock.mask(F.silu(h), delay - self.second.ahead, context.rate)
        return F.silu(self.second(memory.extend(h, self.second.span)))


class EnvelopeStep(nn.Module):
    """`Envelope` in steps, as a factor: exp(log standard deviation)."""

    def __init__(self, envelope: Envelope, exact: bool, precision: torch.dtype | None = None):
        super().__init__()
        self.n_mels = envelope.n_mels
        self.skip = Taps(envelope.skip)
        self.features = FeatureStep(envelope.net[0], envelope.net[2], precision)
        self.last = Taps(envelope.last, *(() if exact else (envelope.sample_last,)))

    def forward(self, context: Context, delay: int, count: int, clock: Clock, memory: Memory) -> Tensor:
        mel = context.at(delay - self.skip.ahead, count, self.skip.span)[..., : self.n_mels]
        s = self.skip(mel) + self.last(self.features(context, delay, count, clock, memory))
        return torch.exp(LOWEST + F.softplus(s - LOWEST, beta=4.0))


class PitchStep(nn.Module):
    """`PitchPredictor`'s recursion in steps. Wants lags and gains one block ahead of the samples."""

    def __init__(
        self, pitch: PitchPredictor, block: int, solver: Solver, exact: bool, precision: torch.dtype | None = None
    ):
        super().__init__()
        self.block = block
        self.min_lag = pitch.min_lag
        self.before = past_samples(pitch.max_lag)
        self.features = FeatureStep(pitch.net[0], pitch.net[2])
        self.solve = solver
        self.lag, self.gain = Taps(pitch.lag_head), Taps(pitch.gain_head)
        self.exact = exact
        if not exact:
            self.sample_features = FeatureStep(pitch.sample_net[0], pitch.sample_net[2], precision)
            self.sample_gain = Taps(pitch.sample_head)
            self.depth = None if pitch.sample_pulse is None else Taps(pitch.sample_pulse)

    def parameters_of(self, context: Context, delay: int, count: int, clock: Clock, memory: Memory) -> Tensor:
        """Lag in samples, depth of the pulses and gains of every block: (B, count, 2 + W), `delay` blocks late."""
        h = self.features(context, delay, count, clock, memory)
        lag = fractional_lag(self.lag(h).transpose(1, 2), self.min_lag)
        logits, depth = self.gain(h), torch.zeros_like(lag)
        if not self.exact:
            features = self.sample_features(context, delay, count, clock, memory)
            logits = logits + self.sample_gain(features)
            if self.depth is not None:
                depth = depth_of(self.depth(features)[..., 0], lag.dtype)
        return torch.cat([torch.stack([lag, depth], 2), MAX_GAIN * torch.softmax(logits, 2)[..., :-1]], 2)

    def forward(self, e: Tensor, parameters: Tensor, delay: int, rate: int, clock: Clock, memory: Memory) -> Tensor:
        """Residual (B, n * block), `delay` blocks late, to audio; `parameters` are one block less late."""
        samples = e.shape[1]
        first = clock.start * rate - delay
        known = memory.extend(parameters, 3)  # from two blocks before the first to one after the last
        if not self.exact and self.depth is not None:
            e = e * self._pulses(known, first, rate, clock, memory)
        # A group that the last step cut in two is done again from its start: the same samples once more, then the rest.
        spare = GROUP - 1 if self.block % GROUP else 0
        odd = first * self.block % GROUP if spare else 0
        e = memory.extend(e[..., None], spare)[:, spare - odd :, 0]
        groups = ceil_div(e.shape[1], GROUP)
        e = F.pad(e, (0, groups * GROUP - e.shape[1]))
        before, share = node_positions((first * self.block - odd) // GROUP, groups + 1, self.block, e)
        sides = [self._block(known, at, first - 2, rate, clock) for at in (before, before + 1)]
        nodes = torch.lerp(sides[0], sides[1], share[:, None])
        lag, taps = taps_at(nodes[..., 0], nodes[..., 2:].transpose(1, 2), self.min_lag)
        past = memory.past(e[..., None], self.before + spare)
        x = self.solve(e, lag, taps, past[:, spare - odd : spare - odd + self.before, 0])[:, odd : odd + samples]
        memory.keep(torch.cat([past, x[..., None]], 1)[:, samples:])
        return x

    def _pulses(self, known: Tensor, first: int | Tensor, rate: int, clock: Clock, memory: Memory) -> Tensor:
        """The envelope of the noise of the blocks from `first` on: (B, n * block)."""
        blocks = torch.arange(known.shape[1] - 1, device=known.device) + (first - 1)
        lag, depth = self._block(known, blocks, first - 2, rate, clock)[..., :2].unbind(2)
        start = memory.past(lag[..., None], 1)[:, 0, 0]
        phase = phase_at_centres(lag, self.block, start, blocks[1:] >= 0)  # 0 before the signal
        memory.keep(phase[:, -2:-1, None])
        return pulse_envelope(lag, depth, phase, self.block)

    def _block(self, known: Tensor, at: Tensor, first: int | Tensor, rate: int, clock: Clock) -> Tensor:
        """Parameters (B, G, 2 + W) of the blocks `at` (G,); constant beyond the first and the last of the signal."""
        at = at.clamp_min(0)[None]
        if clock.length is not None:
            at = torch.minimum(at, clock.length[:, None] * rate - 1)
        at = (at - first).clamp(0, known.shape[1] - 1)[..., None]
        return known.gather(1, at.expand(known.shape[0], -1, known.shape[2]))


class TransformStep(nn.Module):
    """Inverse `LappedTransform` in steps: (B, n, M) -> (B, n * M), one block later."""

    sin: Tensor
    cos: Tensor

    def __init__(self, transform: LappedTransform, dtype: torch.dtype, device: torch.device):
        super().__init__()
        sin, cos, basis = rotation_tables(transform.block, dtype, device)
        self.register_buffer("sin", sin)
        self.register_buffer("cos", cos)
        self.basis = Product(basis.T, None, dtype)

    def forward(self, z: Tensor, delay: int, rate: int, clock: Clock, memory: Memory) -> Tensor:
        count, half = z.shape[1], z.shape[2] // 2
        y = memory.extend(self.basis(z), 2)
        tail, head = y[:, :-1, half:].flip(-1), y[:, 1:, :half]
        new_tail, new_head = self.sin * tail - self.cos * head, self.sin * head + self.cos * tail
        # There are no rotations across the two ends of the signal.
        inside = clock.inside(count + 2, delay + 2, rate, z)
        if inside is not None:
            both = (inside[:, :-1] & inside[:, 1:])[..., None]
            new_tail, new_head = torch.where(both, new_tail, tail), torch.where(both, new_head, head)
        blocks = torch.cat([new_head[:, :-1], new_tail[:, 1:].flip(-1)], 2)
        return clock.mask(blocks, delay + 1, rate).flatten(1)


class LapGlowStep(nn.Module):
    """A `LapGlow` ready for inference: (mel, noise, clock, memory) -> audio.

    Shape:
        mel: (B, f, n_mels) frames, noise: (B, f * rate, M) their blocks -> (B, f * hop_length) audio, `delay` blocks
        late

    Args:
        model: a copy of its weights is taken.
        solver: of the pitch recursion.
        precision: of the networks of couplings, envelope and sampling gains, where the time goes; what they scale and
            shift, the encoder, lags, the transform and the recursion keep the model's own.
        exact: the inverse of the flow rather than its `sample`.

    Attributes:
        rate: blocks a frame.
        delay: how many blocks late the audio comes out: look-ahead of all layers together.
        back: how many blocks after its own a frame can still be heard; infinite with the pitch recursion.
    """

    def __init__(
        self, model: FlowVocoder, solver: Solver = solve, precision: torch.dtype | None = None, exact: bool = False
    ):
        super().__init__()
        layers = list(model.flow.layers)  # type: ignore[arg-type]
        pitch = layers.pop(0) if isinstance(layers[0], PitchPredictor) else None
        transform, scale, *flows = layers
        assert isinstance(transform, LappedTransform) and isinstance(scale, ConditionalScale)
        parameter = next(model.parameters())
        self.block = model.block
        self.n_mels = model.spec.n_mels
        self.encoder = EncoderStep(model.encoder)  # type: ignore[arg-type]
        self.envelope = EnvelopeStep(scale.log_scale, exact, precision)  # type: ignore[arg-type]
        self.pitch = None if pitch is None else PitchStep(pitch, model.block, solver, exact, precision)
        self.transform = TransformStep(transform, parameter.dtype, parameter.device)
        levels = [layer for layer in flows if isinstance(layer, LevelCoupling)]
        flows = flows[len(levels) :]
        pairs = list(zip(flows[0::2], flows[1::2], strict=True))[::-1]
        couplings: list[FoldedCoupling | FoldedLevel] = [
            *(FoldedCoupling(pointwise, coupling, precision) for pointwise, coupling in pairs),
            *(FoldedLevel(level, precision) for level in levels[::-1]),
        ]
        self.couplings = nn.ModuleList(couplings)
        self.rate = self.encoder.rate
        features = [self.envelope.features, *([] if self.pitch is None else [self.pitch.features])]
        flows_ahead = sum(c.ahead for c in couplings)
        self._depth = max([flows_ahead, *(f.ahead for f in features)])
        self._reach = max(f.first.span for f in features)
        self.delay = self.encoder.delay + self._depth + 1
        flows_back = sum(c.back for c in couplings)
        self.back = math.inf if self.pitch else self.encoder.back + max(flows_back, self.envelope.features.back) + 1

    def advance(
        self, mel: Tensor, noise: Tensor, start: int, length: Tensor | None, state: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """One step with its state as tensors: (audio, the state after it).

        Args:
            start: frames before this step.
            length: frames of each item in all, (B,); None while it is not known.
            state: what the step before gave; None at the start.
        """
        memory = Memory(state)
        audio: Tensor = self(mel, noise, Clock(start, length), memory)
        return audio, memory.new

    def forward(self, mel: Tensor, noise: Tensor, clock: Clock, memory: Memory) -> Tensor:
        context = self.encoder(mel, clock, memory)
        count, rate = context.shape[1], self.rate
        delay = self.encoder.delay
        late = delay + self._depth
        shared = Context(context, delay, self._depth + self._reach, rate, memory)
        z = memory.delay(noise, delay)
        for coupling in self.couplings:
            assert isinstance(coupling, FoldedCoupling | FoldedLevel)
            z = coupling(z, shared, delay, clock, memory)
            delay += coupling.ahead
        z = memory.delay(z, late - delay) * self.envelope(shared, late, count, clock, memory)
        e = self.transform(z, late, rate, clock, memory)
        if self.pitch is None:
            return e
        parameters = self.pitch.parameters_of(shared, late, count, clock, memory)
        audio: Tensor = self.pitch(e, parameters, late + 1, rate, clock, memory)
        # The recursion rings on after the end of an item that is shorter than others of its batch.
        return clock.mask(audio.view(audio.shape[0], count, self.block), late + 1, rate).flatten(1)


def can_stream(model: nn.Module) -> TypeGuard[FlowVocoder]:
    """Whether `LapGlowStep` takes the model: not one of another architecture, nor one whose blocks are too short."""
    if not isinstance(model, FlowVocoder) or not isinstance(model.encoder, MelEncoder):
        return False
    pitch = isinstance(model.flow.layers[0], PitchPredictor)  # type: ignore[index]
    return not pitch or model.block >= 2 * GROUP
