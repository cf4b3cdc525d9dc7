"""The one place with threads: a pool over fixed blocks of samples.

Block boundaries depend on the number of samples alone and results are combined in block order, so every number of
threads gives the same bits. The kernels release the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import TypeVar

from eventsnn.errors import ValidationError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

#: Samples of a block: large enough to hide the cost of a call, small enough for its records to stay in the cache.
BLOCK_SIZE = 96


def sample_blocks(n_samples: int) -> list[tuple[int, int]]:
    """(start, stop) of each block: an even number of nearly equal blocks of at most `BLOCK_SIZE` samples.

    An even number, so that two threads finish together; a single sample is one block.
    """
    if n_samples <= 0:
        return []
    n_blocks = min(n_samples, 2 * -(-n_samples // (2 * BLOCK_SIZE)))
    bounds = [n_samples * k // n_blocks for k in range(n_blocks + 1)]
    return list(pairwise(bounds))


def require_threads(n_threads: int) -> int:
    """`n_threads` if it is an integer >= 1, else `ValidationError`."""
    if isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise ValidationError(f"n_threads: must be an integer >= 1, got {n_threads!r}")
    return n_threads


class BlockPool:
    """Map a function over blocks with `n_threads` threads; a context manager. One thread means no pool at all."""

    def __init__(self, n_threads: int = 1) -> None:
        self.n_threads = require_threads(n_threads)
        self._pool = ThreadPoolExecutor(n_threads - 1, "eventsnn") if n_threads > 1 else None

    def map(self, function: Callable[[Item], Outcome], items: Iterable[Item]) -> list[Outcome]:
        """Results in the order of `items`. The calling thread works too: one hand-over per extra thread and call."""
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        results: list[Outcome | None] = [None] * len(items)
        # next() on an iterator over a range is atomic under the GIL: threads draw the next block when they are free.
        tickets = iter(range(len(items)))

        def work(source: Iterator[int]) -> None:
            for k in source:
                results[k] = function(items[k])

        others = [self._pool.submit(work, tickets) for _ in range(min(self.n_threads, len(items)) - 1)]
        try:
            work(tickets)
        finally:
            # On an error or Ctrl-C here: no block may still be running when the caller touches the buffers again.
            for _ in tickets:
                pass
            failures = [other.exception() for other in others]
        for failure in failures:
            if failure is not None:
                raise failure
        return results  # type: ignore[return-value]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
        self.n_threads = 1

    def __enter__(self) -> BlockPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
