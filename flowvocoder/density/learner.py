"""The steps of a fit by gradients, the same for every model of this package."""

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

AVERAGE = 0.98
"""Decay of the exponential moving average of the weights."""

CLIP = 5.0
"""Largest norm of a gradient."""

WARMUP = 50
"""Steps over which the learning rate rises."""

Model = TypeVar("Model", bound=nn.Module)


class Learner(Generic[Model]):
    """A copy of a model that learns by Adam, and the moving average of its weights.

    All parameters lie in one vector, so that a step is a few operations however many layers there are.

    Args:
        model: stays as it is.
        lr: largest learning rate; it rises linearly, then falls by half a period of a cosine.
        steps: as many as there will be.

    Attributes:
        model, average: copies of the model, in training and in `eval` mode.
    """

    def __init__(self, model: Model, lr: float, steps: int):
        self.model = copy.deepcopy(model).train()
        self.average = copy.deepcopy(model).eval()
        self._weights, self._averaged = _in_one_vector(self.model), _in_one_vector(self.average)
        self._optimizer = torch.optim.Adam([self._weights], lr, fused=True)
        self._schedule = lr_scheduler.LambdaLR(self._optimizer, lambda step: rate(step, steps))
        self._started = False

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a loss of `model`."""
        assert self._weights.grad is not None
        self._weights.grad.zero_()
        loss.backward()
        nn.utils.clip_grad_norm_([self._weights], CLIP)
        self._optimizer.step()
        self._schedule.step()
        if self._started:
            self._averaged.data.lerp_(self._weights.data, 1.0 - AVERAGE)
        else:  # layers have normalised their activations in this step
            self.average.load_state_dict(self.model.state_dict())
            self._started = True


def rate(step: int, steps: int) -> float:
    """Of the learning rate: a linear rise, then half a period of a cosine."""
    return min(1.0, (step + 1) / WARMUP) * 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))


def _in_one_vector(model: nn.Module) -> nn.Parameter:
    """A vector of all parameters, which from now on are views of it, as their gradients are of its gradient."""
    parameters = list(model.parameters())
    vector = nn.Parameter(nn.utils.parameters_to_vector(parameters).detach())
    vector.grad = torch.zeros_like(vector)
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, values, gradient in zip(parameters, vector.data.split(sizes), vector.grad.split(sizes), strict=True):
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return vector
