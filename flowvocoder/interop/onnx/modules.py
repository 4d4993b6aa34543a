"""What is exported: a model with its step as a function of tensors, state included."""

from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.recursion import operator
from flowvocoder.flows.streaming import NoStreamingStep, StreamPosition, StreamState
from flowvocoder.streaming.flow import FlowStep


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


def exportable(model: FlowVocoder) -> FlowStep:
    """The model's step with the recursion as one operator.

    Raises:
        ConfigError: the model cannot stream, or its blocks are no whole groups of the recursion.
    """
    try:
        return FlowStep(model, operator.solver).eval()
    except NoStreamingStep as error:
        raise ConfigError(f"this model cannot be exported: {error}, which export needs") from error
