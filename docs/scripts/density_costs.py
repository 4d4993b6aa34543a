"""Costs behind the claims of docs/results/generative.md: python docs/scripts/density_costs.py

Seconds of processor time, of models that are not trained, since these costs do not depend on training.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from flowvocoder.density import FlowDensity, GenerativeModel
from flowvocoder.density.comparison import width_for
from flowvocoder.flows.pointwise import PointwiseLU, random_rotation

PARAMETERS, ROWS = 20_000, 1000
FEATURES, SQUARES = (2, 16, 64), (64, 512)
MODELS = ("realnvp", "nsf-c", "maf", "iaf", "autoregressive", "vae", "gan")


def seconds(run: Callable[[], object]) -> float:
    """Processor time of the faster of two calls after a first one."""
    run()
    best = []
    for _ in range(2):
        started = time.process_time()
        run()
        best.append(time.process_time() - started)
    return min(best)


def one_step(name: str, features: int) -> FlowDensity | GenerativeModel:
    """A model after a step of training."""
    kind = GenerativeModel if name in ("autoregressive", "vae", "gan") else FlowDensity
    rows = np.random.default_rng(0).standard_normal((64, features))
    return kind(name, hidden=width_for(name, features, PARAMETERS), steps=1, progress=False).fit(rows)


def sampling() -> None:
    """Milliseconds of the density and of samples of 1000 rows."""
    print("| model | " + " | ".join(f"density, D = {d} | sampling, D = {d}" for d in FEATURES) + " |")
    for name in MODELS:
        cells = []
        for features in FEATURES:
            model = one_step(name, features)
            rows = np.random.default_rng(1).standard_normal((ROWS, features))
            score = "-" if name == "gan" else f"{1e3 * seconds(lambda m=model, r=rows: m.score_samples(r)):.1f}"
            cells += [score, f"{1e3 * seconds(lambda m=model: m.sample(ROWS, random_state=0)):.1f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def determinants() -> None:
    """Milliseconds of a linear map's log-determinant by LU factors and by `slogdet`, and of a coupling flow's.

    The flow's is also taken from its Jacobian by autograd, for 8 rows, and their difference shown.
    """
    for features in SQUARES:
        layer = PointwiseLU(random_rotation(features))
        x, context = torch.randn(1, features, 1), torch.zeros(1, 0, 1)
        matrix = random_rotation(features)
        with torch.no_grad():
            factors = seconds(lambda: [layer(x, context) for _ in range(100)]) * 10  # noqa: B023
            dense = seconds(lambda: [(matrix @ x, torch.linalg.slogdet(matrix)) for _ in range(100)]) * 10  # noqa: B023
        print(f"D = {features}: PointwiseLU {factors:.3f} ms, product and slogdet {dense:.3f} ms")
    flow = one_step("realnvp", 64).model_.flow.double()
    rows, context = torch.randn(8, 64, 1, dtype=torch.float64), torch.zeros(8, 0, 1, dtype=torch.float64)

    def jacobians() -> torch.Tensor:
        each = [torch.func.jacrev(lambda x: flow(x[None], context[:1])[0].flatten())(row) for row in rows]
        return torch.stack([torch.linalg.slogdet(j.reshape(64, 64))[1] for j in each])

    closed = seconds(lambda: flow(rows, context))
    print(f"realnvp, D = 64, 8 rows: layers {1e3 * closed:.2f} ms, Jacobian {1e3 * seconds(jacobians):.1f} ms, largest"
          f" difference {float((jacobians() - flow(rows, context)[1]).detach().abs().max()):.1e} nats")  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    determinants()
    sampling()
