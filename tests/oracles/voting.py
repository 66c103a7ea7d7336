"""Covering grid and majority vote, written as loops over pixels and windows."""

from __future__ import annotations

from fractions import Fraction


def covering_starts(size: int, window: int, stride: int) -> list[int]:
    starts, start = [], 0
    while start + window <= size:
        starts.append(start)
        start += stride
    if not starts:
        return [0]
    if starts[-1] + window < size:
        starts.append(size - window)
    return starts


def vote(
    shape: tuple[int, int], windows: list[tuple[tuple[int, int], list[list[int]]]], classes: int
) -> tuple[list[list[int]], list[list[Fraction]]]:
    """Labels and margins of a slice; ``windows`` are (row, column) of the start and rows of labels."""
    labels = [[0] * shape[1] for _ in range(shape[0])]
    confidences = [[Fraction(0)] * shape[1] for _ in range(shape[0])]
    for row in range(shape[0]):
        for column in range(shape[1]):
            votes = [0] * classes
            for (top, left), patch in windows:
                y, x = row - top, column - left
                if 0 <= y < len(patch) and 0 <= x < len(patch[0]):
                    votes[patch[y][x]] += 1
            winner = 0
            for index in range(classes):
                if votes[index] > votes[winner]:
                    winner = index
            others = [votes[index] for index in range(classes) if index != winner]
            labels[row][column] = winner
            confidences[row][column] = Fraction(votes[winner] - max(others), sum(votes))
    return labels, confidences
