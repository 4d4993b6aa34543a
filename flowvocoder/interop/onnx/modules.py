"""What is exported: a model with its step as a function of tensors, state included."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.streaming import Clock, Memory
from flowvocoder.streaming.lapglow import LapGlowStep, can_stream
from flowvocoder.streaming.operator import recurse_by_operator
from flowvocoder.units import ceil_div


class Step(nn.Module):
    """One step of streaming synthesis.

    Shape:
        mel: (B, n_mels, f), noise: (B, M, f * rate), position: () frames before this step, length: (B,) frames of each
        item in all (2^48 while it is not known), state: as `state_shapes` says, zeros before the first step
        -> audio (B, f * hop_length), `delay` blocks late, and the new state
    """

    def __init__(self, model: FlowVocoder):
        super().__init__()
        self.step = exportable(model)

    def forward(
        self, mel: Tensor, noise: Tensor, position: Tensor, length: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        memory = Memory(state)
        clock = Clock(position, length, exact=True)
        audio = self.step(mel.transpose(1, 2), noise.transpose(1, 2), clock, memory)
        return audio, memory.new

    def state_shapes(self) -> list[tuple[int, int]]:
        """(columns, channels) of each tensor of the state, whose first axis is the batch."""
        step = self.step
        mel = torch.zeros(1, 1, step.n_mels)
        memory = Memory()
        with torch.no_grad():
            step(mel, torch.zeros(1, step.rate, step.block), Clock(0, torch.tensor([1])), memory)
        return [(tensor.shape[1], tensor.shape[2]) for tensor in memory.new]


class Whole(nn.Module):
    """Synthesis of whole mels.

    Shape:
        mel: (B, n_mels, F), noise: (B, M, N), length: (B,) frames of each item -> audio (B, F * hop_length)
    """

    def __init__(self, model: FlowVocoder):
        super().__init__()
        self.step = exportable(model)

    def forward(self, mel: Tensor, noise: Tensor, length: Tensor) -> Tensor:
        step = self.step
        rest = ceil_div(step.delay, step.rate)
        start = torch.zeros((), dtype=torch.int64, device=mel.device)
        mel = F.pad(mel.transpose(1, 2), (0, 0, 0, rest))
        noise = F.pad(noise.transpose(1, 2), (0, 0, 0, rest * step.rate))
        audio: Tensor = step(mel, noise, Clock(start, length, exact=True), Memory())
        late = step.delay * step.block
        return audio[:, late : late + audio.shape[1] - rest * step.rate * step.block]


def exportable(model: FlowVocoder) -> LapGlowStep:
    """The model's step with the recursion as one operator.

    Raises:
        ConfigError: of another architecture, or its blocks are no whole groups of the recursion.
    """
    if not can_stream(model):
        raise ConfigError(f"{type(model).__name__} cannot be exported: only what streams can")
    step = LapGlowStep(model).eval()
    recurse_by_operator(step)
    return step
