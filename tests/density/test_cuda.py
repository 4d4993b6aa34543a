"""Densities on a GPU: all that they give is what the CPU gives. Without one, `pretend_device` runs it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command import run
from torch import Tensor

from flowvocoder.density import FAMILIES, MODELS, FlowDensity, GenerativeModel, fit_posterior
from flowvocoder.density.posterior import SLOW
from flowvocoder.errors import DensityError

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


def rows(features: int = 3, n: int = 60, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, features))
    x[:, 1:] += 0.5 * np.square(x[:, :-1])
    return 3.0 + x


SMALL: dict[str, Any] = {"layers": 2, "hidden": 8, "steps": 4, "dtype": "float64", "device": "cuda"}


def is_the_same_on_the_cpu(density: FlowDensity, folder: Path, x: np.ndarray, context: np.ndarray | None) -> None:
    """All that a fitted density on the GPU gives, a copy on the CPU gives too, and one that was loaded to the GPU."""
    assert next(density.model_.parameters()).is_cuda
    density.save(folder)
    first = None if context is None else context[:1]
    latent = density.transform(x, context=context)
    for device in ("cpu", "cuda"):
        other = FlowDensity.load(folder, device)
        assert next(other.model_.parameters()).device.type == device
        assert np.allclose(other.score_samples(x, context=context), density.score_samples(x, context=context))
        assert np.allclose(other.transform(x, context=context), latent)
        assert np.allclose(other.inverse_transform(latent, context=context), x)
        drawn = (model.sample(5, context=first, random_state=1) for model in (other, density))
        assert np.allclose(*drawn)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_the_same_on_both(family: str, given: bool, tmp_path: Path) -> None:
    x, context = rows(), rows(2, seed=1) if given else None
    weights = np.linspace(0.5, 1.0, len(x))
    density = FlowDensity(family, **SMALL).fit(x, context=context, sample_weight=weights)
    is_the_same_on_the_cpu(density, tmp_path / "density", x, context)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.images])
def test_images(family: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).standard_normal((40, 2 * 4 * 6))
    density = FlowDensity(family, shape=(2, 4, 6), **SMALL).fit(pixels, context=pixels[:, :1])
    is_the_same_on_the_cpu(density, tmp_path / "density", pixels, pixels[:, :1])


@pytest.mark.parametrize("options", [{"objective": "flow-matching", "layers": 1}, {"trace": "hutchinson"}])
def test_other_ways_to_train(options: dict[str, Any], tmp_path: Path) -> None:
    x = rows()
    density = FlowDensity("cnf", **{**SMALL, **options}).fit(x)
    is_the_same_on_the_cpu(density, tmp_path / "density", x, None)


def test_rows_that_are_tensors_quantised_rows_and_one_that_follows_the_fit(tmp_path: Path) -> None:
    """A state of `fit_steps` is a density that can be used, and rows may be on either device."""
    x = rows().round(1)
    density = FlowDensity(dequantise=0.1, **SMALL)
    for _ in density.fit_steps(torch.from_numpy(x)):
        assert np.isfinite(density.score(torch.from_numpy(x).cuda()))
    is_the_same_on_the_cpu(density, tmp_path / "density", x, None)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("family", MODELS)
def test_generative_models(family: str, given: bool, tmp_path: Path) -> None:
    x, context = rows(), rows(2, seed=1) if given else None
    model = GenerativeModel(family, **SMALL).fit(x, context=context)
    model.save(tmp_path / "model")
    on_cpu, back = GenerativeModel.load(tmp_path / "model"), GenerativeModel.load(tmp_path / "model", "cuda")
    first = None if context is None else context[:1]
    drawn = [one.sample(5, context=first, random_state=1) for one in (model, on_cpu, back)]
    assert np.allclose(drawn[0], drawn[1]) and np.allclose(drawn[0], drawn[2])
    if family == "gan":
        with pytest.raises(DensityError, match="no likelihood"):
            model.score(x, context=context)
    elif family == "vae":  # a bound is by draws, which are the device's own
        assert abs(model.bound(x, context=context).mean() - on_cpu.bound(x, context=context).mean()) < 0.3
        assert np.allclose(model.kl(x, context=context), on_cpu.kl(x, context=context))
    else:
        assert np.allclose(model.score_samples(x, context=context), on_cpu.score_samples(x, context=context))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in SLOW])
def test_a_posterior(family: str) -> None:
    known = torch.tensor([1.0, -2.0], dtype=torch.float64, device="cuda")

    def log_density(x: Tensor) -> Tensor:
        return -0.5 * (x - known).square().sum(1)

    posterior = fit_posterior(log_density, dims=2, family=family, layers=2, hidden=8, steps=4, batch=16, device="cuda")
    draws = posterior.sample(5, random_state=0)
    assert draws.shape == (5, 2) and np.isfinite(posterior.log_prob(draws)).all()
    assert np.isfinite(posterior.importance(50).k_hat) and np.isfinite(posterior.elbo)


def test_the_commands_fit_score_and_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, folder, drawn = tmp_path / "x.csv", tmp_path / "density", tmp_path / "drawn.csv"
    pd.DataFrame(rows(), columns=["a", "b", "c"]).to_csv(table, index=False)
    assert run("density", "fit", table, "--out", folder, "--context", "c", "--layers", 2, "--hidden", 8,
               "--steps", 4, "--device", "cuda", "--plot", tmp_path / "plot.png") == 0  # fmt: skip
    nats = []
    for device in ("cuda", "cpu"):
        capsys.readouterr()
        assert run("density", "score", folder, table, "--json", "--device", device) == 0
        nats.append(json.loads(capsys.readouterr().out)["nats"])
        assert run("density", "sample", folder, drawn, "-n", 5, "--given", "c=3", "--device", device) == 0
        assert pd.read_csv(drawn).shape[0] == 5
    assert np.allclose(*nats, atol=1e-4)
