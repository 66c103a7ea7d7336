"""Losses of steps, read as they arrive from the device: no step waits for one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from torch import Tensor

from medseg.transfer import Download

_MOST_UNDER_WAY = 8
"""Steps that the host may be ahead of the device. A few keep it busy; more would delay signals and faults."""


class LossLog:
    """Losses on their way to the host, in the order of their steps. On a CPU each arrives at once."""

    def __init__(self) -> None:
        self._under_way: deque[tuple[int, Download]] = deque()

    def add(self, t: int, loss: Tensor) -> None:
        """Send the loss () of step ``t`` on its way."""
        self._under_way.append((t, Download([loss])))

    def arrived(self, *, all_of_them: bool = False) -> Iterator[tuple[int, float]]:
        """Take the steps whose losses are here; with ``all_of_them``, wait for the rest."""
        most = 0 if all_of_them else _MOST_UNDER_WAY
        while self._under_way and (len(self._under_way) > most or self._under_way[0][1].is_done):
            t, download = self._under_way.popleft()
            yield t, float(download.wait()[0])
