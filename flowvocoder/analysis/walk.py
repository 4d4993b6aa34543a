"""Audio on its way through a flow, layer by layer."""

import collections
import dataclasses

import torch
from torch import Tensor

from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection
from flowvocoder.flows.coupling import Coupling
from flowvocoder.flows.density import standard_normal_log_prob
from flowvocoder.flows.elementwise import Affine, Elementwise, Shift
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.flows.multiscale import Squeeze
from flowvocoder.flows.permutation import Permutation
from flowvocoder.flows.pitch import PitchPredictor
from flowvocoder.flows.pointwise import PointwiseLU, PointwiseMatrix
from flowvocoder.flows.rows import RowAutoregression
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.flows.scale_coupling import ScaleCoupling
from flowvocoder.flows.spline import Spline
from flowvocoder.vocoder import Vocoder

EXPLANATIONS: dict[type[Bijection | Elementwise], tuple[str, str]] = {
    PitchPredictor: (
        "Pitch prediction",
        "What one pitch period earlier predicts is subtracted; the mel gives the period.",
    ),
    LappedTransform: (
        "Transform",
        "Overlapping blocks of samples become frequency bands. The transform is orthogonal: it changes no likelihood.",
    ),
    ConditionalScale: (
        "Scale",
        "Every band is divided by the level that the mel gives it. What is left is nearly white.",
    ),
    Squeeze: ("Squeeze", "Neighbouring samples become channels side by side: as many numbers as before."),
    ActNorm: ("Scale", "Every channel is shifted and scaled by a trained constant."),
    RowAutoregression: (
        "Autoregression",
        "Each row of the folded samples is shifted and scaled, given the mel and the rows before it.",
    ),
    ScaleCoupling: (
        "Scale coupling",
        "The mel gives the level of several bands together. One group of them is scaled, given those of the others.",
    ),
    Shift: ("Additive coupling", "A 1x1 convolution mixes the bands. Then the mel and one half shift the other."),
    Affine: (
        "Coupling",
        "A 1x1 convolution mixes the bands. Then one half is shifted and scaled, given the other half and the mel.",
    ),
    Spline: (
        "Spline coupling",
        "A 1x1 convolution mixes the bands. Then each number of one half goes through a curve, given the other half and"
        " the mel.",
    ),
}

MIXING = PointwiseLU | PointwiseMatrix | Permutation
"""Layers that only mix channels; each is shown together with the coupling it is for."""


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
        if isinstance(layer, MIXING):
            bands = False
            continue
        bands = bands and not isinstance(layer, Squeeze)
        name, explanation = EXPLANATIONS.get(explained(layer), (type(layer).__name__, ""))
        if isinstance(layer, Coupling | RowAutoregression | ScaleCoupling):
            couplings[name] += 1
            name = f"{name} {couplings[name]}"
        steps.append(LayerState(name, explanation, z[0], bands, _nats(z, total)))
    last = steps[-1]
    steps[-1] = dataclasses.replace(last, name=f"{last.name}: the latent z")
    return steps


def explained(layer: Bijection) -> type[Bijection | Elementwise]:
    """What of a layer has the explanation: of a coupling its function of a number."""
    return type(layer.transform if isinstance(layer, Coupling) else layer)


def _nats(state: Tensor, logdet: float) -> float:
    return (float(standard_normal_log_prob(state.double())) + logdet) / state.numel()
