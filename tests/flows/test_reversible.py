"""Backpropagation through inverses: the same gradients, and memory that does not grow with depth."""

import pytest
import torch
from bijection import perturb
from torch import nn

from flowvocoder.config import override
from flowvocoder.flows.base import Chain
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.presets import preset
from flowvocoder.training.trainer import recompute_activations


def model(flows: int = 3) -> FlowVocoder:
    experiment = override(preset("lapglow-tiny"), [f"model.flows={flows}"])
    torch.manual_seed(0)
    made = experiment.model.build(experiment.mel)
    perturb(made, 0.02)
    return made


def gradients(net: FlowVocoder, recompute: bool, dtype: torch.dtype, autocast: bool = False) -> dict[str, torch.Tensor]:
    net = net.to(dtype)
    recompute_activations(net, recompute)
    net.zero_grad()
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(2, 4096, generator=generator, dtype=dtype)
    mel = torch.randn(2, 80, 16, generator=generator, dtype=dtype) - 5.0
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = -net.log_prob(audio, mel).mean() / 4096
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def test_gradients_equal_those_of_stored_activations() -> None:
    net = model()
    stored, recomputed = (gradients(net, recompute, torch.float64) for recompute in (False, True))
    assert stored.keys() == recomputed.keys() and len(stored) > 50
    for name, expected in stored.items():
        assert (recomputed[name] - expected).abs().max() < 1e-7 * expected.abs().max(), name


@pytest.mark.parametrize(("autocast", "least"), [(False, 0.9999), (True, 0.99)])
def test_gradients_survive_float32_and_bfloat16(autocast: bool, least: float) -> None:
    net = model()
    stored, recomputed = (
        torch.cat([g.flatten() for g in gradients(net, recompute, torch.float32, autocast).values()])
        for recompute in (False, True)
    )
    assert nn.functional.cosine_similarity(stored, recomputed, dim=0) > least


def stored_bytes(net: FlowVocoder, recompute: bool) -> int:
    """Bytes that a forward pass through the flow keeps for the backward pass, parameters not counted."""
    flow = net.flow
    assert isinstance(flow, Chain)
    recompute_activations(net, recompute)
    parameters = {p.data_ptr() for p in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    context = torch.randn(1, net.spec.n_mels + 32, 256, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        z, logdet = flow(torch.randn(1, 1, 32768), context)
    (z.sum() + logdet.sum()).backward()
    return sum(kept.values())


@pytest.mark.slow
def test_memory_is_constant_in_depth() -> None:
    shallow, deep = model(2), model(12)
    growth = stored_bytes(deep, False) / stored_bytes(shallow, False)
    assert growth > 2.5
    assert stored_bytes(deep, True) < 1.05 * stored_bytes(shallow, True)
