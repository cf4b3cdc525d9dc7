"""Tests of eventsnn.kernels.grid_narrow: by step or by spike, the same sums."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn.kernels.bits import flag_words
from eventsnn.kernels.grid_events import list_spikes
from eventsnn.kernels.grid_narrow import STEPS_BACKWARD, most_listed, scatter_narrow, weight_gradient_narrow
from eventsnn.kernels.grid_projection import scatter_dense, weight_gradient_dense

N_STEPS, N_PRE, N, N_ALL, FIRST = 13, 24, 5, 9, 3


def case(share, dtype):
    """Potentials of three samples, of which the last never fires, their spikes, and those that have to be listed."""
    rng = np.random.default_rng(0)
    u = rng.uniform(-1.0, 1.0, (3, N_STEPS, N_PRE)).astype(dtype)
    threshold = np.quantile(u, 1.0 - share, axis=(0, 1)).astype(dtype)
    u[2] = threshold  # at the threshold is not above it
    fired = u > threshold
    starts = np.concatenate(([0], np.cumsum(fired.reshape(-1, N_PRE).sum(axis=1))))
    neurons, n_spikes, most = np.nonzero(fired)[2], fired.sum(axis=(1, 2)), most_listed(N_STEPS, N_PRE)
    assert (n_spikes[0] > most) == (share > 0.1)  # both ways are taken
    listed = np.zeros_like(starts), np.full(neurons.size + 1, -1), n_spikes
    list_spikes(u, threshold, n_spikes, most, *flag_words(N_PRE), *listed[:2])
    weight = rng.standard_normal((N_PRE, N)).astype(dtype)
    return u, threshold, (starts, neurons), listed, weight, rng


@pytest.mark.parametrize("lag", [0, 1, 6, N_STEPS])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-5)])
def test_scatter_narrow_equals_scatter_dense(dtype, tolerance, share, lag):
    u, threshold, events, listed, weight, rng = case(share, dtype)
    x = rng.standard_normal((3, N_STEPS, N_ALL)).astype(dtype)
    expected = x.copy()
    scatter_dense(*events, np.empty(0, dtype), weight, lag, FIRST, expected)
    flags = np.full((STEPS_BACKWARD, N_PRE), np.nan, dtype)
    scatter_narrow(*listed, u, threshold, weight, weight.T.copy(), lag, FIRST, flags, x)
    # sums of at most 24 numbers of order 1 in another order
    np.testing.assert_allclose(x, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(x[2], expected[2])


@pytest.mark.parametrize("lag", [0, 1, 6, N_STEPS])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-5)])
def test_weight_gradient_narrow_equals_weight_gradient_dense(dtype, tolerance, share, lag):
    u, threshold, events, listed, weight, rng = case(share, dtype)
    a = rng.standard_normal((3, N_STEPS, N_ALL)).astype(dtype)
    d_weight = rng.standard_normal(weight.shape).astype(dtype)
    expected = d_weight.copy()
    weight_gradient_dense(*events, np.empty(0, dtype), a, lag, FIRST, expected)
    flags, total = np.full((STEPS_BACKWARD, N_PRE), np.nan, dtype), np.full((N, N_PRE), np.nan, dtype)
    weight_gradient_narrow(*listed, u, threshold, a, lag, FIRST, flags, total, d_weight)
    # sums of at most 26 numbers of order 1 in another order
    np.testing.assert_allclose(d_weight, expected, rtol=0, atol=tolerance)
