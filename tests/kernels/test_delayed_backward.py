from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Dense, Sequential, Spikes
from eventsnn.simulation.delayed_layers import DelayedRunner
from eventsnn.simulation.layers import input_events


@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.37])
def test_delayed_backward_passes_nothing_through_a_silent_neuron(ratio):
    rng = np.random.default_rng(0)
    lif = LIF(tau_mem=ratio, tau_syn=1.0, max_spikes=1)
    weight, delay = rng.uniform(0.8, 1.5, (6, 3)), rng.uniform(0.0, 0.5, (6, 3))
    weight[:, 2] *= 0.01
    events = input_events(Spikes.from_first_times(rng.uniform(0.0, 1.5, (4, 6))))
    found = []
    for left in (3, 2):  # the third neuron is silent, or not there at all
        network = Sequential([Dense(weight[:, :left], delay[:, :left]), lif])
        runner = DelayedRunner(network.layers[0], np.inf)
        runner.forward(events)
        fired = np.isfinite(runner.record.time)
        assert fired.all(axis=0).tolist() == [True, True, False][:left]
        height = np.where(fired, 1.0 / np.where(fired, runner.record.slope, 1.0), 0.0)
        d_weight, d_delay, d_first = np.zeros((6, left)), np.zeros((6, left)), np.zeros((4, 6))
        runner.backward(height, np.inf, d_weight, d_first, d_delay)
        found.append((d_weight[:, :2], d_delay[:, :2], d_first))
        assert not d_weight[:, 2:].any()
        assert not d_delay[:, 2:].any()
    for with_silent, without in zip(*found, strict=True):
        assert np.abs(without).max() > 1e-2
        # vectorised sums may be in another order
        assert with_silent == pytest.approx(without, rel=1e-13, abs=1e-15)
