"""Every architecture of the WaveGlow family, small enough to build in a test."""

import dataclasses

import torch

from flowvocoder.checkpoint import build_model
from flowvocoder.config import Experiment, ModelConfig, TrainConfig, check
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.mel.spec import convention
from flowvocoder.models.flowavenet import FloWaveNetConfig
from flowvocoder.models.registry import ARCHITECTURES
from flowvocoder.models.waveflow import WaveFlowConfig
from flowvocoder.models.waveglow import SqueezeWaveConfig, WaveGlowConfig

TINY: dict[str, ModelConfig] = {
    "waveglow": WaveGlowConfig(flows=6, early_every=2, channels=16, layers=2),
    "waveglow, old": WaveGlowConfig(flows=4, early_every=2, channels=16, layers=2, alternate=True),
    "squeezewave": SqueezeWaveConfig(group=32, flows=4, early_size=4, channels=16, layers=2),
    "waveflow": WaveFlowConfig(rows=8, flows=4, channels=8, layers=3),
    "waveflow, reversed": WaveFlowConfig(rows=4, flows=3, channels=8, layers=3, bipartite=False),
    "flowavenet": FloWaveNetConfig(blocks=4, flows=2, split_every=2, channels=16),
}

ONE_EACH = [name for name in TINY if name in ARCHITECTURES]
"""Without the variants."""


def tiny(name: str, n_mels: int = 8) -> FlowVocoder:
    mel = dataclasses.replace(convention("tacotron2"), n_mels=n_mels)
    experiment = Experiment(TINY[name], mel, TrainConfig())
    check(experiment)
    torch.manual_seed(0)
    return build_model(experiment)
