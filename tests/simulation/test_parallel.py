from __future__ import annotations

import threading
import time

import pytest

from eventsnn import ValidationError
from eventsnn.simulation.parallel import BLOCK_SIZE, BlockPool, sample_blocks


@pytest.mark.parametrize("n_samples", [0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 1000, 60_000])
def test_sample_blocks_cover_all_samples(n_samples):
    blocks = sample_blocks(n_samples)
    assert [s for start, stop in blocks for s in range(start, stop)] == list(range(n_samples))
    sizes = [stop - start for start, stop in blocks]
    assert all(1 <= size <= BLOCK_SIZE for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert n_samples < 2 or len(blocks) % 2 == 0


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_block_pool_map_keeps_the_order(n_threads):
    def late_first(k):
        time.sleep(0.002 * (5 - k % 5))
        return k * k

    with BlockPool(n_threads) as pool:
        assert pool.map(late_first, range(20)) == [k * k for k in range(20)]
        assert pool.map(late_first, []) == []
        assert pool.map(late_first, iter([3])) == [9]


def test_block_pool_map_works_in_all_threads():
    barrier = threading.Barrier(3, timeout=10.0)  # breaks unless three blocks run at the same time
    with BlockPool(3) as pool:
        assert len(set(pool.map(lambda _: (barrier.wait(), threading.get_ident())[1], range(3)))) == 3


@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("bad", [0, 7, 19])
def test_block_pool_map_passes_exceptions_on(n_threads, bad):
    running = set()

    def work(k):
        running.add(k)
        time.sleep(0.001)
        if k == bad:
            raise KeyError(k)
        time.sleep(0.001)
        running.discard(k)

    with BlockPool(n_threads) as pool:
        with pytest.raises(KeyError, match=str(bad)):
            pool.map(work, range(20))
        # No block is left running behind the caller's back, and the pool goes on.
        assert running == {bad}
        assert pool.map(lambda k: k, range(4)) == [0, 1, 2, 3]


def test_block_pool_map_waits_for_the_others_on_an_interrupt():
    finished = []
    main = threading.get_ident()

    def work(k):
        if threading.get_ident() == main:
            raise KeyboardInterrupt
        time.sleep(0.05)
        finished.append(k)

    with BlockPool(2) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.map(work, range(50))
        n = len(finished)
        time.sleep(0.1)
        assert len(finished) == n <= 2


@pytest.mark.parametrize("n_threads", [0, -1, 1.0, True, "2"])
def test_block_pool_refuses_bad_thread_counts(n_threads):
    with pytest.raises(ValidationError, match="n_threads: must be an integer >= 1"):
        BlockPool(n_threads)
