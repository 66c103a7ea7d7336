"""Mean field of a dense CRF with the whole kernel as one matrix, in float64 (Krähenbühl, Koltun 2011)."""

from __future__ import annotations

import numpy as np

from medseg.grid import Array


def gaussian(features: Array) -> Array:
    """exp(−|f_i − f_j|²/2) of features (N, D): (N, N)."""
    apart = ((features[:, None] - features[None]) ** 2).sum(-1)
    return np.exp(-apart / 2)


def kernels(guide: Array, sigma_alpha: float, sigma_beta: float, sigma_gamma: float) -> tuple[Array, Array]:
    """The bilateral and the smoothness kernel (N, N) of a guide (C, H, W)."""
    place = np.indices(guide.shape[1:]).reshape(2, -1).T
    colour = guide.reshape(len(guide), -1).T.astype(np.float64)
    both = np.concatenate([place / sigma_alpha, colour / sigma_beta], axis=1)
    return gaussian(both), gaussian(place / sigma_gamma)


def normalised(kernel: Array) -> Array:
    """k_ij / √(D_i D_j), D_i the sum of row i with j = i."""
    total = kernel.sum(1)
    return kernel / np.sqrt(np.outer(total, total))


def mean_field(probabilities: Array, kernel: Array, iterations: int) -> Array:
    """Q_i(l) ∝ P_i(l)·exp(−Σ_{j≠i} K_ij (1 − Q_j(l))) from P (N, K), as the equation stands."""
    others = kernel - np.diag(np.diag(kernel))
    q = probabilities
    for _ in range(iterations):
        q = probabilities * np.exp(-others @ (1 - q))
        q = q / q.sum(1, keepdims=True)
    return q
