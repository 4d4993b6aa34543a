"""What every estimator of this package shares: checks, standardisation, holding out, early stopping, files."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from flowvocoder.density.arrays import (
    Data,
    context_of,
    latent_of,
    rows_of,
    standard_of_context,
    standard_of_rows,
    weights_of,
)
from flowvocoder.density.families import Family, Settings, settings_of
from flowvocoder.density.folder import Saved
from flowvocoder.density.folder import load as load_folder
from flowvocoder.density.folder import save as save_folder
from flowvocoder.density.model import Standardised
from flowvocoder.density.training import CHUNK, EVERY, FitState, Rows, split, train
from flowvocoder.errors import CheckpointError, ConfigError, DensityError
from flowvocoder.progress import progress as with_bar
from flowvocoder.threads import own_threads

Self = TypeVar("Self", bound="DensityEstimator")


class DensityEstimator(DensityMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A model of vectors that is fitted by gradients, with the parameters `family`, `progress` and those of `Settings`.

    A subclass names its families, and builds the model of one in `_build`.

    Attributes:
        model_: the fitted model with the standardisation around it.
        n_features_in_, n_context_: D and K.
        context_names_in_: names of the context's columns; may be set after a fit, and is saved.
        history_: the states of the fit.
    """

    _families: ClassVar[Mapping[str, Family]]

    @staticmethod
    def _build(settings: Settings, features: int, context: int) -> Standardised:
        raise NotImplementedError

    @own_threads()
    def fit(self: Self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None) -> Self:
        """Fits the density to rows.

        Args:
            X: (N, D) array, tensor or DataFrame.
            y: ignored; scikit-learn's pipelines give it.
            context: (N, K), what the density is given; None: it is given nothing.
            sample_weight: (N,), how often a row counts; None: once.

        Raises:
            ConfigError: a parameter is not what it can be.
            DensityError: NaN or inf, a constant column, too few rows, or a context or weights of another length.
            TrainingError: the loss became NaN or inf.
        """
        states = self.fit_steps(X, context=context, sample_weight=sample_weight)
        first = next(states)
        for _ in with_bar(states, f"fit {self.family}", "look", first.steps // EVERY) if self.progress else states:
            pass
        return self

    def fit_steps(self, X: Any, *, context: Any = None, sample_weight: Any = None) -> Iterator[FitState]:
        """`fit` bit by bit: a state every 50 steps. At each the estimator can be used; ask for no further one to stop.

        Args, Raises: as `fit`.
        """
        settings = settings_of(self.get_params(), self._families)
        data = Data.of(self, X, context, sample_weight)
        settings = dataclasses.replace(settings, steps=settings.steps_for(len(data.rows)))
        names = getattr(self, "feature_names_in_", None)
        standard = standard_of_rows(data, settings.dequantise, names)
        self._start(settings, data.context.shape[1])
        self.model_.standardise_by(standard, standard_of_context(data))
        everything = Rows(*self.model_.inputs(data.rows, data.context), self.model_.numbers(data.weights))
        width = self.model_.numbers(settings.dequantise / standard.scale).unflatten(0, self.model_.event)
        log_det = self.model_.log_det
        for state in train(self.model_, *split(everything, settings), width, settings):
            state = dataclasses.replace(state, nats=state.nats + log_det, held_out=state.held_out + log_det)
            self.history_.append(state)
            yield state

    def score_samples(self, X: Any, *, context: Any = None) -> np.ndarray:
        """Log-density (N,) in nats of rows (N, D), of the data as given.

        Args:
            context: (N, K), or one row (1, K) for all; only of a conditional density.

        Raises:
            DensityError: the rows or the context are not of the kind that the density was fitted to.
            sklearn.exceptions.NotFittedError: it was not fitted.
        """
        return self._of_rows("log_prob", X, context)

    def score(self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None) -> float:
        """Mean of `score_samples`, by weights (N,) if they are given; `y` is ignored. Raises as it does."""
        nats = self.score_samples(X, context=context)
        return float(np.average(nats, weights=weights_of(sample_weight, len(nats))))

    def transform(self, X: Any, *, context: Any = None) -> np.ndarray:
        """The latent (N, M) of rows (N, D): standard normal where the density is right. Raises as `score_samples`."""
        return self._of_rows("encode", X, context)

    def inverse_transform(self, Z: Any, *, context: Any = None) -> np.ndarray:
        """Rows (N, D) of a latent (N, M): the inverse of `transform`. Raises as `score_samples`."""
        check_is_fitted(self, "model_")
        return self._of_latent("decode", latent_of(Z, self.model_.latent_features), context)

    def sample(self, n_samples: int = 1, *, context: Any = None, random_state: Any = None) -> np.ndarray:
        """New rows (n_samples, D).

        Args:
            context: (n_samples, K), or one row (1, K) for all; only of a conditional density.
            random_state: the same number gives the same rows; None: others every time.

        Raises:
            DensityError: fewer than one sample, or the context is not of the kind that the density was fitted to.
            sklearn.exceptions.NotFittedError: it was not fitted.
        """
        check_is_fitted(self, "model_")
        if n_samples < 1:
            raise DensityError(f"n_samples must be at least 1, not {n_samples}")
        noise = check_random_state(random_state).standard_normal((n_samples, self.model_.noise))
        return self._of_latent("draw", noise, context)

    def save(self, path: str | Path) -> None:
        """Writes the folder `path`: `model.safetensors` and `config.json`. A density that is there is replaced.

        Raises:
            OutputError: it cannot be written, or something else than a density is there.
            sklearn.exceptions.NotFittedError: the density was not fitted.
        """
        check_is_fitted(self, "model_")
        names = [str(name) for name in getattr(self, "feature_names_in_", ())]
        parameters = {name: getattr(self._settings, name) for name in self.get_params(deep=False)}
        context_names = [str(name) for name in self.context_names_in_]
        saved = Saved(parameters, self.n_features_in_, self.n_context_, names, context_names, self.model_.state_dict())
        save_folder(Path(path), saved)

    @classmethod
    def load(cls: type[Self], path: str | Path, device: str = "cpu") -> Self:
        """The density that `save` wrote, without its `history_`.

        Raises:
            CheckpointError: the folder is missing, truncated, altered, of a newer format, or no density.
            ConfigError: this machine has not the device.
        """
        saved = load_folder(Path(path))
        try:
            shape = {"shape": tuple(saved.parameters["shape"]) or None} if "shape" in saved.parameters else {}
            density = cls(**{**saved.parameters, **shape, "device": device})
            settings = settings_of(density.get_params(), cls._families)
            density.n_features_in_ = saved.features
            density._start(settings, saved.context)
            density.model_.load_state_dict(saved.tensors)
        except (TypeError, KeyError, ConfigError, DensityError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: the configuration and the weights do not go together ({first})") from error
        if saved.names:
            density.feature_names_in_ = np.array(saved.names, dtype=object)
        density.context_names_in_ = saved.context_names
        return density

    def built(self, features: int, context: int = 0) -> Standardised:
        """The model as a fit of D features given K starts with it. Raises ConfigError as `fit`."""
        return self._build(settings_of(self.get_params(), self._families), features, context)

    @property
    def _n_features_out(self) -> int:
        return self.model_.latent_features

    def _start(self, settings: Settings, context: int) -> None:
        self.model_ = self._build(settings, self.n_features_in_, context)
        self._settings, self.n_context_ = settings, context
        self.history_: list[FitState] = []
        self.context_names_in_: list[str] = []

    def _of_rows(self, method: str, X: Any, context: Any, *arguments: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        rows = rows_of(self, X)
        inputs = self.model_.inputs(rows, context_of(context, len(rows), self.n_context_))
        return _in_pieces(method, self.model_, *inputs, *arguments)

    def _of_latent(self, method: str, z: np.ndarray, context: Any) -> np.ndarray:
        given = self.model_.context(context_of(context, len(z), self.n_context_))
        return _in_pieces(method, self.model_, self.model_.numbers(z), given)


def _in_pieces(method: str, model: Standardised, rows: Tensor, context: Tensor, *arguments: Any) -> np.ndarray:
    """What a method of the model gives, without gradients, in float64."""
    with torch.inference_mode(), torch.autocast(rows.device.type, enabled=False), own_threads():
        pieces = [
            getattr(model, method)(*piece, *arguments)
            for piece in zip(rows.split(CHUNK), context.split(CHUNK), strict=True)
        ]
        return torch.cat(pieces).double().cpu().numpy()
