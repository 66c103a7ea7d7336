"""The choice of an engine, and the shards into which a list of tasks may be divided."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from medseg.errors import Code, MedsegError
from pipelines.execution import processes
from pipelines.execution.limits import Limits
from pipelines.execution.overlap import one_by_one, overlapped
from pipelines.execution.steps import Outcome, Task, Work


@dataclass(frozen=True)
class Shard:
    """The ``number``-th part (from 1) of ``count`` into which cases are divided by their names."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/n`; raises USAGE."""
        number, slash, count = text.partition("/")
        if not slash or not number.isdecimal() or not count.isdecimal() or not 1 <= int(number) <= int(count):
            how_to_fix = "give it as i/n with 1 ≤ i ≤ n, for example 2/8"
            raise MedsegError(Code.USAGE, "--shard", f"{text!r} is no part", how_to_fix)
        return cls(int(number), int(count))

    def holds(self, name: str) -> bool:
        """True for a name of this part; whichever other names there are."""
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


@dataclass(frozen=True)
class Execution:
    """The engine: ``workers`` processes of this machine, none for this process alone, or a Dask scheduler."""

    workers: int = 0
    executor: Literal["local", "dask"] = "local"
    scheduler: str | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Refuse an executor without its scheduler, and the reverse: USAGE."""
        if self.executor == "dask" and self.scheduler is None:
            how_to_fix = "give --scheduler tcp://HOST:PORT"
            raise MedsegError(Code.USAGE, "--executor dask", "no scheduler", how_to_fix)
        if self.executor == "local" and self.scheduler is not None:
            details = "the local executor has no scheduler"
            raise MedsegError(Code.USAGE, "--scheduler", details, "give --executor dask, too")

    def check(self) -> None:
        """Refuse a Dask scheduler that is not there: EXTRA_MISSING, CLUSTER_UNREACHABLE."""
        if self.executor == "dask":
            from pipelines.execution import cluster

            cluster.check(str(self.scheduler))

    def threads(self, here: int) -> int | None:
        """Threads for each worker of this machine, of so many that this process has; None for all it has."""
        return max(1, here // self.workers) if self.workers else None

    def carry_out(self, tasks: Sequence[Task], work: Work[Task, Outcome]) -> Iterator[tuple[int, Outcome]]:
        """Yield (number, outcome) of every task as it ends. Raises as the engines do."""
        if self.executor == "dask":
            from pipelines.execution import cluster

            return cluster.run(tasks, work, scheduler=str(self.scheduler), limits=self.limits)
        if self.workers:
            return processes.run(tasks, work, workers=self.workers, limits=self.limits)
        engine = one_by_one if self.limits.one_at_a_time else overlapped
        return engine(enumerate(tasks), work.make())
