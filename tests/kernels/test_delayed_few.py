"""Few delayed inputs in registers: against the kernel that sorts neuron by neuron, and against the plain twin."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn.kernels.delayed_few import MOST_INPUTS, _pairs_to_order
from tests.kernels.scripts import result_of

# A spike of weight 0 at the end makes one input too many, so that the arrivals are sorted.
SCRIPT = """
import json, sys
import numpy as np
from eventsnn import LIF, Dense, Sequential
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.delayed_few import MOST_INPUTS
from eventsnn.simulation.delayed_layers import DelayedRunner

dtype, n, most, strength = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
rng = np.random.default_rng(n)
weight = np.zeros((MOST_INPUTS + 1, n), dtype)
weight[:most] = strength * rng.normal(0.5, 0.7, (most, n))
delay = np.round(rng.uniform(0.0, 2.0, weight.shape), 1)  # some arrive at one time
delay[most:] = 0.0
layer = Sequential([Dense(weight, delay=delay), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)]).layers[0]
lengths = rng.integers(0, most + 1, 40)
neurons = [rng.permutation(most)[:k] for k in lengths]
times = [np.sort(np.round(rng.uniform(0.0, 2.0, k), 1)) for k in lengths]

def spikes(n_extra):
    extra = np.arange(MOST_INPUTS + 1)[-1:].repeat(n_extra)
    own = [np.concatenate((j, extra)) for j in neurons], [np.concatenate((t, np.full(n_extra, 9.0))) for t in times]
    offsets = np.concatenate(([0], np.cumsum(lengths + n_extra)))
    runner = DelayedRunner(layer, np.inf)
    out = runner.forward(InputEvents(offsets, *map(np.concatenate, own)))
    last = np.where(np.isfinite(runner.record.time), runner._last, -1.0)
    return [out.offsets.tolist(), out.neurons.tolist(), out.times.tolist(), last.tolist()]

print(json.dumps([spikes(0), spikes(MOST_INPUTS + 1)]))
"""


# one vector, several and what is left; half of the inputs that are allowed and all; many spikes and few
@pytest.mark.parametrize(
    ("dtype", "n", "most", "strength"),
    [("float64", 8, 4, 2.0), ("float64", 21, 8, 0.7), ("float32", 30, 4, 4.0), ("float32", 17, 8, 0.9)],
)
def test_spikes_are_those_of_sorted_arrivals(dtype, n, most, strength):
    together, sorted_ = result_of(SCRIPT, dtype, n, most, strength)
    assert 0 < len(together[1]) < 40 * n
    # the sum of float32 weights is the same: both compute in float64
    assert together[0] == sorted_[0]
    np.testing.assert_allclose(together[2], sorted_[2], rtol=0, atol=1e-11)
    at_once = np.diff(sorted_[2]) == 0
    if not at_once.any():
        assert together[1] == sorted_[1]
    # a spike exactly at an arrival has that one or not
    assert np.mean(np.array(together[3]) == np.array(sorted_[3])) > 0.999


@pytest.mark.parametrize(("dtype", "n", "most"), [("float64", 21, 8), ("float32", 12, 4)])
def test_compiled_equals_plain(dtype, n, most):
    own, plain = (
        result_of(SCRIPT, dtype, n, most, 1.0)[0],
        result_of(SCRIPT, dtype, n, most, 1.0, NUMBA_DISABLE_JIT="1")[0],
    )
    assert own[0] == plain[0]
    assert own[1] == plain[1]
    np.testing.assert_allclose(own[2], plain[2], rtol=0, atol=1e-11)
    np.testing.assert_allclose(own[3], plain[3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [MOST_INPUTS // 2, MOST_INPUTS])
def test_the_network_sorts(n):
    # by the zero-one principle (Knuth, TAOCP 5.3.4, theorem Z) these decide
    rows = np.array([[code >> bit & 1 for bit in range(n)] for code in range(2**n)])
    for i, j in _pairs_to_order(n):
        rows[:, [i, j]] = np.sort(rows[:, [i, j]], axis=1)
    assert (np.diff(rows, axis=1) >= 0).all()
