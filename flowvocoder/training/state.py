"""What a run needs to go on exactly where it stopped."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowvocoder.errors import CheckpointError
from flowvocoder.files import writing_folder

Named = dict[str, Tensor]


class Ema:
    """Exponential moving average of a model's parameters, warmed up so that the start is soon forgotten."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 20))
        parameters = [p.detach() for _, p in model.named_parameters()]
        torch._foreach_lerp_(list(self.average.values()), parameters, 1.0 - decay)


def save_state(path: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, about: dict[str, Any]) -> None:
    """Write weights, average and optimiser state as one safetensors file, the rest as JSON; atomically."""
    tensors: Named = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.average.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items()}
    with writing_folder(path) as folder:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / "state.safetensors")
        (folder / "state.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load_state(path: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what `save_state` wrote and return its `about`.

    Raises:
        CheckpointError: nothing there, or it is truncated or of another model.
    """
    try:
        tensors = load_file(path / "state.safetensors")
        about = json.loads((path / "state.json").read_text(encoding="utf-8"))
        model.load_state_dict(_under("model.", tensors))
        average = _under("ema.", tensors)
        for name, value in ema.average.items():
            value.copy_(average[name])
        state: dict[int, Named] = {}
        for key, value in _under("optimizer.", tensors).items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no training state to resume from") from error
    except (SafetensorError, RuntimeError, KeyError, ValueError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{path}: training state is truncated or of another model ({first})") from error
    return about


def read_experiment(path: Path) -> dict[str, Any]:
    """The configuration a state was saved under, as `Experiment.to_dict` gives it.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        experiment = json.loads((path / "state.json").read_text(encoding="utf-8"))["experiment"]
        return {part: dict(experiment[part]) for part in ("model", "mel", "train")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / 'state.json'}: truncated or not the state of a run") from error


def _under(prefix: str, tensors: Named) -> Named:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
