"""The priority-queue engine: what must hold for every network, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn import (
    LIF,
    Dense,
    Network,
    Population,
    Projection,
    Sequential,
    SimulationError,
    Sparse,
    Spikes,
    ValidationError,
    simulate,
)

CELL = LIF(tau_mem=20e-3, tau_syn={"exc": 5e-3, "inh": 10e-3}, t_refrac=2e-3)


def balanced(seed=0, n=60, delay=1.5e-3):
    """A small recurrent network with two receptors, 20 input channels and delays."""
    rng = np.random.default_rng(seed)
    n_exc = 4 * n // 5

    def random(n_pre, n_post, weight):
        return Sparse.random(n_pre, n_post, probability=0.3, weight=weight, rng=rng, delay=delay)

    return Network(
        inputs={"drive": 20},
        populations={"exc": Population(CELL, n_exc), "inh": Population(CELL, n - n_exc)},
        projections=[
            Projection("drive", "exc", random(20, n_exc, 1.2), "exc"),
            Projection("drive", "inh", random(20, n - n_exc, 1.2), "exc"),
            Projection("exc", "exc", random(n_exc, n_exc, 0.15), "exc"),
            Projection("exc", "inh", random(n_exc, n - n_exc, 0.3), "exc"),
            Projection("inh", "exc", random(n - n_exc, n_exc, -0.8), "inh"),
            Projection("inh", "inh", random(n - n_exc, n - n_exc, -0.5), "inh"),
        ],
    )


def drive(seed=1, n_events=600, t_max=0.4, n_samples=1):
    rng = np.random.default_rng(seed)
    return Spikes(
        rng.integers(0, n_samples, n_events), rng.integers(0, 20, n_events), rng.uniform(0, t_max, n_events),
        n_samples=n_samples, n_neurons=20,
    )  # fmt: skip


def run(network, spikes, t_max=0.5, **options):
    return simulate(network, spikes, t_max, progress=False, **options)


def one(weights, neuron, times, channels, t_max=10.0, delay=0.0, **options):
    """A single neuron with one input channel per weight."""
    net = Network(
        {"in": len(weights)}, {"out": Population(neuron, 1)}, [Projection("in", "out", Dense(np.c_[weights], delay))]
    )
    spikes = Spikes(np.zeros(len(times), int), channels, times, n_samples=1, n_neurons=len(weights))
    return run(net, spikes, t_max, engine="queue", **options)


def test_simulate_gives_the_same_bits_for_shuffled_input():
    network, spikes = balanced(), drive(n_events=10_000, t_max=4.0)
    first = run(network, spikes, 4.0)
    assert first.spikes["exc"].n_events > 1000
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(spikes.n_events)
        shuffled = Spikes(spikes.samples[order], spikes.neurons[order], spikes.times[order], n_samples=1, n_neurons=20)
        again = run(network, shuffled, 4.0)
        assert all(again.spikes[name] == first.spikes[name] for name in ("exc", "inh"))


@pytest.mark.parametrize("n_threads", [2, 3])
def test_simulate_network_gives_the_same_bits_for_any_number_of_threads(n_threads):
    network, spikes = balanced(), drive(n_samples=5)
    one_thread, more = run(network, spikes), run(network, spikes, n_threads=n_threads)
    assert all(one_thread.spikes[name] == more.spikes[name] for name in ("exc", "inh"))


def test_simulate_shifted_in_time_shifts_the_spikes():
    network, spikes, shift = balanced(), drive(), 64.0
    later = Spikes(spikes.samples, spikes.neurons, spikes.times + shift, n_samples=1, n_neurons=20)
    here, there = run(network, spikes), run(network, later, 0.5 + shift)
    for name in ("exc", "inh"):
        assert here.spikes[name].neurons.tolist() == there.spikes[name].neurons.tolist()
        # times near 64 are known to 1.4e-14; a few hundred events amplify that
        assert np.allclose(there.spikes[name].times - shift, here.spikes[name].times, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cuts", [[0.2], [0.013, 0.1, 0.1001, 0.37]])
def test_simulate_in_parts_gives_the_same_bits(cuts):
    network, spikes = balanced(), drive(n_samples=2)
    whole = run(network, spikes, resumable=True)
    state, found = None, {"exc": [], "inh": []}
    for start, stop in zip([-1.0, *cuts], [*cuts, 0.5], strict=True):
        mine = (spikes.times > start) & (spikes.times <= stop)
        part = Spikes(spikes.samples[mine], spikes.neurons[mine], spikes.times[mine], n_samples=2, n_neurons=20)
        result = run(network, part, stop, state=state, resumable=True)
        state = result.state
        for name, events in found.items():
            own = result.spikes[name]
            events += zip(own.samples.tolist(), own.times.tolist(), own.neurons.tolist(), strict=True)
    for name, events in found.items():
        own = whole.spikes[name]
        assert sorted(events) == list(zip(own.samples.tolist(), own.times.tolist(), own.neurons.tolist(), strict=True))
    at = np.linspace(cuts[-1] + 1e-3, 0.5, 40)
    for name in found:
        # the start of the last part is a rounded state
        assert np.allclose(result.v(name, at, 1), whole.v(name, at, 1), rtol=0, atol=1e-12)
        assert np.allclose(result.i_syn(name, at, 0), whole.i_syn(name, at, 0), rtol=0, atol=1e-12)


def test_state_may_be_continued_twice():
    network, spikes = balanced(), drive()
    early = spikes.times <= 0.2
    first = run(
        network, Spikes(spikes.samples[early], spikes.neurons[early], spikes.times[early], n_samples=1, n_neurons=20),
        0.2, resumable=True,
    )  # fmt: skip
    again = [run(network, None, 0.5, state=first.state).spikes["exc"] for _ in range(2)]
    assert again[0] == again[1]
    assert again[0].n_events > 0


def test_simulate_does_not_drift():
    """A regular spiker: spike k comes after k periods, also after a million time constants."""
    neuron = LIF(tau_mem=1.0, tau_syn=0.5, v_leak=1.25)
    net = Network({}, {"cell": Population(neuron, 1)}, [])
    period = math.log(1.25 / 0.25)
    times = run(net, None, 1e6).spikes["cell"].times
    assert times.size == int(1e6 / period)
    # 621,335 periods, each with a rounding error of its own; times near 1e6 are known to 1.2e-10
    assert np.allclose(times, period * np.arange(1, times.size + 1), rtol=1e-11, atol=0)


def test_opposite_simultaneous_inputs_cancel_exactly():
    neuron = LIF(tau_mem=2.0, tau_syn=1.0)
    weights = [1.7, 3.3, -3.3]
    plain = one(weights, neuron, [0.1, 0.4, 0.9], [0, 0, 0])
    rng = np.random.default_rng(0)
    extra = rng.uniform(0.0, 2.0, 50)
    cancelled = one(weights, neuron, np.r_[0.1, 0.4, 0.9, extra, extra], np.r_[0, 0, 0, np.full(50, 1), np.full(50, 2)])
    assert plain.spikes["out"].n_events > 0
    assert cancelled.spikes["out"].n_events == plain.spikes["out"].n_events
    # nothing is left of the pairs; more arrivals only move the windows, hence the rounding
    assert np.allclose(cancelled.spikes["out"].times, plain.spikes["out"].times, rtol=1e-14, atol=0)


def test_silent_network_costs_no_time():
    """Two spikes, a million time constants apart: the engine jumps over the silence."""
    result = one([3.0], LIF(tau_mem=1.0, tau_syn=1.0, max_spikes=2), [0.0, 1e6], [0, 0], t_max=2e6)
    first, second = result.spikes["out"].times
    assert first == pytest.approx(0.619061286735945, rel=1e-14)
    assert second - 1e6 == pytest.approx(first, abs=2e-10)  # times near 1e6 are known to 1.2e-10


def test_zero_delay_loop_is_ordered_by_time_population_neuron():
    """a fires b and c over synapses so strong that they follow; ties among equals go by neuron."""
    neuron = LIF(tau_mem=1.0, tau_syn=1.0, t_refrac=5.0)
    net = Network(
        {"in": 1},
        {"b": Population(neuron, 2), "a": Population(neuron, 2)},
        [
            Projection("in", "a", Dense([[3.0, 3.0]])),
            Projection("a", "b", Dense(np.full((2, 2), 3.0))),
            Projection("b", "a", Dense(np.full((2, 2), 3.0))),
        ],
    )
    result = run(net, Spikes([0], [0], [0.0], n_samples=1, n_neurons=1), 4.0)
    a, b = result.spikes["a"], result.spikes["b"]
    assert a.neurons.tolist() == b.neurons.tolist() == [0, 1]
    assert a.times[0] == a.times[1] < b.times[0] == b.times[1]


def test_simulate_stops_a_runaway_and_keeps_the_spikes():
    neuron = LIF(tau_mem=1.0, tau_syn=1.0)
    net = Network(
        {"in": 1},
        {"loop": Population(neuron, 5)},
        [
            Projection("in", "loop", Dense(np.full((1, 5), 5.0))),
            Projection("loop", "loop", Dense(np.full((5, 5), 4.0))),
        ],
    )
    spikes = Spikes([0], [0], [0.0], n_samples=1, n_neurons=1)
    with pytest.raises(SimulationError, match="loop reached max_events=1000 in sample 0 at t = ") as caught:
        run(net, spikes, 100.0, max_events=1000)
    assert caught.value.result.spikes["loop"].n_events == 1000
    partial = caught.value.result.spikes["loop"]
    full = run(net, spikes, float(partial.times[-1])).spikes["loop"]
    assert full.times[:995].tolist() == partial.times[:995].tolist()  # the last ones may share their instant


def test_simulate_t_max_before_the_last_input_ignores_it():
    network, spikes = balanced(), drive()
    short, long = run(network, spikes, 0.2), run(network, spikes)
    for name in ("exc", "inh"):
        early = long.spikes[name].times <= 0.2
        assert short.spikes[name].times.tolist() == long.spikes[name].times[early].tolist()


def test_spike_exactly_at_t_max_is_emitted():
    neuron = LIF(tau_mem=1.0, tau_syn=1.0, max_spikes=1)
    t = one([3.0], neuron, [0.0], [0]).spikes["out"].times[0]
    assert one([3.0], neuron, [0.0], [0], t_max=t).spikes["out"].n_events == 1
    assert one([3.0], neuron, [0.0], [0], t_max=np.nextafter(t, 0)).spikes["out"].n_events == 0


@pytest.mark.parametrize("delay", [0.7, [[0.7]], [[0.3], [0.3]]])
def test_simulate_delays_arrivals(delay):
    neuron = LIF(tau_mem=2.0, tau_syn=1.0)
    weights = [2.0] if np.ndim(delay) == 0 or len(delay) == 1 else [2.0, 1.0]
    channels = [0, 0, len(weights) - 1]
    plain = one(weights, neuron, [0.1, 0.5, 0.6], channels)
    late = one(weights, neuron, [0.1, 0.5, 0.6], channels, delay=np.array(delay))
    d = float(np.ravel(delay)[0])
    assert plain.spikes["out"].n_events > 0
    assert np.allclose(late.spikes["out"].times, plain.spikes["out"].times + d, rtol=1e-14)


def test_initial_state_is_taken():
    neuron = LIF(tau_mem=2.0, tau_syn=1.0)
    net = Network({}, {"cell": Population(neuron, 2)}, [])
    result = run(net, None, 5.0, initial={"cell": {"v": [0.5, 0.0], "i_syn": [4.0, 2.0]}})
    assert np.allclose(result.v("cell", [0.0]), [[0.5, 0.0]])
    assert np.allclose(result.i_syn("cell", [0.0, 1.0]), [[4.0, 2.0], [4 / math.e, 2 / math.e]])
    assert result.spikes["cell"].neurons[0] == 0
    t = result.spikes["cell"].times[0]
    # v = 0.5 e^(-t/2) + 4 k(t), k = e^(-t/2) - e^(-t)
    assert 0.5 * math.exp(-t / 2) + 4 * (math.exp(-t / 2) - math.exp(-t)) == pytest.approx(1.0, rel=1e-13)


def test_layers_and_queue_agree_on_a_chain_with_delays():
    rng = np.random.default_rng(5)
    neuron = LIF(tau_mem=2.0, tau_syn=1.0, t_refrac=0.1)
    net = Sequential(
        [Dense(rng.normal(0.6, 1.0, (20, 30)), delay=0.3), neuron, Dense(rng.normal(0.3, 0.6, (30, 10))), neuron]
    )
    spikes = Spikes(
        rng.integers(0, 3, 120), rng.integers(0, 20, 120), rng.uniform(0, 8, 120), n_samples=3, n_neurons=20
    )
    layers, queue = run(net, spikes, 12.0, engine="layers"), run(net, spikes, 12.0, engine="queue")
    for name in ("hidden", "output"):
        assert layers.spikes[name].n_events > 100
        assert layers.spikes[name].neurons.tolist() == queue.spikes[name].neurons.tolist()
        assert np.allclose(layers.spikes[name].times, queue.spikes[name].times, rtol=1e-12, atol=0)


def test_rates_and_intervals():
    net = Network({}, {"cell": Population(LIF(tau_mem=1.0, tau_syn=0.5, v_leak=1.25), 2)}, [])
    result = run(net, None, 100.0)
    period = math.log(5.0)
    assert np.allclose(result.rates("cell"), int(100 / period) / 100)
    assert all(np.allclose(own, period, rtol=1e-12) for own in result.intervals("cell"))


BAD = [
    (lambda net, s: run(net, {"other": s}), "no input 'other'"),
    (lambda net, s: run(net, s[:0], -1.0), "t_max must be >= 0"),
    (lambda net, s: run(net, Spikes([], [], [], n_samples=1, n_neurons=3)), "has 20 channels, the spikes are for 3"),
    (lambda net, s: run(net, s, engine="fast"), "unknown engine 'fast'"),
    (lambda net, s: run(net, s, engine="layers"), "engine='layers' cannot take exc, inh"),
    (lambda net, s: run(net, s, max_events=0), "max_events must be an integer >= 1"),
    (lambda net, s: run(net, s, initial={"exc": {"v": 1.5}}), "not below its threshold"),
    (lambda net, s: run(net, s, initial={"exc": {"w": 1.5}}), "unknown 'w'"),
    (lambda net, s: run(net, s, initial={"nobody": {}}), "no population 'nobody'"),
    (lambda net, s: run(net, s, initial={"exc": {"i_syn": {"slow": 1.0}}}), "no receptor 'slow'"),
    (lambda net, s: run(net, s, initial={"exc": {"v": [0.1, 0.2]}}), "must be a number or of shape"),
    (lambda net, s: run(net, s, initial=[0.5]), "initial: must be a dict, got list"),
    (lambda net, s: run(net, s, initial={"exc": 0.5}), "'exc'.: must be a dict, got float"),
    (lambda net, s: run(net, s, initial={"exc": {"v": "high"}}), "must hold real numbers"),
    (lambda net, s: run(net, s, state=0.5), "state: must be a Result.state, got float"),
    (lambda net, s: run(net, s).state, "resumable=True"),
    (lambda net, s: run(net, s, 0.6, state=run(net, s, resumable=True).state), "stands at 0.5"),
    (lambda net, s: run(net, None, 0.1, state=run(net, s, resumable=True).state), "the state given stands at 0.5"),
    (lambda net, s: run(balanced(1), None, 0.6, state=run(net, s, resumable=True).state), "another network"),
]


@pytest.mark.parametrize(("attempt", "message"), BAD, ids=[message for _, message in BAD])
def test_simulate_refuses(attempt, message):
    with pytest.raises(ValidationError, match=message):
        attempt(balanced(), drive())


def test_simulate_refuses_what_nothing_drives():
    net = Network({"in": 1}, {"cell": Population(LIF(1.0, 1.0), 1)}, [])
    with pytest.raises(ValidationError, match="nothing drives this network"):
        run(net, None)


def test_simulate_refuses_to_run_for_ever():
    net = Network({}, {"cell": Population(LIF(1.0, 0.5, v_leak=1.25), 1)}, [])
    with pytest.raises(ValidationError, match="'cell' rests above threshold"):
        run(net, None, math.inf)


def test_simulate_names_the_neuron_that_is_not_finite():
    net = Network(
        {"in": 1}, {"cell": Population(LIF(2.0, 1.0), 3)}, [Projection("in", "cell", Sparse([[0.0, 0.0, 1e308]]))]
    )
    spikes = Spikes(np.zeros(9, int), np.zeros(9, int), 0.1 * np.arange(9), n_samples=1, n_neurons=1)
    with pytest.raises(SimulationError, match="'cell', neuron 2: the membrane potential is not finite"):
        run(net, spikes, 5.0, max_events=1000)


def test_neuron_that_rests_at_its_threshold_comes_to_an_end():
    """It never fires by itself, but no bound lies below the threshold either."""
    spikes = one([3.0], LIF(tau_mem=2.0, tau_syn=1.0, v_leak=1.0), [0.1], [0], t_max=math.inf).spikes["out"]
    assert spikes.n_events == 2


def test_time_goes_on_where_it_is_coarse():
    """Near 1e20 two times differ by 16,384 time constants at least."""
    spikes = one([6.0], LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1), [1e20], [0], t_max=math.inf).spikes["out"]
    assert spikes.times.tolist() == [1e20]


BAD_RESULT = [
    (lambda result: result.rates("nobody"), "no population 'nobody'"),
    (lambda result: result.intervals("exc", 7), "sample must lie in 0 .. 0, got 7"),
    (lambda result: result.v("nobody", [0.1]), "no population 'nobody'"),
    (lambda result: result.v("exc", [-0.1]), "finite values >= 0"),
    (lambda result: result.v("exc", [0.1], neurons=[48]), "neurons: entry 0 is 48"),
    (lambda result: result.i_syn("exc", [0.1], receptor="slow"), "has no receptor 'slow'"),
    (lambda result: result.state.v("nobody"), "NetworkState: no population 'nobody'"),
    (lambda result: result.state.i_syn("exc", 3), "NetworkState: sample must lie in 0 .. 0, got 3"),
]


@pytest.mark.parametrize(("attempt", "message"), BAD_RESULT, ids=[message for _, message in BAD_RESULT])
def test_result_refuses(attempt, message):
    with pytest.raises(ValidationError, match=message):
        attempt(run(balanced(), drive(), 0.1, resumable=True))


def test_rates_need_an_end():
    with pytest.raises(ValidationError, match=r"Result\.rates: needs a simulation of finite length"):
        one([3.0], LIF(tau_mem=1.0, tau_syn=1.0), [0.0], [0], t_max=math.inf).rates("out")


def test_inputs_needs_a_single_one():
    net = Network({}, {"cell": Population(LIF(1.0, 0.5, v_leak=1.25), 1)}, [])
    with pytest.raises(ValidationError, match="the network has 0 inputs"):
        _ = run(net, None, 1.0).inputs
