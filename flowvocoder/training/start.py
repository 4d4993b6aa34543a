"""What a run starts from: the weights of a checkpoint, and which of them its stage trains."""

from pathlib import Path

import torch

from flowvocoder.checkpoint import Checkpoint, build_model, build_postfilter
from flowvocoder.config import Experiment
from flowvocoder.errors import CheckpointError, ConfigError
from flowvocoder.flows.base import Chain
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.training.another_mel import (
    guide_keeps,
    take_guide_of_another_mel,
    take_weights_of_another_mel,
)
from flowvocoder.training.differences import difference


def initial_voice(
    experiment: Experiment, start: Checkpoint | None, path: Path | None
) -> tuple[FlowVocoder, PostFilter]:
    """Flow and post-filter, with the run's seed or with the weights of the checkpoint `start`, read from `path`.

    Raises:
        CheckpointError: the checkpoint does not fit.
    """
    torch.manual_seed(experiment.train.run.seed)
    model = build_model(experiment)
    postfilter = build_postfilter(experiment) or PostFilter(experiment.mel)
    if start is not None:
        take_weights(model, postfilter, experiment, start, path)
    return model, postfilter


def take_weights(
    model: FlowVocoder, postfilter: PostFilter, experiment: Experiment, start: Checkpoint, path: Path | None
) -> None:
    """Set them to those of the checkpoint `start`, read from `path`. Raises CheckpointError: it does not fit.

    A flow and a guide that were trained with another mel are re-expressed for this one.
    """
    _check_fits(experiment, start.experiment, path)
    if start.experiment.mel != experiment.mel:
        take_weights_of_another_mel(model, experiment, start.model, start.experiment.mel)
        if postfilter.guide is not None and start.postfilter is not None and start.postfilter.guide is not None:
            theirs = start.postfilter.guide, start.experiment.mel
            take_guide_of_another_mel(postfilter.guide, experiment.mel, *theirs)
        return
    model.load_state_dict(start.model.state_dict())
    if postfilter.guide is not None and start.postfilter is not None:
        postfilter.load_state_dict(start.postfilter.state_dict())


def freeze(model: FlowVocoder, postfilter: PostFilter, experiment: Experiment) -> None:
    """Leave only the parameters trainable that the experiment's stage trains.

    Raises:
        ConfigError: there are none.
    """
    stage = experiment.train.stage
    parameters = {
        "flow": list(model.parameters()),
        "samples": model.sampling_parameters(),
        "guide": list(postfilter.parameters()),
    }[stage]
    if not parameters:
        raise ConfigError(f"stage {stage}: a {experiment.model.architecture} has no parameters that it could train")
    for module in (model, postfilter):
        module.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_()


def recompute_activations(model: FlowVocoder, on: bool) -> None:
    """Whether the model's flows keep no activations for the backward pass (`flows.reversible`)."""
    for module in model.modules():
        if isinstance(module, Chain):
            module.recompute = on


def _check_fits(ours: Experiment, theirs: Experiment, path: Path | None) -> None:
    names = theirs.model.architecture, ours.model.architecture
    if names[0] != names[1]:
        raise CheckpointError(f"{path}: is a {names[0]}, this run trains a {names[1]}")
    same_hop = theirs.mel.hop_length == ours.mel.hop_length
    carried = same_hop and (ours.postfilter is None or guide_keeps(ours.mel, theirs.mel))
    if theirs.mel != ours.mel and not (ours.train.stage == "flow" and carried):
        raise CheckpointError(f"{path}: has another mel than this run: {theirs.mel.difference(ours.mel)}")
    for mine, its in ((ours.model, theirs.model), (ours.postfilter, theirs.postfilter)):
        if mine is not None and its is not None and mine != its:
            raise CheckpointError(f"{path}: has other sizes than this run: {difference(vars(mine), vars(its))}")
