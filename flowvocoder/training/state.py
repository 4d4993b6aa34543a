"""What a run needs to continue exactly where it stopped."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowvocoder.config import Experiment
from flowvocoder.errors import CheckpointError, ConfigError
from flowvocoder.files import read_json, reading, writing_folder
from flowvocoder.legacy import lost_settings, trains_flow_and_guide
from flowvocoder.migration import FORMAT_VERSION, migrated_experiment, state_tensor_name
from flowvocoder.presets import experiment_from_dict

Named = dict[str, Tensor]


class Ema:
    """Exponential moving average of a model's parameters, warmed up so that the start is soon forgotten."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def restart(self, model: nn.Module) -> None:
        """From the parameters as they are."""
        for name, parameter in model.named_parameters():
            self.average[name].copy_(parameter)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 20))
        parameters = [p.detach() for _, p in model.named_parameters()]
        torch._foreach_lerp_(list(self.average.values()), parameters, 1.0 - decay)


@dataclasses.dataclass(frozen=True)
class Learner:
    """A network and its optimiser, under the name they have in the saved state.

    Attributes:
        peak: learning rate at the end of the warm-up.
    """

    name: str
    net: nn.Module
    optimizer: torch.optim.Optimizer
    peak: float

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached any parameter."""
        return any(p.grad is not None for p in self.net.parameters())


def save_state(path: Path, learners: Sequence[Learner], ema: Ema, about: dict[str, Any]) -> None:
    """Write weights, average and optimiser states as one safetensors file, the rest as JSON; atomically.

    Raises:
        OutputError: it cannot be written; what was there before is still there.
    """
    tensors: Named = {f"ema.{k}": v for k, v in ema.average.items()}
    for learner in learners:
        tensors |= {f"{learner.name}.{k}": v for k, v in learner.net.state_dict().items()}
        for index, values in learner.optimizer.state_dict()["state"].items():
            tensors |= {f"{learner.name}-optimizer.{index}.{k}": v for k, v in values.items()}
    with writing_folder(path) as folder:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / "state.safetensors")
        (folder / "state.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load_state(path: Path, learners: Sequence[Learner], ema: Ema) -> dict[str, Any]:
    """Restore what `save_state` wrote, in any format, and return its `about`.

    Raises:
        CheckpointError: nothing there, or it is truncated or of another model.
    """
    if not (path / "state.json").is_file() or not (path / "state.safetensors").is_file():
        raise CheckpointError(f"{path}: no training state to resume from")
    with reading(path, CheckpointError, "training state is truncated or of another model"):
        about = read_json(path / "state.json", CheckpointError)
        renamed = (lambda name: name) if about.get("format_version") == FORMAT_VERSION else state_tensor_name
        tensors = {renamed(name): tensor for name, tensor in load_file(path / "state.safetensors").items()}
        for learner in learners:
            learner.net.load_state_dict(_under(f"{learner.name}.", tensors))
            state: dict[int, Named] = {}
            for key, value in _under(f"{learner.name}-optimizer.", tensors).items():
                index, _, name = key.partition(".")
                state.setdefault(int(index), {})[name] = value
            trained = [p for group in learner.optimizer.param_groups for p in group["params"]]
            _check_moments(state, trained)
            groups = learner.optimizer.state_dict()["param_groups"]
            learner.optimizer.load_state_dict({"state": state, "param_groups": groups})
        average = _under("ema.", tensors)
        for name, value in ema.average.items():
            value.copy_(average[name])
        return about


def has_tensors(path: Path) -> bool:
    """Whether weights and moments are there. Without them a run goes on from its checkpoint's weights."""
    return (path / "state.safetensors").exists()


def load_progress(path: Path) -> dict[str, Any]:
    """The `about` of a state whose tensors were left behind. Raises CheckpointError."""
    about = read_json(path / "state.json", CheckpointError, "training state is truncated or of another model")
    if not isinstance(about, dict) or about.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path}: no training state to resume from")
    return about


def read_experiment(path: Path) -> dict[str, Any]:
    """The configuration a state was saved under, as `Experiment.to_dict` gave it then.

    Raises:
        CheckpointError: it cannot be read.
    """
    with reading(path / "state.json", CheckpointError, "truncated or not the state of a run"):
        about = read_json(path / "state.json", CheckpointError)
        experiment = about["experiment"]
        if about.get("format_version") != FORMAT_VERSION:
            experiment = migrated_experiment(experiment)
        return {**experiment, **{part: dict(experiment[part]) for part in ("model", "mel", "train")}}


def saved_experiment(path: Path) -> Experiment:
    """The same as an experiment. Raises CheckpointError, too, for one that this version does not know."""
    try:
        return experiment_from_dict(read_experiment(path))
    except ConfigError as error:
        raise CheckpointError(f"{path / 'state.json'}: {error}") from error


def lost_of(path: Path) -> list[str]:
    """Settings of a run of version 0.1 that today's training does not have, for people.

    Raises:
        CheckpointError: the run cannot be continued.
    """
    about = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if about.get("format_version") == FORMAT_VERSION:
        return []
    train = about["experiment"]["train"]
    if trains_flow_and_guide(train):
        raise CheckpointError(f"{path}: this run trained flow and guide network together, which today are two stages:"
                              " start stage guide from its checkpoint by --init-from")  # fmt: skip
    return lost_settings(train)


def _check_moments(state: dict[int, Named], trained: Sequence[Tensor]) -> None:
    """Raises ValueError where an optimiser's state is not that of the parameters; torch would take it as it is."""
    for index, values in state.items():
        for name, value in values.items():
            if index >= len(trained) or (name != "step" and value.shape != trained[index].shape):
                raise ValueError(f"optimiser state {index}.{name} fits no parameter")


def _under(prefix: str, tensors: Named) -> Named:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
