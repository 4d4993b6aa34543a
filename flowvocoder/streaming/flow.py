"""A whole model in steps of any size, with explicit state: encoder and flow, found by their types."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.arithmetic import PYTORCH, Arithmetic
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.recursion import choice
from flowvocoder.flows.recursion.reference import SolverFactory
from flowvocoder.flows.streaming import (
    Context,
    ContextProbe,
    StepSettings,
    StreamPosition,
    StreamState,
    build_encoder_step,
    build_step,
)

BEFORE = 2**20
"""Columns: a delay by which a dry run is wholly before the signal, where no layer expects a past."""


class FlowStep(nn.Module):
    """A `FlowVocoder` ready for inference: (mel, noise, frames, state) -> audio.

    The noise waits until all context that the flow reads ahead is there; then every layer adds its own look-ahead.

    Args:
        model: a copy of its weights is taken.
        solver: makes what undoes the pitch prediction.
        precision: of the networks where the time goes, and of 1x1 convolutions. What couplings scale and shift, the
            encoder, lags, the transform and the recursion keep the model's own.
        sampling: the flow's `sample` rather than its `inverse`.
        arithmetic: what computes between products.

    Attributes:
        rate: blocks a frame.
        delay: how many blocks late the audio comes out: look-ahead of all layers together.
        back: how many blocks after its own a frame can still be heard; infinite with the pitch recursion.
        state_shapes: (columns, channels) of each tensor of the state, whose first axis is the batch.
        state_dtypes: what each holds.

    Raises:
        NoStreamingStep: encoder, a layer or a conditioner has none.

    Shape:
        mel: (B, f, n_mels) frames, noise: (B, f * rate, M) their blocks -> (B, f * hop_length) audio, `delay` blocks
        late
    """

    def __init__(
        self,
        model: FlowVocoder,
        solver: SolverFactory = choice.solver,
        precision: torch.dtype | None = None,
        sampling: bool = True,
        arithmetic: Arithmetic = PYTORCH,
    ):
        super().__init__()
        parameter = next(model.parameters())
        settings = StepSettings(
            model.block, parameter.dtype, parameter.device, sampling, precision, solver, arithmetic=arithmetic
        )
        self.encoder = build_encoder_step(model.encoder, settings)
        self.flow = build_step(model.flow, settings)
        self.block, self.n_mels, self.rate = model.block, model.spec.n_mels, self.encoder.rate
        with torch.no_grad():
            self._plan(parameter)
        self.back = self.encoder.back + self.flow.context_back

    def _plan(self, like: Tensor) -> None:
        """Find by dry runs of one frame of zeros what the flow reads of the context, and what it remembers."""
        mel, noise = like.new_zeros(1, 1, self.n_mels), like.new_zeros(1, self.rate, self.block)
        probe = ContextProbe(self.encoder(mel, StreamPosition(0), StreamState()), BEFORE)
        self.flow(noise, probe, BEFORE, StreamPosition(0), StreamState())
        self._wait = self.encoder.delay + probe.ahead
        self._depth = probe.ahead + probe.back
        self.delay = self._wait + self.flow.ahead
        state = StreamState()
        self(mel, noise, StreamPosition(0, torch.ones(1, dtype=torch.int64, device=like.device)), state)
        self.state_shapes = [(tensor.shape[1], tensor.shape[2]) for tensor in state.new]
        self.state_dtypes = [tensor.dtype for tensor in state.new]

    def advance(
        self, mel: Tensor, noise: Tensor, start: int, length: Tensor | None, state: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """One step with its state as tensors: (audio, the state after it).

        Args:
            start: frames before this step.
            length: frames of each item in all, (B,); None while it is not known.
            state: what the step before gave; None at the start.
        """
        after = StreamState(state)
        audio: Tensor = self(mel, noise, StreamPosition(start, length), after)
        return audio, after.new

    def forward(self, mel: Tensor, noise: Tensor, frames: StreamPosition, state: StreamState) -> Tensor:
        context = Context(self.encoder(mel, frames, state), self.encoder.delay, self._depth, state)
        blocks = frames.at_rate(self.rate)
        audio = self.flow(state.delay(noise, self._wait), context, self._wait, blocks, state)
        # A recursion rings on after the end of an item that is shorter than others of its batch.
        return blocks.mask(audio, self.delay).flatten(1)
