"""A normalizing flow as a scikit-learn estimator."""

from flowvocoder.density.base import DensityEstimator
from flowvocoder.density.builders import build
from flowvocoder.density.families import FAMILIES


class FlowDensity(DensityEstimator):
    """The density of vectors, or of small images, by a normalizing flow, with exact likelihood.

    Columns are standardised and a part of the rows is held out. The weights kept are those under which these are most
    likely. With a `context` the density is conditional: p(x | context).

    >>> import numpy as np
    >>> rows = np.random.default_rng(0).standard_normal((500, 2))
    >>> density = FlowDensity("realnvp", layers=2, steps=100).fit(rows)
    >>> density.score_samples(rows).shape, density.sample(3, random_state=0).shape
    ((500,), (3, 2))

    Args:
        family: a name of `FAMILIES`.
        layers: how many of its layers; None: the family's default.
        hidden: width of the networks inside; None: the family's default.
        shape: (channels, height, width) of images whose pixels are the columns, for `glow` and `realnvp`.
        steps: most steps of training; None: 800, or as many as show every row 18 times, at most 5000.
        batch: rows a step.
        lr: largest learning rate; None: the family's default.
        patience: looks at the held-out rows, one every 50 steps, that may pass without a gain.
        held_out: share of the rows that is held out.
        dequantise: step between neighbouring values of rows that are integers or otherwise quantised. Uniform noise as
            wide is added while fitting; the density of the values alone would be without bound.
        objective: what `cnf` is trained by: `likelihood`, or `flow-matching`, which solves no differential equation.
            History and score are likelihoods either way; the `nats` of a state are minus the error that is matched.
        trace: what `cnf` is trained with: `exact`, or `hutchinson`, an estimate by random signs. Scores are exact.
        dtype: `float32` or `float64`, of the computation.
        device: where it is done, `cpu` or `cuda`.
        progress: show a bar while fitting, on a terminal.
        seed: the fit is a function of it, and of the rows.

    Attributes:
        model_: the flow with the standardisation around it; `model_.flow` is the chain of layers.
        n_features_in_, n_context_: D and K.
        history_: the states of the fit.
    """

    _families = FAMILIES
    _build = staticmethod(build)

    def __init__(
        self,
        family: str = "nsf-c",
        *,
        layers: int | None = None,
        hidden: int | None = None,
        shape: tuple[int, int, int] | None = None,
        steps: int | None = None,
        batch: int = 512,
        lr: float | None = None,
        patience: int = 10,
        held_out: float = 0.1,
        dequantise: float = 0.0,
        objective: str = "likelihood",
        trace: str = "exact",
        dtype: str = "float32",
        device: str = "cpu",
        progress: bool = True,
        seed: int = 0,
    ):
        self.family = family
        self.layers = layers
        self.hidden = hidden
        self.shape = shape
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.patience = patience
        self.held_out = held_out
        self.dequantise = dequantise
        self.objective = objective
        self.trace = trace
        self.dtype = dtype
        self.device = device
        self.progress = progress
        self.seed = seed
