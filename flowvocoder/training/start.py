"""What a run starts from: the weights of a checkpoint, and which of them its stage trains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from flowvocoder.checkpoint import Checkpoint, build_model, build_postfilter
from flowvocoder.config import NETWORKS, Experiment, PostfilterConfig
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
    if start.postfilter is not None:
        for name in NETWORKS:
            own, trained = getattr(postfilter, name), getattr(start.postfilter, name)
            if own is not None and trained is not None:
                own.load_state_dict(trained.state_dict())


def check_networks(experiment: Experiment, start: Checkpoint | None) -> None:
    """Raises ConfigError for a network of the post-filter that nothing has trained and this stage does not train."""
    stage, sizes = experiment.train.stage, experiment.postfilter
    if start is None and stage in NETWORKS:
        return  # nothing is trained: its speed is measured
    has = None if start is None else start.experiment.postfilter
    for number, name in enumerate(NETWORKS, 3):
        if stage != name and sizes is not None and sizes.of(name) and not (has is not None and has.of(name)):
            raise ConfigError(f"postfilter.{name}_channels: the {name} is trained after the flow, from its checkpoint"
                              f" (a preset of stage {number})")  # fmt: skip


def freeze(model: FlowVocoder, postfilter: PostFilter, experiment: Experiment) -> None:
    """Leave only the parameters trainable that the experiment's stage trains.

    Raises:
        ConfigError: there are none.
    """
    stage = experiment.train.stage
    parameters = {
        "flow": list(model.parameters()),
        "samples": model.sampling_parameters(),
        **{name: [p for part, p in postfilter.named_parameters() if part.startswith(f"{name}.")] for name in NETWORKS},
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
    sizes = ours.postfilter  # a refiner is for one mel
    carried = same_hop and (sizes is None or (not sizes.of("refiner") and guide_keeps(ours.mel, theirs.mel)))
    if theirs.mel != ours.mel and not (ours.train.stage == "flow" and carried):
        raise CheckpointError(f"{path}: has another mel than this run: {theirs.mel.difference(ours.mel)}")
    for mine, its in ((vars(ours.model), vars(theirs.model)), *_networks(sizes, theirs.postfilter)):
        if mine and its and mine != its:
            raise CheckpointError(f"{path}: has other sizes than this run: {difference(mine, its)}")


def _networks(
    ours: PostfilterConfig | None, theirs: PostfilterConfig | None
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The sizes of each network of the post-filter, here and there."""
    if ours is not None and theirs is not None:
        yield from ((ours.of(name), theirs.of(name)) for name in NETWORKS)
