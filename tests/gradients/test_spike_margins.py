"""`margins`: peaks and slopes against sampling in high precision, special cases in closed form, and the table."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LI, LIF, Dense, Network, Population, Projection, Sequential, Spikes, ValidationError, simulate
from eventsnn.gradients.spike_margins import PLACES, margins
from tests.gradients.test_eventprop_adjoint import draw_case
from tests.reference.margins_mpmath import peaks_of
from tests.reference.network_mpmath import simulate_reference
from tests.reference.random_networks import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_margins_agree_with_dense_sampling(kind):
    rng = np.random.default_rng([KINDS.index(kind), 31])
    case = draw_case(rng, kind)
    found, outcome = margins(case.result), simulate_reference(case.spec)
    for name, own in peaks_of(case.spec, outcome).items():
        unit = float(np.max(np.abs(case.network.populations[name].neuron.v_threshold)))
        for n, (peak, time, place) in enumerate(own):
            where = f"{kind}: {name} {n}: {place} at {time}"
            if place == "none":
                assert found.peak[name][0, n] == -np.inf, where
                assert np.isnan(found.peak_time[name][0, n]), where
                continue
            # spike times and states carry some tens of roundings; a peak changes with the square of an error in time
            assert abs(found.peak[name][0, n] - float(peak)) <= 1e-10 * unit, where
            assert PLACES[found.peak_place[name][0, n]] == place, where
            assert abs(found.peak_time[name][0, n] - float(time)) <= 1e-7 * case.spec["t_max"], where
        # a slope is a difference of terms of the size of the threshold over tau_mem
        slopes = np.array([float(slope) for slope, _ in outcome.slopes[name]])
        assert found.spike_slopes[name] == pytest.approx(slopes, rel=1e-8)
        spikes = case.result.spikes[name]
        for n in range(spikes.n_neurons):
            mine = np.flatnonzero(spikes.neurons == n)
            assert found.slope[name][0, n] == found.spike_slopes[name][mine].min(initial=np.inf)
            which = found.slope_spike[name][0, n]
            assert which == (mine[found.spike_slopes[name][mine].argmin()] if mine.size else -1)


def single(weights, times, t_max=np.inf, **changes):
    """Margins of one neuron with one input neuron per weight, each of one spike; tau_mem = 2, tau_syn = 1."""
    parameters = {"tau_mem": 2.0, "tau_syn": 1.0, **changes}
    network = Sequential([Dense(np.array(weights)[:, None]), LIF(**parameters)])
    n = len(weights)
    result = simulate(network, Spikes([0] * n, np.arange(n), times, n_samples=1, n_neurons=n), t_max)
    found = margins(result)
    peak, time, place = (own["output"][0, 0] for own in (found.peak, found.peak_time, found.peak_place))
    return peak, time, PLACES[place], found, result


def test_every_place_of_a_peak_is_found():
    # w (e^(-s/2) - e^(-s)) is highest at s = 2 log 2
    assert single([3.0], [0.5])[:3] == (pytest.approx(0.75, rel=1e-15), pytest.approx(0.5 + 2 * np.log(2.0)), "inside")
    cut = 3.0 * (np.exp(-0.2) - np.exp(-0.4))
    peak, time, place, found, _ = single([3.0, -9.0], [0.5, 0.9])
    assert (peak, time, place) == (pytest.approx(cut, rel=1e-14), 0.9, "arrival")
    rise = 3.0 * (np.exp(-0.4) - np.exp(-0.2) / 2.0)
    assert found.peak_slope["output"][0, 0] == pytest.approx(rise, rel=1e-14)
    assert single([3.0], [0.5], 0.9)[:3] == (pytest.approx(cut, rel=1e-14), 0.9, "end")
    assert single([-1.0], [0.5], 9.0)[:3] == (0.0, 0.0, "start")
    # fires, is held at 0.4, and falls from there
    peak, time, place, _, result = single([5.0], [0.0], v_reset=0.4, t_refrac=30.0)
    assert (peak, time, place) == (0.4, result.spikes["output"].times[0] + 30.0, "release")


def test_a_potential_that_comes_up_to_rest_for_ever_has_its_peak_there():
    peak, time, place, found, _ = single([0.0], [0.0], i_bias=0.75)
    assert (peak, time, place) == (0.75, np.inf, "end")
    assert found.relative_gain["output"][0, 0] == 1.0
    peak, time, place, _, _ = single([0.0], [0.0], 3.0, i_bias=0.75)
    assert (peak, time, place) == (pytest.approx(0.75 * (1.0 - np.exp(-1.5)), rel=1e-14), 3.0, "end")
    # so long that every exponential has gone to 0
    assert single([-5.0, -1.0], [0.5, 1e5], 1e6, i_bias=0.75, v_leak=-0.5)[0] == pytest.approx(0.25, rel=1e-14)


def test_a_neuron_that_only_rises_to_its_spikes_or_is_done_has_no_peak():
    peak, time, place, found, result = single([0.0], [0.0], 9.0, i_bias=2.0, max_spikes=3, t_refrac=0.1)
    assert result.spikes["output"].n_events == 3
    assert (peak, place, found.gain["output"][0, 0]) == (-np.inf, "none", np.inf)
    assert np.isnan(time)
    # v' = (2 - 1)/tau_mem at every threshold
    assert found.spike_slopes["output"] == pytest.approx([0.5] * 3, rel=1e-13)
    assert found.slope_spike["output"][0, 0] in (0, 1, 2)
    assert single([0.0], [0.0], 9.0, i_bias=2.0)[2] == "end"  # on its way to the next


def test_a_sum_of_many_exponentials_has_all_its_peaks_looked_at():
    # two peaks in one interval: fast excitation, slower inhibition, slow excitation
    tau_syn = {"a": 0.2, "b": 1.0, "c": 6.0}
    for i, later in (((20.0, -7.0, 2.0), False), ((7.0, -8.0, 3.4), True)):
        network = Network(
            {"in": 1},
            {"cell": Population(LIF(tau_mem=0.5, tau_syn=tau_syn, v_threshold=9.0), 1)},
            [Projection("in", "cell", Dense([[w]]), r) for w, r in zip(i, tau_syn, strict=True)],
        )
        result = simulate(network, Spikes([0], [0], [0.0], n_samples=1, n_neurons=1), 40.0)
        found = margins(result)
        times = np.linspace(0.0, 40.0, 400001)
        v = result.v("cell", times)[:, 0]
        peaks = np.flatnonzero((v[1:-1] > v[:-2]) & (v[1:-1] >= v[2:])) + 1
        assert peaks.size == 2
        best = peaks[v[peaks].argmax()]
        assert (best == peaks[1]) == later
        # between points of the grid, 1e-4 apart, v is higher by less than 1e-8 v''/8
        assert 0.0 <= found.peak["cell"][0, 0] - v[best] < 1e-7
        assert abs(found.peak_time["cell"][0, 0] - times[best]) < 2e-4


def test_a_silent_neuron_fires_where_its_threshold_sinks_below_the_peak():
    rng = np.random.default_rng(33)
    tau_syn = {"fast": 3.0, "slow": 9.0, "late": 30.0}
    n = 30
    spikes = Spikes([0] * 12, rng.integers(0, 4, 12), rng.uniform(0.0, 40.0, 12), n_samples=1, n_neurons=4)
    projections = [
        Projection("in", "cells", Dense(rng.normal(0.2, 1.0, (4, n)), rng.uniform(0, 9.0)), r) for r in tau_syn
    ]
    tau_mem = rng.uniform(5.0, 30.0, n)

    def run(v_threshold):
        cells = Population(LIF(tau_mem=tau_mem, tau_syn=tau_syn, v_threshold=v_threshold), n)
        return simulate(Network({"in": 4}, {"cells": cells}, projections), spikes, 80.0)

    silent = run(np.full(n, 100.0))
    peak = margins(silent).peak["cells"][0]
    assert silent.spikes["cells"].n_events == 0
    fires = peak > 0.0  # the others only sink from rest
    assert fires.sum() > 10
    # 1e-13 is what rounding of v leaves of the threshold
    below = run(np.where(fires, peak * (1.0 - 1e-13), 100.0)).spikes["cells"].counts()[0]
    above = run(np.where(fires, peak * (1.0 + 1e-13), 100.0)).spikes["cells"].counts()[0]
    assert (below[fires] >= 1).all()
    assert not above.any()


def test_samples_threads_and_runs_in_parts_agree():
    rng = np.random.default_rng(32)
    network = Network(
        {"drive": 3},
        {"cells": Population(LIF(tau_mem=20.0, tau_syn=5.0, t_refrac=2.0), 4)},
        [
            Projection("drive", "cells", Dense(rng.uniform(2.0, 5.0, (3, 4)))),
            Projection("cells", "cells", Dense(rng.normal(0.0, 1.0, (4, 4)), delay=2.0)),
        ],
    )
    samples = np.repeat(np.arange(5), 8)
    spikes = Spikes(samples, rng.integers(0, 3, 40), rng.uniform(0, 40.0, 40), n_samples=5, n_neurons=3)
    whole = simulate(network, spikes, 60.0, resumable=True)
    found, threaded = margins(whole), margins(whole, n_threads=2)
    assert list(found.gain) == ["cells"]
    for b in range(5):
        alone = margins(simulate(network, spikes[b], 60.0), ["cells"])
        for what in ("peak", "peak_time", "peak_place", "gain", "slope"):
            assert np.array_equal(getattr(found, what)["cells"][b], getattr(alone, what)["cells"][0]), what
            assert np.array_equal(getattr(found, what)["cells"], getattr(threaded, what)["cells"]), what
    assert np.array_equal(found.slope_spike["cells"], threaded.slope_spike["cells"])
    first = simulate(network, spikes, 25.0, resumable=True)
    late = spikes.times > 25.0
    rest = Spikes(spikes.samples[late], spikes.neurons[late], spikes.times[late], n_samples=5, n_neurons=3)
    second = margins(simulate(network, rest, 60.0, state=first.state))
    # the cut is no peak, unless v rises there
    both = np.maximum(np.where(margins(first).peak_place["cells"] == PLACES.index("end"), -np.inf,
                               margins(first).peak["cells"]), second.peak["cells"])  # fmt: skip
    inside = second.peak_place["cells"] != PLACES.index("start")
    assert inside.any()
    assert np.abs(both - found.peak["cells"])[inside].max() < 1e-12
    least = np.minimum(margins(first).slope["cells"], second.slope["cells"])
    assert least == pytest.approx(found.slope["cells"], rel=1e-10)


def test_the_table_names_the_closest_neurons():
    network = Sequential([Dense([[3.0, 5.0, 3.9996]]), LIF(tau_mem=2.0, tau_syn=1.0)])
    found = margins(simulate(network, Spikes([1], [0], [0.5], n_samples=2, n_neurons=1)))
    text = str(found)
    assert "closest to gaining a spike: population 'output', neuron 2, sample 1, t = 1.88629: 0.0001 of" in text
    assert "closest to losing a spike: population 'output', neuron 1, sample 1, t = 1.14701: 1.62 of" in text
    assert "none" in str(margins(simulate(network, Spikes([], [], [], n_samples=1, n_neurons=1))))
    assert repr(found) == "Margins(output (2, 3); print it for a table)"


def test_wrong_arguments_are_named():
    network = Sequential([Dense([[3.0]]), LIF(2.0, 1.0, max_spikes=1), Dense([[1.0]]), LI(2.0, 1.0)])
    spikes = Spikes([0], [0], [0.5], n_samples=1, n_neurons=1)
    result = simulate(network, spikes, 5.0)
    first, last = result._graph.populations
    for arguments, message in [
        (("result",), "expected the Result of simulate, got str"),
        ((result, ["nobody"]), "no population 'nobody'"),
        ((result, [last]), "cannot spike"),
        ((result, first), "must be a list of names"),
    ]:
        with pytest.raises(ValidationError, match=message):
            margins(*arguments)
    graph = Network(
        {"in": 1}, {"cell": Population(LIF(2.0, 1.0, max_spikes=1), 1)}, [Projection("in", "cell", Dense([[3.0]]))]
    )
    state = simulate(graph, spikes, 1.0, resumable=True).state
    with pytest.raises(ValidationError, match="continued at t = 1.* max_spikes is not on record"):
        margins(simulate(graph, Spikes([], [], [], n_samples=1, n_neurons=1), 5.0, state=state))
