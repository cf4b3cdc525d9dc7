"""Repeated channels and bias spikes: their map, what they refuse, their place in a chain."""

import numpy as np
import pytest

from eventsnn import LIF, BiasSpikes, Dense, Repeat, Sequential, ValidationError
from eventsnn.channels import channel_map

LIF_ONCE = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)


def test_channel_map_applies_the_parts_in_order():
    sources, times = channel_map(2, [Repeat(2), BiasSpikes([0.5])])
    np.testing.assert_array_equal(sources, [0, 0, 1, 1, -1])
    np.testing.assert_array_equal(times, [0.0, 0.0, 0.0, 0.0, 0.5])
    sources, times = channel_map(2, [BiasSpikes([0.5]), Repeat(2)])
    np.testing.assert_array_equal(sources, [0, 0, 1, 1, -1, -1])
    np.testing.assert_array_equal(times, [0.0, 0.0, 0.0, 0.0, 0.5, 0.5])


def test_sequential_counts_the_neurons_behind_the_channels():
    chain = Sequential(
        [
            Repeat(3),
            BiasSpikes([0.1, 0.2]),
            Dense(np.ones((14, 2))),
            LIF_ONCE,
            Repeat(2),
            Dense(np.ones((4, 1))),
            LIF_ONCE,
        ]
    )
    assert chain.n_inputs == 4
    assert [layer.n_sources for layer in chain.layers] == [4, 2]
    assert repr(chain) == (
        "Sequential(input 4 -> Repeat(3) -> BiasSpikes([0.1, 0.2]) -> hidden 2 -> Repeat(2) -> output 1)"
    )
    assert repr(chain.with_parameters(chain.parameters())) == repr(chain)
    graph = chain.as_network()
    assert graph.inputs == {"input": 4, "hidden.bias": 2}
    assert graph.projection_names == (
        "input->hidden", "input->hidden#2", "input->hidden#3", "hidden.bias->hidden",
        "hidden->output", "hidden->output#2",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Repeat(0), "Repeat.factor: must be >= 1, got 0"),
        (lambda: Repeat(1.5), "Repeat.factor: must be an integer"),
        (lambda: BiasSpikes([]), r"BiasSpikes.times: must have shape \(n_bias,\)"),
        (lambda: BiasSpikes([-0.1]), "BiasSpikes.times: must be finite and >= 0"),
        (lambda: BiasSpikes([np.inf]), "BiasSpikes.times: must be finite"),
        (lambda: Sequential([Repeat(3), Dense(np.ones((4, 2))), LIF_ONCE]), r"Repeat\(3\) cannot give the 4 channels"),
        (lambda: Sequential([BiasSpikes([0.1]), Dense(np.ones((1, 2))), LIF_ONCE]), "cannot give the 1 channels"),
        (lambda: Sequential([Dense(np.ones((1, 2))), LIF_ONCE, Repeat(2)]), "needs connections and neurons in turn"),
    ],
)
def test_bad_channels_are_refused(build, message):
    with pytest.raises(ValidationError, match=message):
        build()
