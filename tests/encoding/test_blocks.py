"""Encoders make nothing dense: their work space does not grow with the number of samples."""

import tracemalloc

import numpy as np
import pytest

from eventsnn import encode_delta, encode_latency, encode_latency_rc, encode_latency_steps, encode_rate
from eventsnn.encoding import blocks, rate_code

SMALL, LARGE = 4_000, 16_000
N_FEATURES, N_STEPS = 60, 100  # dense: 6000 bytes per sample at least
BLOCK = 1 << 16
PARTS = 200  # bytes per sample, for blocks of 10 samples: what the parts take before they are joined


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    for module in (blocks, rate_code):
        monkeypatch.setattr(module, "BLOCK", BLOCK)


def peak(encode, n_samples):
    """Highest memory during an encoding beyond what was there before, and that of the events and offsets, in bytes."""
    tracemalloc.start()
    try:
        spikes = encode(n_samples)
        return tracemalloc.get_traced_memory()[1], 16 * spikes.n_events + 8 * spikes.n_samples
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "encode",
    [
        lambda x: encode_latency(x, 0.0, 1.0, threshold=0.9),
        lambda x: encode_latency_steps(x, N_STEPS, threshold=0.9),
        lambda x: encode_latency_rc(x, 1.0, threshold=0.9),
        lambda x: encode_rate(x, N_STEPS, rng=np.random.default_rng(0), gain=2e-3),
        lambda x: encode_rate(x, N_STEPS, rng=np.random.default_rng(0), gain=2e-3, process="poisson"),
    ],
    ids=["latency", "steps", "rc", "bernoulli", "poisson"],
)
def test_work_space_of_values_does_not_grow(encode):
    values = np.random.default_rng(0).random((LARGE, N_FEATURES)).astype(np.float32)
    (small, _), (large, large_events) = (peak(lambda n: encode(values[:n]), n) for n in (SMALL, LARGE))
    assert large - 2 * large_events < small + PARTS * (LARGE - SMALL)  # the events twice, while the parts are joined
    assert large < 2 * large_events + PARTS * LARGE + 8 * 8 * BLOCK  # eight work arrays of a block at most


@pytest.mark.parametrize("reference", ["last_sent", "last_step"])
def test_work_space_of_signals_does_not_grow(reference):
    signal = np.random.default_rng(0).normal(0.0, 1.0, (SMALL, N_FEATURES, N_STEPS // 4)).astype(np.float32)
    (small, _), (large, large_events) = (
        peak(lambda n: encode_delta(signal[:n], 4.0, reference=reference), n) for n in (SMALL // 4, SMALL)
    )
    assert large - 2 * large_events < small + PARTS * (SMALL - SMALL // 4)
    assert large < 2 * large_events + PARTS * SMALL + 8 * 8 * BLOCK


@pytest.mark.parametrize(("n_samples", "entries", "size"), [(10, 1, 10), (10, 20_000, 3), (10, 1e9, 1), (0, 5, 0)])
def test_sample_blocks_cover_every_sample_once(n_samples, entries, size):
    own = list(blocks.sample_blocks(n_samples, entries))
    assert own[0].stop - own[0].start == size
    assert [k for block in own for k in range(block.start, block.stop)] == list(range(n_samples))


def test_sorted_events_is_a_lexical_sort():
    rng = np.random.default_rng(0)
    samples, steps, neurons = (rng.integers(0, n, 2000) for n in (7, 2**31 - 1, 5))
    order = np.lexsort((neurons, steps, samples))
    found = blocks.sorted_events(samples, steps, neurons, 2**31 - 1, 5)
    assert all(np.array_equal(a, b[order]) for a, b in zip(found, (samples, steps, neurons), strict=True))
