"""The named tensors of a foreign checkpoint, taken one by one until none is left."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from flowvocoder.errors import CheckpointError
from flowvocoder.interop.published.archive import Storages, tensor
from flowvocoder.interop.published.pickles import Record, TensorRecord

MAX_MODULES = 64
"""Levels of modules within modules."""


class Weights:
    """Tensors by name, as a state dict has them, in float32.

    Args:
        path: for messages.
        content: what the file holds: a state dict, a pickled module, or a dict with either under a usual key.
        storages: where its tensors' numbers are.

    Raises:
        CheckpointError: no model in it.
    """

    def __init__(self, path: Path, content: Any, storages: Storages):
        self.path = path
        self.storages = storages
        model = _model(content)
        self.kind = model.kind if isinstance(model, Record) else ""  # the class of a pickled module
        self.strides: dict[str, Any] = {}  # of the layers of a pickled module
        found = self._of_module(model) if isinstance(model, Record) else model
        if not isinstance(found, dict):
            raise CheckpointError(f"{path}: no model in it: expected a pickled module or a state dict")
        self.records: dict[str, TensorRecord] = {
            re.sub(r"^(module\.)+", "", str(name)): value
            for name, value in found.items()
            if isinstance(value, TensorRecord) and not str(name).endswith("num_batches_tracked")
        }

    def has(self, name: str) -> bool:
        """Whether a weight of this name is left, normalised or not."""
        return any(f"{name}{ending}" in self.records for ending in ("", "_v", "_g"))

    def count(self, pattern: str) -> int:
        """How many i, from 0 on, have anything under `pattern` with i in the place of {}."""
        index = 0
        while any(name.startswith(pattern.format(index) + ".") for name in self.records):
            index += 1
        return index

    def take(self, name: str) -> Tensor:
        """A tensor, which is then no longer left.

        Raises:
            CheckpointError: it is not there.
        """
        if name not in self.records:
            raise CheckpointError(f"{self.path}: lacks {name}: truncated, or a layout that is not known")
        return tensor(self.records.pop(name), self.storages).float()

    def weight(self, layer: str) -> Tensor:
        """A layer's weight; weight normalisation (arXiv:1602.07868), w = g v / |v|, is carried out."""
        plain = f"{layer}.weight"
        for g, v in ((f"{plain}_g", f"{plain}_v"), _parametrised(layer)):
            if v in self.records:
                direction, length = self.take(v).double(), self.take(g).double()
                norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.ndim - 1))
                return (length * direction / norm).float()
        return self.take(plain)

    def convolution(self, layer: str) -> tuple[Tensor, Tensor]:
        """A layer's weight and bias."""
        return self.weight(layer), self.take(f"{layer}.bias")

    def shape(self, layer: str) -> tuple[int, ...]:
        """Of a layer's weight, which stays where it is."""
        for name in (f"{layer}.weight", f"{layer}.weight_v", _parametrised(layer)[1]):
            if name in self.records:
                return self.records[name].size
        raise CheckpointError(f"{self.path}: lacks {layer}.weight: truncated, or a layout that is not known")

    def finish(self) -> None:
        """Raises CheckpointError if anything is left: then this is another model than it seems to be."""
        if self.records:
            left = ", ".join(list(self.records)[:3])
            raise CheckpointError(f"{self.path}: {len(self.records)} tensors fit no known layout: {left}, ...")

    def _of_module(self, root: Record) -> dict[str, Any]:
        """What the module's state dict would be."""
        found: dict[str, Any] = {}
        todo: list[tuple[str, Any, int]] = [("", root, 0)]
        while todo:
            prefix, module, level = todo.pop()
            if not isinstance(module, Record) or level > MAX_MODULES:
                continue
            for kind in ("_parameters", "_buffers"):
                for name, value in _dict(module.attributes.get(kind)).items():
                    found[f"{prefix}{name}"] = value
            if "stride" in module.attributes:
                self.strides[prefix.rstrip(".")] = module.attributes["stride"]
            for name, inner in _dict(module.attributes.get("_modules")).items():
                todo.append((f"{prefix}{name}.", inner, level + 1))
        return found


def _model(content: Any) -> Any:
    """The module or state dict in what a training program saved."""
    if isinstance(content, dict):
        for key in ("model", "state_dict"):
            if isinstance(content.get(key), dict | Record):
                return content[key]
    return content


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _parametrised(layer: str) -> tuple[str, str]:
    """What torch.nn.utils.parametrizations.weight_norm calls g and v."""
    return f"{layer}.parametrizations.weight.original0", f"{layer}.parametrizations.weight.original1"
