"""The generative models that texts compare flows with, as scikit-learn estimators."""

from typing import Any

import numpy as np

from flowvocoder.density.base import DensityEstimator
from flowvocoder.density.families import MODELS
from flowvocoder.density.networks import VAE, build_model
from flowvocoder.errors import DensityError


class GenerativeModel(DensityEstimator):
    """A VAE, a GAN, an autoregressive model or an invertible autoencoder of vectors: small, beside `FlowDensity`.

    It is fitted as that is: columns are standardised and a part of the rows is held out. What `score_samples` gives
    depends on the model, and `score_is` says it:

    - `vae`: the evidence lower bound. `bound` gives a tighter one.
    - `gan`: nothing, it refuses. Held-out rows judge it by the sliced Wasserstein distance.
    - `autoregressive`: the exact log-density. Sampling takes one pass of the network a column.
    - `invertible-ae`: the exact log-density of a flow in which what the latent leaves out is normal and narrow.

    >>> import numpy as np
    >>> rows = np.random.default_rng(0).standard_normal((200, 2))
    >>> model = GenerativeModel("vae", hidden=8, steps=20).fit(rows)
    >>> model.score_is
    'a lower bound'
    >>> model.sample(3, random_state=0).shape
    (3, 2)

    Args:
        family: a name of `MODELS`.
        latent: numbers in the latent, or in a GAN's noise; None: half the columns, or 2 if that is more.
        layers: of the networks, or couplings of `invertible-ae`; None: the model's default.
        hidden, steps, batch, lr, held_out, dequantise, dtype, device, progress, seed: as `FlowDensity`.
        patience: as `FlowDensity`; longer, since what these are judged by is noisier.

    Attributes:
        model_: the networks with the standardisation around them.
        n_features_in_, n_context_: D and K.
        history_: the states of the fit; their `nats` are what the model's objective is.
    """

    _families = MODELS
    _build = staticmethod(build_model)

    def __init__(
        self,
        family: str = "vae",
        *,
        latent: int | None = None,
        layers: int | None = None,
        hidden: int | None = None,
        steps: int = 2000,
        batch: int = 256,
        lr: float | None = None,
        patience: int = 20,
        held_out: float = 0.1,
        dequantise: float = 0.0,
        dtype: str = "float32",
        device: str = "cpu",
        progress: bool = True,
        seed: int = 0,
    ):
        self.family = family
        self.latent = latent
        self.layers = layers
        self.hidden = hidden
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.patience = patience
        self.held_out = held_out
        self.dequantise = dequantise
        self.dtype = dtype
        self.device = device
        self.progress = progress
        self.seed = seed

    @property
    def score_is(self) -> str:
        """What `score_samples` gives: `exact`, `a lower bound` or `nothing`."""
        return {"vae": "a lower bound", "gan": "nothing"}.get(self.family, "exact")

    def bound(self, X: Any, *, context: Any = None, draws: int = 64) -> np.ndarray:
        """The importance-weighted bound (N,) in nats of a VAE (Burda et al. 2016, arXiv:1509.00519).

        Args:
            draws: of the latent a row. One gives `score_samples`; many come close to the log-density.

        Raises:
            DensityError: the model is no VAE, or as `score_samples`.
        """
        self._check_vae("bound")
        return self._of_rows("weighted", X, context, draws)

    def kl(self, X: Any, *, context: Any = None) -> np.ndarray:
        """KL (N, M) in nats of a VAE's posterior from its prior: a latent without any in the mean has collapsed.

        Raises:
            DensityError: the model is no VAE, or as `score_samples`.
        """
        self._check_vae("posterior")
        return self._of_rows("kl", X, context)

    def _check_vae(self, what: str) -> None:
        if not isinstance(getattr(self, "model_", None), VAE | None):
            raise DensityError(f"{self.family} has no {what}: only a vae has")
