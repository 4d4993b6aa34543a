"""Densities and generative models beside each other: for all the same rows, parameters, and steps or minutes."""

import dataclasses
import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from flowvocoder.density.base import DensityEstimator
from flowvocoder.density.distances import mmd, modes_found, sliced_wasserstein
from flowvocoder.density.estimator import FlowDensity
from flowvocoder.density.families import FAMILIES, MODELS
from flowvocoder.density.generative import GenerativeModel
from flowvocoder.density.peers import PEERS, PeerDensity
from flowvocoder.density.sets import DataSet
from flowvocoder.density.training import EVERY
from flowvocoder.errors import ConfigError, TrainingError
from flowvocoder.flows.pointwise import PointwiseLU
from flowvocoder.threads import own_threads

COLLAPSED = 0.01
"""KL in nats below which a latent of a VAE has collapsed."""

LIBRARIES = tuple(dict.fromkeys(name.partition("-")[0] for name in PEERS))


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every model gets.

    Attributes:
        steps, batch: of training, as `FlowDensity`.
        minutes: of processor time for a fit, in place of steps; 0: steps.
        parameters: the width of a model's networks is chosen to come as close to it as can be.
        samples: new rows of every model to measure it by, and most rows that are reconstructed.
        seeds: every one is a fit.
    """

    steps: int = 1000
    batch: int = 256
    parameters: int = 20_000
    samples: int = 2000
    seeds: tuple[int, ...] = (0, 1, 2)
    minutes: float = 0.0


def entrants(families: Sequence[str], peers: Sequence[str] = ()) -> list[str]:
    """The names of models: `all`, or names of `FAMILIES` and `MODELS`; and those of the libraries `peers`.

    Raises:
        ConfigError: a name that is none.
    """
    known = (*FAMILIES, *MODELS, *PEERS)
    names = [*FAMILIES, *MODELS] if list(families) == ["all"] else list(families)
    for peer in peers:
        if peer not in LIBRARIES:
            raise ConfigError(f"peers must be of {', '.join(LIBRARIES)}, not {peer!r}")
        names += [name for name in PEERS if name.startswith(f"{peer}-")]
    for name in names:
        if name not in known:
            raise ConfigError(f"family must be one of all, {', '.join(known)}, not {name!r}")
    return names


def missing(names: Sequence[str], budget: Budget, rows: Iterable[dict[str, Any]] = ()) -> list[tuple[str, int]]:
    """Model and seed of the fits that `rows` lack, a seed's models in a row: then other load hits all alike."""
    done = {(row["model"], row["seed"]) for row in rows}
    return [(name, seed) for seed in budget.seeds for name in names if (name, seed) not in done]


def compare(data: DataSet, fits: Iterable[tuple[str, int]], budget: Budget) -> Iterator[dict[str, Any]]:
    """Fits and measures models of `missing`; a row each, as soon as it is there.

    A row has `model`, `seed`, `parameters` and what `measured` gives; or `error` where the fit diverged.

    Raises:
        FlowVocoderError: the rows cannot be fitted, or a peer is not installed.
    """
    for name, seed in fits:
        hidden = width_for(name, data.fit.shape[1], budget.parameters)
        model = _estimator(name, hidden=hidden, steps=budget.steps, batch=budget.batch, seed=seed,
                           dequantise=data.dequantise, progress=False)  # fmt: skip
        row = {"model": name, "seed": seed, "parameters": _size(model, data.fit.shape[1])}
        try:
            if budget.minutes:
                model.set_params(steps=steps_within(60 * budget.minutes, model, data.fit))
            yield {**row, **measured(model, data, budget.samples)}
        except TrainingError as error:
            yield {**row, "error": str(error)}


@own_threads()
def steps_within(seconds: float, model: DensityEstimator, rows: np.ndarray) -> int:
    """Steps for which a model has so many seconds of processor time, by the pace between its first two looks.

    Known before the fit, so that its learning rate falls as it does for a number of steps.
    """
    looks = clone(model).set_params(steps=2 * EVERY).fit_steps(rows)
    next(looks)
    started = time.process_time()
    next(looks)
    return max(EVERY, int(EVERY * seconds / (time.process_time() - started)))


@own_threads()
def measured(model: DensityEstimator, data: DataSet, rows: int) -> dict[str, float]:
    """Fits the model and measures it on rows that it has not seen; distances and reconstructions on at most so many.

    Nats are of the data as given, distances of columns that are standardised, seconds of this process's processor time.
    """
    started = time.process_time()
    model.fit(data.fit)
    fitted = time.process_time()
    samples = model.sample(rows, random_state=0)
    drawn = time.process_time()
    values = {"fit_seconds": fitted - started, "sample_seconds": drawn - fitted,
              "steps": float(model.history_[-1].step)}  # fmt: skip
    x, y = (torch.from_numpy(some / data.scale) for some in (data.test[:rows], samples))
    values |= {"wasserstein": float(sliced_wasserstein(x, y)), "mmd": mmd(x, y)}
    if data.centres is not None:
        values["modes"] = float(modes_found(samples, data.centres, data.radius))
    return values | _likelihood(model, data) | _autoencoding(model, data, rows)


def _likelihood(model: DensityEstimator, data: DataSet) -> dict[str, float]:
    if model.family == "gan":
        return {}
    values = {"nats": model.score(data.test)}
    if isinstance(model, GenerativeModel) and model.family == "vae":
        kl = model.kl(data.test).mean(0)
        values["tighter"] = float(model.bound(data.test, draws=64).mean())
        values |= {"kl": float(kl.mean()), "collapsed": float((kl < COLLAPSED).mean())}
    return values


def _autoencoding(model: DensityEstimator, data: DataSet, rows: int) -> dict[str, float]:
    """Root mean square of the reconstruction's error, in units of a column's standard deviation."""
    if model.family in ("gan", "autoregressive"):
        return {}
    some = data.test[:rows]
    error = (model.inverse_transform(model.transform(some)) - some) / data.scale
    return {"reconstruction": float(np.sqrt(np.square(error).mean()))}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and standard deviation over seeds of every measure of every model, of the fits that did not diverge."""
    models: dict[str, dict[str, tuple[float, float]]] = {}
    for name in dict.fromkeys(row["model"] for row in rows):
        fits = [row for row in rows if row["model"] == name and "error" not in row]
        keys = [key for key in (fits[0] if fits else {}) if key not in ("model", "seed")]
        values = {key: np.array([fit[key] for fit in fits], dtype=float) for key in keys}
        models[name] = {key: (float(v.mean()), float(v.std())) for key, v in values.items()}
    return models


@functools.cache
def width_for(name: str, features: int, parameters: int) -> int:
    """The width at which a model's parameters are nearest to a number, from 2 to 1024.

    They are a polynomial of the width of degree two, which three widths determine.
    """
    some = (8, 16, 32)
    curve = np.polyfit(some, [_size(_estimator(name, hidden=width), features) for width in some], 2)
    widths = np.arange(2, 1025)
    return int(widths[np.abs(np.polyval(curve, widths) - parameters).argmin()])


def _estimator(name: str, **parameters: Any) -> DensityEstimator:
    for table, kind in ((FAMILIES, FlowDensity), (MODELS, GenerativeModel), (PEERS, PeerDensity)):
        if name in table:
            return kind(name, **parameters)
    raise ConfigError(f"no model {name!r}")


def _size(model: DensityEstimator, features: int) -> int:
    """Parameters, without those that an invertible 1x1 convolution never reads."""
    built = model.built(features)
    unread = sum(module.unread for module in built.modules() if isinstance(module, PointwiseLU))
    return sum(parameter.numel() for parameter in built.parameters()) - unread
