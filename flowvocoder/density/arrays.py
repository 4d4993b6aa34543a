"""What users give as rows, contexts and weights, checked: one sentence for everything that is wrong with it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, validate_data
from torch import Tensor

from flowvocoder.errors import DensityError

FEWEST = 8
"""Rows that a density is fitted to at least."""

ROUNDING = 1e-12
"""Of float64, beside a mean that is a sum of many."""

LARGEST = 1e150
"""Squares of larger numbers overflow."""


class Data(NamedTuple):
    """What a fit is given: rows (N, D), contexts (N, K) and weights (N,), all above 0."""

    rows: np.ndarray
    context: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, estimator: BaseEstimator, X: Any, context: Any, sample_weight: Any) -> "Data":
        """Checked, without the rows that have no weight.

        Raises:
            DensityError: as `rows_of`, `context_of` and `weights_of`, or too few rows have weight.
        """
        rows = rows_of(estimator, X, fitting=True)
        weights = weights_of(sample_weight, len(rows))
        counted = np.flatnonzero(weights)
        if len(counted) < FEWEST:
            raise DensityError(
                f"{len(counted)} rows have a sample_weight above zero: a minimum of {FEWEST} is required"
            )
        return cls(rows[counted], context_of(context, len(rows))[counted], weights[counted])


class Standard(NamedTuple):
    """Mean and standard deviation of every column, (D,) each."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, weights: np.ndarray) -> "Standard":
        """That of rows (N, D) by weights (N,)."""
        mean = np.average(rows, axis=0, weights=weights)
        return cls(mean, np.sqrt(np.average(np.square(rows - mean), axis=0, weights=weights)))

    @property
    def constant(self) -> np.ndarray:
        """(D,), whether a column has nothing but rounding beside its mean."""
        return self.scale <= ROUNDING * np.abs(self.mean)


def standard_of_rows(data: Data, step: float, names: Sequence[str] | None) -> Standard:
    """That of the rows once they have uniform noise `step` wide added.

    Raises:
        DensityError: a column is constant.
    """
    mean, scale = Standard.of(data.rows, data.weights)
    standard = Standard(mean, np.sqrt(np.square(scale) + step**2 / 12))
    if standard.constant.any():
        column = int(standard.constant.argmax())
        name = column if names is None else repr(str(names[column]))
        value = f"{data.rows[0, column]:g}"
        raise DensityError(f"column {name} of X is constant ({value}) and so has no density: leave it out")
    return standard


def standard_of_context(data: Data) -> Standard:
    """That of the contexts, whose constant columns keep their width."""
    standard = Standard.of(data.context, data.weights)
    return standard._replace(scale=np.where(standard.constant, 1.0, standard.scale))


def rows_of(estimator: BaseEstimator, values: Any, fitting: bool = False) -> np.ndarray:
    """(N, D) in float64 from an array, tensor or DataFrame; remembers or checks D and the columns' names.

    Raises:
        DensityError: no such array, a value that is not finite, another D, or too few rows to fit.
    """
    try:
        rows: np.ndarray = validate_data(
            estimator, _plain(values), reset=fitting, dtype=np.float64, ensure_all_finite=False,
            ensure_min_samples=FEWEST if fitting else 1,
        )  # fmt: skip
    except (ValueError, TypeError) as error:  # the latter of names of several types, and of sparse matrices
        if isinstance(error, TypeError) and "argument must be" in str(error):
            raise  # of an object that is no number: scikit-learn's own checks want it so
        raise DensityError(_sentence(error)) from error
    _check_finite(rows, "X")
    return rows


def latent_of(values: Any, features: int) -> np.ndarray:
    """(N, D) in float64, of a latent.

    Raises:
        DensityError: no such array, a value that is not finite, or another D.
    """
    latent = _matrix(values, "Z")
    if latent.shape[1] != features:
        raise DensityError(f"Z has {latent.shape[1]} features, but the density has {features}")
    return latent


def context_of(values: Any, rows: int, width: int | None = None) -> np.ndarray:
    """(N, K) in float64; (N, 0) for None. One row serves all.

    Args:
        width: K of the fit; None while fitting.

    Raises:
        DensityError: no such array, a value that is not finite, another K or N.
    """
    context = np.empty((rows, 0)) if values is None else _matrix(values, "context")
    if width is not None and context.shape[1] != width:
        given = "no context" if values is None else f"a context of {context.shape[1]} features"
        raise DensityError(f"{given} for a density that was fitted with {width or 'none'}")
    if len(context) == 1:
        context = np.repeat(context, rows, 0)
    if len(context) != rows:
        raise DensityError(f"context has {len(context)} rows, expected {rows} or one")
    return context


def weights_of(values: Any, rows: int) -> np.ndarray:
    """(N,) in float64; ones for None.

    Raises:
        DensityError: no such array, a weight that is negative or not finite, or too few rows that have weight.
    """
    if values is None:
        return np.ones(rows)
    weights = np.asarray(_plain(values), dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    if weights.shape != (rows,):
        raise DensityError(f"sample_weight has shape {weights.shape}, not ({rows},)")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise DensityError("sample_weight has values that are negative or not finite")
    return weights


def _matrix(values: Any, name: str) -> np.ndarray:
    try:
        matrix = check_array(_plain(values), dtype=np.float64, ensure_all_finite=False, input_name=name)
    except (ValueError, TypeError) as error:
        raise DensityError(f"{name}: {_sentence(error)}") from error
    _check_finite(matrix, name)
    return matrix


def _sentence(error: Exception) -> str:
    """What scikit-learn says, without the values it shows."""
    first, *others = str(error).splitlines()
    return " ".join([first, *(line for line in others if line.startswith("Reshape"))])


def _check_finite(values: np.ndarray, name: str) -> None:
    for wrong, what in ((~np.isfinite(values), "NaN or inf"), (np.abs(values) > LARGEST, f"beyond {LARGEST:g}")):
        if count := int(wrong.sum()):
            row, column = np.argwhere(wrong)[0]
            found = "a value that is" if count == 1 else f"{count} values that are"
            raise DensityError(f"{name} has {found} {what}, the first in row {row}, column {column}")


def _plain(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values
