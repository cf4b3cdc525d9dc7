"""Networks of any graph against the 50-digit reference: the same spikes, at the same times."""

from __future__ import annotations

import os

import numpy as np
import pytest

from eventsnn import simulate
from tests.reference.network_mpmath import simulate_reference
from tests.reference.random_networks import KINDS, random_network
from tests.simulation.network_specs import initial_of, network_of, spikes_of

#: networks per kind; EVENTSNN_NETWORKS=125 runs the thousand
N_NETWORKS = int(os.environ.get("EVENTSNN_NETWORKS", "4"))
#: A decision closer to the threshold than this is not asked for: the weights themselves have errors of 1e-16.
CLEAR = 1e-9


def cases(kind, n):
    """Specifications whose decisions are clear, with the reference's answer."""
    rng = np.random.default_rng([KINDS.index(kind), 7])
    while n > 0:
        spec = random_network(rng, kind)
        outcome = simulate_reference(spec)
        if outcome.margin > CLEAR:
            n -= 1
            yield spec, outcome


def assert_same(result, outcome, spec):
    for population in spec["populations"]:
        name = population["name"]
        expected = outcome.spikes[name]
        times = np.array([float(t) for t, _ in expected])
        order = np.lexsort(([n for _, n in expected], times))
        found = result.spikes[name]
        assert found.n_events == len(expected), name
        assert found.neurons.tolist() == [expected[k][1] for k in order], name
        # Rounding of 1e-16 per event, amplified by what the spikes before do to the later ones.
        assert np.allclose(found.times, times[order], rtol=1e-11, atol=0), name


@pytest.mark.parametrize("kind", KINDS)
def test_simulate_agrees_with_the_reference(kind):
    for spec, outcome in cases(kind, N_NETWORKS):
        network = network_of(spec)
        result = simulate(
            network, spikes_of(spec), spec["t_max"], engine="queue", initial=initial_of(spec), progress=False
        )
        assert_same(result, outcome, spec)


@pytest.mark.parametrize("kind", ["feed_forward", "strong", "bias"])
def test_simulate_layer_by_layer_agrees_with_the_reference(kind):
    for spec, outcome in cases(kind, N_NETWORKS):
        network = network_of(spec, form="dense")
        assert_same(simulate(network, spikes_of(spec), spec["t_max"], progress=False), outcome, spec)
