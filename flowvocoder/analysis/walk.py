"""Audio on its way through a flow, layer by layer."""

import collections
import dataclasses

import torch
from torch import Tensor

from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection
from flowvocoder.flows.coupling import AffineCoupling, Coupling
from flowvocoder.flows.density import standard_normal_log_prob
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.flows.multiscale import Squeeze
from flowvocoder.flows.pitch import PitchPredictor
from flowvocoder.flows.pointwise import PointwiseLU, PointwiseMatrix
from flowvocoder.flows.rows import RowAutoregression
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.flows.scale_coupling import ScaleCoupling
from flowvocoder.vocoder import Vocoder

EXPLANATIONS: dict[type[Bijection], tuple[str, str]] = {
    PitchPredictor: (
        "Pitch prediction",
        "What a glance back by one pitch period foretells is taken away; the mel says how long a period is.",
    ),
    LappedTransform: (
        "Transform",
        "Overlapping blocks of samples become frequency bands. Only turned, nothing stretched: as many numbers as"
        " before.",
    ),
    ConditionalScale: (
        "Scale",
        "Every band is divided by the level that the mel states for it. What is left is nearly white.",
    ),
    Squeeze: ("Squeeze", "Neighbouring samples are put side by side as channels. As many numbers as before."),
    ActNorm: ("Scale", "Every channel is shifted and stretched by a constant that training has found."),
    RowAutoregression: (
        "Autoregression",
        "Row after row of the folded samples is shifted and stretched as the mel and the rows before it say.",
    ),
    ScaleCoupling: (
        "Scale coupling",
        "A mel states the level of several bands together. Some of them tell the level of the others, which are scaled"
        " to one level.",
    ),
    AffineCoupling: (
        "Coupling",
        "A 1x1 convolution mixes the bands; then half of them pass, and say with the mel how to shift and stretch the"
        " other half.",
    ),
    Coupling: (
        "Spline coupling",
        "A 1x1 convolution mixes the bands; then half of them pass, and say with the mel which curve each number of the"
        " other half is bent by.",
    ),
}


@dataclasses.dataclass(frozen=True)
class LayerState:
    """The state after one layer.

    Attributes:
        name, explanation: for people.
        state: (C, N); C = 1 as long as it is a signal over time.
        bands: whether the channels still are frequencies, from low to high; the first mixing ends that.
        nats_per_sample: the log-density per sample if the flow ended here and this state were the latent.
    """

    name: str
    explanation: str
    state: Tensor
    bands: bool
    nats_per_sample: float


@torch.no_grad()
def walk(vocoder: Vocoder, audio: Tensor) -> list[LayerState]:
    """Every step of a recording (T,) to its latent; the last state is what `Vocoder.encode` returns.

    A mixing of channels is shown together with the coupling it is for.
    """
    mel = vocoder.mel_for(audio)
    samples = mel.shape[-1] * vocoder.spec.hop_length
    x = torch.nn.functional.pad(audio, (0, samples - len(audio))).to(vocoder.device, vocoder.dtype)[None, None]
    steps = [LayerState("Recording", "The samples as they were recorded.", x[0], True, _nats(x, 0.0))]
    total, couplings, bands = 0.0, collections.Counter[str](), True
    for layer, z, logdet in vocoder.model.flow.layer_outputs(x, vocoder.model.encoder(mel)):
        total += float(logdet.double().sum())
        if isinstance(layer, PointwiseLU | PointwiseMatrix):
            bands = False
            continue
        bands = bands and not isinstance(layer, Squeeze)
        name, explanation = EXPLANATIONS.get(type(layer), (type(layer).__name__, ""))
        if isinstance(layer, Coupling | RowAutoregression | ScaleCoupling):
            couplings[name] += 1
            name = f"{name} {couplings[name]}"
        steps.append(LayerState(name, explanation, z[0], bands, _nats(z, total)))
    last = steps[-1]
    steps[-1] = dataclasses.replace(last, name=f"{last.name}: the latent z")
    return steps


def _nats(state: Tensor, logdet: float) -> float:
    return (float(standard_normal_log_prob(state.double())) + logdet) / state.numel()
