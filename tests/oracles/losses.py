"""Losses pixel by pixel in plain Python and float64; void (255) is skipped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

VOID = 255


def probabilities(logits: Any) -> list[list[float]]:
    """Soft-max over K of logits (B, K, H, W), as a list over pixels in the order of labels (B, H, W)."""
    rows = np.moveaxis(np.asarray(logits, dtype=np.float64), 1, -1).reshape(-1, logits.shape[1])
    exponentials = [[math.exp(v) for v in row] for row in rows]
    return [[e / sum(row) for e in row] for row in exponentials]


def cross_entropy(
    logits: Any, labels: Any, weights: list[float], gamma: float = 0.0, weight_map: Any = None
) -> tuple[float, float]:
    """Σ −w(1−p)^γ log p and Σ w, w being the class weight plus the map (B, H, W)."""
    total = weight_total = 0.0
    added = np.zeros(labels.shape) if weight_map is None else np.asarray(weight_map)
    pixels = zip(probabilities(logits), np.asarray(labels).ravel(), added.ravel(), strict=True)
    for p, y, extra in pixels:
        if y != VOID:
            total -= (weights[y] + extra) * (1 - p[y]) ** gamma * math.log(p[y])
            weight_total += weights[y] + extra
    return total, weight_total


def dice_and_iou(logits: Any, labels: Any) -> list[tuple[float, float]]:
    """Soft Dice and soft IoU of each class over the batch; 1 where Σp + Σy = 0."""
    results = []
    for c in range(logits.shape[1]):
        both = size_p = size_y = 0.0
        for p, y in zip(probabilities(logits), np.asarray(labels).ravel(), strict=True):
            if y != VOID:
                both += p[c] * (y == c)
                size_p += p[c]
                size_y += y == c
        empty = size_p + size_y == 0
        iou = 1.0 if empty else both / (size_p + size_y - both)
        results.append((1.0 if empty else 2 * both / (size_p + size_y), iou))
    return results


def masks(logits: Any, labels: Any, weights: list[float]) -> tuple[float, float, list[float]]:
    """Σ w·BCE and Σ w over pixels and masks (bits of the labels), and each mask's soft Dice."""
    total = weight_total = 0.0
    dice = []
    for mask, weight in enumerate(weights):
        both = sizes = 0.0
        pixels = zip(np.asarray(logits)[:, mask].ravel(), np.asarray(labels).ravel(), strict=True)
        for logit, label in pixels:
            if label != VOID:
                y, p = int(label) >> mask & 1, 1 / (1 + math.exp(-float(logit)))
                total -= weight * math.log(p if y else 1 - p)
                weight_total += weight
                both += p * y
                sizes += p + y
        dice.append(2 * both / sizes if sizes else 1.0)
    return total, weight_total, dice
