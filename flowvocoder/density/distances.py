"""How far samples are from data: distances between two sets of rows, and what is missing in one."""

import numpy as np
import torch
from torch import Tensor

PROJECTIONS = 128


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int = PROJECTIONS, seed: int = 0) -> Tensor:
    """Root mean square of the 2-Wasserstein distances of x (N, D) and y (M, D) projected onto random directions.

    In the unit of the rows; the directions are those of the seed (Bonneel et al. 2015, doi:10.1007/s10851-014-0506-3).
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64).to(x)
    directions = directions / directions.norm(dim=0)
    quantiles = torch.linspace(0.0, 1.0, min(len(x), len(y)), dtype=x.dtype, device=x.device)
    a, b = ((rows @ directions).quantile(quantiles, 0) for rows in (x, y))
    return (a - b).square().mean().sqrt()


def mmd(x: Tensor, y: Tensor) -> float:
    """Maximum mean discrepancy of x (N, D) and y (M, D), squared and unbiased (Gretton et al. 2012, JMLR 13).

    The kernel is the mean of five Gaussians, around the median distance in the data. About 0 for the same density, and
    then as often below as above.
    """
    median = float(torch.pdist(x[:1000]).median())

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = torch.cdist(a, b).square()
        return torch.stack([(-squares / (2 * (median * s) ** 2)).exp() for s in (0.25, 0.5, 1.0, 2.0, 4.0)]).mean(0)

    within = sum(float(k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y)))
    return within - 2 * float(kernel(x, y).mean())


def modes_found(samples: np.ndarray, centres: np.ndarray, radius: float, least: float = 0.2) -> int:
    """How many of K centres (K, D) have samples (N, D) within the radius, `least` of an even share or more."""
    near = np.linalg.norm(samples[:, None] - centres, axis=2) < radius
    return int((near.mean(0) >= least / len(centres)).sum())
