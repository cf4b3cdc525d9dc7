"""The package's own high-precision forward against the independent, slower oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import isinf, mp, mpf, workdps

from eventsnn.errors import ValidationError
from eventsnn.gradients.high_precision import first_spike_times
from tests.reference.first_spike_mpmath import first_spike_times as exact_first_spike_times
from tests.reference.network_mpmath import simulate_reference

# tau_mem, tau_syn, v_threshold, v_leak, i_bias: every family, inhibition by leak, rest on and above the threshold.
NEURONS = [
    (1.0, 1.0, 1.0, 0.0, 0.0),
    (2.0, 1.0, 1.0, 0.0, 0.0),
    (0.5, 1.0, 0.3, 0.0, 0.0),
    (1.37, 1.0, 1.0, -0.2, 0.0),
    (1.0 + 1e-12, 1.0, 1.0, 0.0, 0.0),
    (20e-3, 5e-3, 1.0, 0.0, 0.1),
    (100.0, 1.0, 0.3, 0.0, 0.0),
    (1.0, 2.0, 0.5, 0.0, -0.2),
    (2.0, 1.0, 1.0, 0.0, 1.0),
    (2.0, 1.0, 1.0, 0.0, 1.2),
    (1.0, 1.0, 1.0, 0.0, 1.3),
]


def _network(seed, tau_mem, tau_syn):
    """A 5-8-3 chain and one sample with two simultaneous inputs and a neuron that spikes twice."""
    rng = np.random.default_rng(seed)
    scale = math.sqrt(tau_mem / tau_syn)
    weights = [rng.normal(1.0, 1.5, (5, 8)) * scale, rng.normal(1.0, 1.5, (8, 3)) * scale]
    times = (rng.uniform(0.0, 2.0, 6) * tau_syn).tolist()
    times[1] = times[0]
    return weights, times, [0, 1, 2, 3, 4, 2]


def _parameters(tau_mem, tau_syn, v_threshold, v_leak, i_bias):
    return {"tau_mem": tau_mem, "tau_syn": tau_syn, "v_threshold": v_threshold, "v_leak": v_leak, "i_bias": i_bias}


@pytest.mark.parametrize("neuron", NEURONS)
def test_first_spike_times_agree_with_the_reference(neuron):
    tau_mem, tau_syn, v_threshold, v_leak, i_bias = neuron
    n_spikes = 0
    for seed in range(3):
        weights, times, sources = _network(seed, tau_mem, tau_syn)
        found = first_spike_times(weights, [_parameters(*neuron)] * 2, times, sources)
        spikes = list(zip(times, sources, strict=True))
        exact = exact_first_spike_times(weights, tau_mem, tau_syn, v_threshold, v_leak, spikes, i_bias)
        for layer, exact_layer in zip(found, exact, strict=True):
            assert layer.shape == (len(exact_layer),)
            for time, exact_time in zip(layer, exact_layer, strict=True):
                assert isinf(time) == isinf(exact_time)
                if not isinf(time):
                    n_spikes += 1
                    with workdps(60):
                        # 40 digits were asked for; the required agreement is 1e-30 (measured: 1e-41).
                        assert abs(time - exact_time) <= mpf(10) ** -38 * exact_time
    assert n_spikes > 15


@pytest.mark.parametrize("form", [(), (8, 1), (1, 6), (8, 6)], ids=str)
def test_first_spike_times_with_delays_and_channels_agree_with_the_reference(form):
    """Three inputs, each twice, and two bias spikes; the reference gets them as synapses of neurons and of a bias."""
    rng = np.random.default_rng(11)
    weights = [rng.normal(2.0, 1.0, (8, 6)), rng.normal(1.5, 0.8, (6, 2))]
    delays = [rng.uniform(0.0, 1.5, form), rng.uniform(0.0, 1.0, (6, 2))]
    channels = [([0, 0, 1, 1, 2, 2, -1, -1], [0.0] * 6 + [0.3, 1.1]), None]
    parameters = [_parameters(2.0, 1.0, 1.0, 0.0, 0.05), _parameters(1.0, 1.0, 0.8, 0.0, 0.0)]
    times, neurons = [0.2, 0.7, 0.4, 1.3], [0, 1, 2, 0]
    found = first_spike_times(weights, parameters, times, neurons, delays=delays, channels=channels)
    of_pairs = [np.broadcast_to(delay, weight.shape) for delay, weight in zip(delays, weights, strict=True)]
    rows = [("input", channel // 2) for channel in range(6)] + [("bias", 0), ("bias", 1)]
    synapses = {
        name: [(rows[r][1], k, weights[0][r, k], float(of_pairs[0][r, k])) for r, k in np.ndindex(8, 6)
               if rows[r][0] == name]
        for name in ("input", "bias")
    }  # fmt: skip
    synapses["first"] = [(j, k, weights[1][j, k], float(of_pairs[1][j, k])) for j, k in np.ndindex(6, 2)]
    common = {"v_reset": 0.0, "t_refrac": 0.0, "max_spikes": 1}
    outcome = simulate_reference(
        {
            "populations": [
                {"name": name, "n": n, **own, **common, "tau_syn": {"own": own["tau_syn"]}}
                for name, n, own in (("first", 6, parameters[0]), ("second", 2, parameters[1]))
            ],
            "inputs": [{"name": "input", "n": 3}, {"name": "bias", "n": 2}],
            "projections": [
                {"source": name, "target": "second" if name == "first" else "first", "receptor": None, "synapses": own}
                for name, own in synapses.items()
            ],
            "spikes": {"input": list(zip(neurons, times, strict=True)), "bias": [(0, 0.3), (1, 1.1)]},
            "t_max": 20.0,
        }
    )
    n_spikes = 0
    for layer, name in zip(found, ("first", "second"), strict=True):
        exact = {neuron: time for time, neuron in outcome.spikes[name]}
        for neuron, time in enumerate(layer):
            assert isinf(time) == (neuron not in exact)
            if not isinf(time):
                n_spikes += 1
                with workdps(60):
                    assert abs(time - exact[neuron]) <= mpf(10) ** -38 * time  # as above
    assert n_spikes >= 6


def test_first_spike_times_takes_parameters_per_neuron():
    weights = [np.array([[3.0, 4.0, 5.0]])]
    columns = {
        "tau_mem": np.array([1.0, 2.0, 1.5]),
        "tau_syn": np.array([1.0, 1.0, 0.7]),
        "v_threshold": np.array([0.8, 1.0, 0.5]),
        "v_leak": np.array([0.0, -0.1, 0.2]),
        "i_bias": np.array([0.0, 0.1, -0.1]),
    }
    (together,) = first_spike_times(weights, [columns], [0.5], [0])
    for j in range(3):
        one = {name: column[j] for name, column in columns.items()}
        ((alone,),) = first_spike_times([weights[0][:, j : j + 1]], [one], [0.5], [0])
        assert together[j] == alone


def test_central_difference_with_step_1e_15_matches_the_analytic_derivative():
    # One input of weight w, tau_mem = tau_syn = tau: dT/dw = -(kernel at T)/V', V' = du/ds at the spike.
    tau, theta, w = 1.0, 0.3, 2.0
    step = mpf(10) ** -15
    parameters = [_parameters(tau, tau, theta, 0.0, 0.0)]

    def time(weight):
        return first_spike_times([np.array([[weight]], dtype=object)], parameters, [0.0], [0])[0][0]

    with workdps(40):
        difference = (time(w + step) - time(w - step)) / (2 * step)
        t = time(mpf(w))
        kernel = t * mp.exp(-t)
        exact = -kernel / (w * mp.exp(-t) - theta)
        # step^2 T'''/6 is about 1e-30, the rounding of the times 1e-40/1e-15.
        assert abs(difference - exact) <= mpf(10) ** -23


def test_a_touch_is_silent_and_a_hair_more_is_a_spike():
    # tau_mem = 2 tau_syn: u = (w/2) * 2 (y - y^2) with y = exp(-s/2), peak w/4 at s = 2 log 2.
    parameters = [_parameters(2.0, 1.0, 1.0, 0.0, 0.0)]
    ((touch,),) = first_spike_times([np.array([[4.0]])], parameters, [0.0], [0])
    with workdps(50):
        hair = np.array([[4 + mpf(10) ** -30]], dtype=object)
    ((spike,),) = first_spike_times([hair], parameters, [0.0], [0])
    assert isinf(touch)
    # 1 - (2y - 1)^2 = 1/(1 + 2.5e-31): 2y - 1 = 5e-16.
    assert float(spike) == pytest.approx(2.0 * math.log(2.0), abs=3e-15)


def test_first_spike_times_ignores_order_and_infinite_inputs():
    weights, times, sources = _network(7, 1.0, 1.0)
    parameters = [_parameters(1.0, 1.0, 1.0, 0.0, 0.0)] * 2
    plain = first_spike_times(weights, parameters, times, sources)
    shuffled = first_spike_times(weights, parameters, [math.inf, *times[::-1]], [0, *sources[::-1]])
    for a, b in zip(plain, shuffled, strict=True):
        assert all(x == y or abs(x - y) < 1e-38 for x, y in zip(a, b, strict=True))


def test_first_spike_times_leaves_the_global_precision_alone():
    before = mp.dps
    first_spike_times([np.ones((1, 1))], [_parameters(1.0, 1.0, 0.1, 0.0, 0.0)], [0.0], [0])
    assert mp.dps == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lif_parameters": []}, "parameter sets"),
        ({"neurons": [0, 1]}, "neurons"),
        ({"neurons": [1]}, "input neurons"),
        ({"weights": [np.ones(3)]}, "n_pre, n_post"),
        ({"delays": []}, "1 weight matrices but 0 arrays of delays"),
        ({"delays": [np.ones((2, 1))]}, r"delays\[0\] has shape \(2, 1\), which does not fit \(1, 1\)"),
        ({"channels": [([0, 0], [0.0, 0.0])]}, r"weights\[0\] has shape \(1, 1\)"),
        ({"channels": [([-2], [0.0])]}, r"sources of channels\[0\]"),
        ({"weights": [np.ones((1, 2)), np.ones((3, 1))], "lif_parameters": [{}, {}]}, r"weights\[1\]"),
    ],
)
def test_first_spike_times_rejects_what_does_not_fit(change, message):
    arguments = {"weights": [np.ones((1, 1))], "lif_parameters": [{}], "times": [0.0], "neurons": [0]} | change
    with pytest.raises(ValidationError, match=message):
        first_spike_times(**arguments)
