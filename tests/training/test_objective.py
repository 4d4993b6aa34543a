"""The objective: every term counts by its own weight, and only what has a weight is computed."""

import dataclasses

import pytest
import torch

from flowvocoder.checkpoint import build_model
from flowvocoder.config import LossWeights, override
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.presets import preset
from flowvocoder.training.batch import StepBatch
from flowvocoder.training.distributed import DistributedContext
from flowvocoder.training.objective import Objective, loss_weights
from flowvocoder.training.sample_losses import SAMPLE_LOSSES

NO_WEIGHTS = {"repulsion", "discriminator_channels"}
"""Settings of the losses that are not the weight of one."""


def test_every_loss_counts_by_the_weight_of_its_name() -> None:
    names = [f.name for f in dataclasses.fields(LossWeights)]
    losses = LossWeights(**{name: 2 + index for index, name in enumerate(names)})
    weights = loss_weights(losses)
    assert weights.pop("nats") == -losses.likelihood
    assert weights.pop("guide") == weights.pop("discriminator") == 1
    assert weights == {name: getattr(losses, name) for name in names if name not in {*NO_WEIGHTS, "likelihood"}}
    assert weights.keys() >= SAMPLE_LOSSES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, *SAMPLE_LOSSES])
def test_only_what_has_a_weight_is_computed(name: str | None) -> None:
    settings = ["precision=float32"] + ([] if name is None else [f"losses.{name}=3"])
    experiment = override(preset("lapglow-tiny"), settings)
    torch.manual_seed(0)
    model = build_model(experiment)
    objective = Objective(model, PostFilter(experiment.mel), experiment, DistributedContext(0, 1, torch.device("cpu")))
    audio, mel = 0.1 * torch.randn(1, 16 * 256), torch.full((1, 80, 16), -3.0)
    noise = None if name is None else torch.randn(1, 1, *model.latent_shape(mel)[1:])
    loss, terms, _ = objective(StepBatch(audio, audio, mel, noise))
    assert terms.keys() == {"nats", "lag", "gain", "loss"} | ({name} if name else set())
    total = -terms["nats"] + terms["lag"] + terms["gain"] + (3 * terms[name] if name else 0)
    assert torch.allclose(loss, total)
