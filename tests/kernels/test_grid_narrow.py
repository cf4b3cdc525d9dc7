"""Tests of eventsnn.kernels.grid_narrow: by step or by spike, the same sums."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn.kernels.bits import flag_words
from eventsnn.kernels.grid_events import list_spikes, pack_spikes
from eventsnn.kernels.grid_narrow import most_listed, scatter_narrow, weight_gradient_narrow
from eventsnn.kernels.grid_projection import scatter_dense, weight_gradient_dense
from eventsnn.kernels.pattern_rows import LANES

N_STEPS, N_PRE, N_ALL, FIRST = 21, 24, 26, 3


def case(share, dtype, n):
    """Spikes of three samples, of which the last never fires, as flags and listed, and those that have to be listed."""
    rng = np.random.default_rng(0)
    u = rng.uniform(-1.0, 1.0, (3, N_STEPS, N_PRE)).astype(dtype)
    threshold = np.quantile(u, 1.0 - share, axis=(0, 1)).astype(dtype)
    u[2] = threshold  # at the threshold is not above it
    fired = u > threshold
    starts = np.concatenate(([0], np.cumsum(fired.reshape(-1, N_PRE).sum(axis=1))))
    neurons, n_spikes, most = np.nonzero(fired)[2], fired.sum(axis=(1, 2)), most_listed(N_STEPS, N_PRE)
    assert (n_spikes[0] > most) == (share > 0.1)  # both ways are taken
    listed = np.zeros_like(starts), np.full(neurons.size + 1, -1), n_spikes
    masks, history = np.ones((3, N_STEPS, 1), np.uint64), np.full((3, 3, 64), 255, np.uint8)
    pack_spikes(u, threshold, *flag_words(N_PRE), masks, history)
    list_spikes(masks, n_spikes, most, *listed[:2])
    weight = rng.standard_normal((N_PRE, n)).astype(dtype)
    return masks.view(np.uint8), history, (starts, neurons), listed, weight, rng


@pytest.mark.parametrize("lag", [0, 1, 6, N_STEPS])
@pytest.mark.parametrize("share", [0.01, 0.4, 0.9])
@pytest.mark.parametrize("n", [5, 16, 21])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-5)])
def test_scatter_narrow_equals_scatter_dense(dtype, tolerance, n, share, lag):
    bits, _, events, listed, weight, rng = case(share, dtype, n)
    x = rng.standard_normal((3, N_STEPS, N_ALL)).astype(dtype)
    expected = x.copy()
    scatter_dense(*events, np.empty(0, dtype), weight, lag, FIRST, expected)
    n_blocks = -(-n // LANES)
    table = np.full((n_blocks, 32 * 8, LANES), np.nan, dtype)
    scatter_narrow(*listed, bits, weight, lag, FIRST, table, x)
    # sums of at most 24 numbers of order 1 in another order
    np.testing.assert_allclose(x, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(x[2], expected[2])


@pytest.mark.parametrize("lag", [0, 1, 6, N_STEPS])
@pytest.mark.parametrize("share", [0.01, 0.4, 0.9])
@pytest.mark.parametrize("n", [5, 16, 21])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-5)])
def test_weight_gradient_narrow_equals_weight_gradient_dense(dtype, tolerance, n, share, lag):
    _, history, events, listed, weight, rng = case(share, dtype, n)
    a = rng.standard_normal((3, N_STEPS, N_ALL)).astype(dtype)
    d_weight = rng.standard_normal(weight.shape).astype(dtype)
    expected = d_weight.copy()
    weight_gradient_dense(*events, np.empty(0, dtype), a, lag, FIRST, expected)
    work = [np.full(shape, np.nan, dtype) for shape in ((32, LANES), (-(-n // LANES), N_PRE, LANES))]
    weight_gradient_narrow(*listed, history, a, lag, FIRST, *work, d_weight)
    # sums of at most 26 numbers of order 1 in another order
    np.testing.assert_allclose(d_weight, expected, rtol=0, atol=tolerance)
