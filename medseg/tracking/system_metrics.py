"""Measurements of the machine while a network trains: CPU, memory, disk, network, GPUs, by MLflow's names."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

PREFIX = "system/"
Sample = tuple[int, Mapping[str, float]]


class Sampler:
    """Samples the machine every `interval` seconds in a thread of its own.

    The thread only gathers; the samples are logged with each epoch (:meth:`drain`). So the store
    has one writer, and a lost server cannot block the thread.
    """

    def __init__(self, interval: float = 10.0) -> None:
        self._interval = interval
        self._samples: list[Sample] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._monitors = _monitors()
        self._thread = threading.Thread(target=self._work, name="medseg-machine", daemon=True)
        self._thread.start()

    def drain(self) -> list[Sample]:
        """Take the samples since the last call: (time in ms, name → value)."""
        with self._lock:
            samples, self._samples = self._samples, []
        return samples

    def stop(self) -> None:
        """End the thread; samples not yet drained stay."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            sample = (int(time.time() * 1000), _measure(self._monitors))
            with self._lock:
                self._samples.append(sample)
            if self._stopped.wait(self._interval):
                return


def _monitors() -> list[Any]:
    """MLflow's own monitors, those of GPUs where there are any."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except (ImportError, RuntimeError):  # no nvidia-ml-py, or no such GPU
        return monitors
    return monitors


def _measure(monitors: list[Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        values.update({PREFIX + name: float(value) for name, value in monitor.aggregate_metrics().items()})
        monitor.clear_metrics()
    return values
