"""What is exported: a model with its step as a function of tensors, state included."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.recursion import operator
from flowvocoder.flows.streaming import NoStreamingStep, StreamPosition, StreamState
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.units import ceil_div


class StepExport(nn.Module):
    """One step of streaming synthesis.

    Shape:
        mel: (B, n_mels, f), noise: (B, M, f * rate), position: () frames before this step, length: (B,) frames of each
        item in all (2^48 while it is not known), state: as `step.state_shapes` says, zeros before the first step
        -> audio (B, f * hop_length), `delay` blocks late, and the new state
    """

    def __init__(self, model: FlowVocoder):
        super().__init__()
        self.step = exportable(model)

    def forward(
        self, mel: Tensor, noise: Tensor, position: Tensor, length: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        after = StreamState(state)
        frames = StreamPosition(position, length, traced=True)
        audio = self.step(mel.transpose(1, 2), noise.transpose(1, 2), frames, after)
        return audio, after.new


class WholeExport(nn.Module):
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
        audio: Tensor = step(mel, noise, StreamPosition(start, length, traced=True), StreamState())
        late = step.delay * step.block
        return audio[:, late : late + audio.shape[1] - rest * step.rate * step.block]


def exportable(model: FlowVocoder) -> FlowStep:
    """The model's step with the recursion as one operator.

    Raises:
        ConfigError: the model cannot stream, or its blocks are no whole groups of the recursion.
    """
    try:
        return FlowStep(model, operator.solver).eval()
    except NoStreamingStep as error:
        raise ConfigError(f"this model cannot be exported: {error}, which export needs") from error
