from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Dense, Network, Population, Sequential, Spikes, given_spikes
from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_traces
from eventsnn.simulation import Result
from tests.plotting.fake import make_graph_result, make_network, simulate

TAU_SYN = 5e-3


@pytest.fixture
def result():
    network = make_network([5, 40, 3], mean=[1.5, 0.3], std=[1.0, 0.8])
    times = np.random.default_rng(1).uniform(1e-3, 10e-3, size=(3, 5))
    return simulate(network, Spikes.from_first_times(times))


def line(ax, label):
    found = [line for line in ax.get_lines() if line.get_label() == label]
    return found[0].get_xydata() if found else np.empty((0, 2))


def test_plot_traces_marks_every_spike_on_the_threshold(result):
    figure = plot_traces(result, "hidden", 2, neurons=np.arange(40))
    first = result.first_times("hidden")[2]
    assert len(figure.axes) == 40
    assert 0 < np.isfinite(first).sum() < 40  # both kinds are in the picture
    for ax, time in zip(figure.axes, first, strict=True):
        if np.isfinite(time):
            np.testing.assert_array_equal(line(ax, "spike"), [(time / TAU_SYN, 1.0)])
        else:
            assert len(line(ax, "spike")) == 0
            assert "silent" in ax.get_title(loc="left")


def test_plot_traces_shows_the_voltage_of_the_result(result):
    ax = plot_traces(result, "output", 1, neurons=[2]).axes[0]
    x, v = np.concatenate((line(ax, "v"), line(ax, "v, no spikes left"))).T
    # Times went through a division and back: an ulp of time times the slope, far below the kinks of the voltage;
    # at the spike itself that ulp decides between threshold and reset, so the two points there are left out.
    away = np.abs(x * TAU_SYN - result.first_times("output")[1, 2]) > 1e-9
    expected = result.v("output", x[away] * TAU_SYN, 1)[:, 2]
    np.testing.assert_allclose(v[away], expected, atol=1e-9)


def test_plot_traces_reaches_threshold_and_reset_at_the_spike(result):
    neuron = int(np.flatnonzero(np.isfinite(result.first_times("output")[0]))[0])
    ax = plot_traces(result, "output", 0, neurons=[neuron]).axes[0]
    solid = line(ax, "v")
    # The last two points lie one ulp before and behind the spike; the quadratic's root is good to about 1e-12.
    assert solid[-2, 1] == pytest.approx(1.0, abs=1e-9)
    assert solid[-1, 1] == 0.0
    assert solid[:, 1].max() <= 1.0 + 1e-9


def test_plot_traces_samples_every_arrival_from_both_sides(result):
    ax = plot_traces(result, "hidden", 0, neurons=[0]).axes[0]
    x = np.concatenate((line(ax, "v"), line(ax, "v, no spikes left")))[:, 0] * TAU_SYN
    for time in result.first_times("input")[0]:
        near = x[np.abs(x - time) < 1e-12]  # far below the spacing of the grid, 2e-5
        assert near.size >= 2
        assert near.min() <= time <= near.max()


def test_plot_traces_scales_to_the_part_that_decides(result):
    neuron = int(np.flatnonzero(np.isfinite(result.first_times("output")[0]))[0])

    class Drifting:
        network, spikes, n_samples = result.network, result.spikes, result.n_samples
        t_start, t_max = result.t_start, result.t_max

        def v(self, name, times, sample, neurons):
            late = np.asarray(times)[:, None] > result.first_times(name)[sample, neurons] + 1e-3
            return np.where(late, 100.0, result.v(name, times, sample, neurons))

    ax = plot_traces(Drifting(), "output", 0, neurons=[neuron]).axes[0]
    assert line(ax, "v, no spikes left")[:, 1].max() == 100.0
    assert line(ax, "v")[:, 1].max() < 2.0
    assert 1.0 < ax.get_ylim()[1] < 2.0


def test_plot_traces_labels_axes_and_neurons(result):
    figure = plot_traces(result, "output", 0, neuron_names=["a", "b", "c"], unit="ms")
    assert figure.axes[-1].get_xlabel() == "time [ms]"
    assert figure.get_supylabel() == "v (unit of v_threshold)"
    assert [ax.get_title(loc="left")[:2] for ax in figure.axes] == ["a:", "b:", "c:"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"v", "v_threshold", "spike", "spike of hidden"} <= set(legend)


def test_plot_traces_chooses_six_of_many_evenly(result):
    titles = [ax.get_title(loc="left") for ax in plot_traces(result, "hidden").axes]
    assert [int(title.split(":")[0].split()[1]) for title in titles] == [0, 8, 16, 23, 31, 39]


def test_plot_traces_of_a_sample_without_spikes():
    network = make_network([2, 1, 1])
    figure = plot_traces(simulate(network, Spikes([], [], [], n_samples=1, n_neurons=2)), "output")
    figure.canvas.draw()
    assert np.all(line(figure.axes[0], "v")[:, 1] == 0.0)
    assert figure.axes[0].get_title(loc="left") == "neuron 0: silent"


def test_plot_traces_keeps_marks_inside_t_end(result):
    t_end = 4e-3
    for ax in plot_traces(result, "output", 0, t_end=t_end).axes:
        for drawn in ax.get_lines():
            if drawn.get_label() != "v_threshold":  # an infinite line
                # one ulp beyond the end is where the last event is looked at from behind
                assert drawn.get_xdata().max(initial=0.0) <= t_end / TAU_SYN * (1 + 1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "hiden"}, "name: no population 'hiden'; there are 'hidden', 'output'"),
        ({"name": "input"}, "name: no population 'input'"),
        ({"sample": 3}, r"sample: .*0 \.\. 2"),
        ({"neurons": [3]}, "neurons: entry 0 is 3"),
        ({"neurons": []}, "neurons: needs at least one"),
        ({"neuron_names": ["a"]}, "neuron_names: 3 names"),
        ({"t_end": 0.0}, "t_end: must be finite and > 0, got 0.0"),
        ({"t_end": np.inf}, "t_end: must be finite"),
    ],
)
def test_plot_traces_rejects_bad_input(result, arguments, message):
    with pytest.raises(ValidationError, match=message):
        plot_traces(result, **{"name": "output", **arguments})


# -- networks -----------------------------------------------------------------------------------------------------


def test_plot_traces_of_a_network_shows_the_chosen_neurons_only(monkeypatch):
    result = make_graph_result(n_exc=500)
    asked = []

    def v(name, times, sample=0, neurons=None):
        asked.append(np.asarray(neurons).tolist())
        return type(result).v(result, name, times, sample, neurons)

    monkeypatch.setattr(result, "v", v)
    ax = plot_traces(result, "exc", 1, neurons=[400, 7]).axes[0]
    assert asked == [[400, 7]]
    own = result.spikes["exc"][1]
    np.testing.assert_array_equal(line(ax, "spike")[:, 0], own.times[own.neurons == 400] / 1e-3)
    x, drawn = line(ax, "v").T
    away = np.abs(x[:, None] * 1e-3 - own.times[own.neurons == 400]).min(axis=1) > 1e-9
    # as in the test of a chain above: an ulp of time times the slope
    np.testing.assert_allclose(drawn[away], result.v("exc", x[away] * 1e-3, 1, [400])[:, 0], atol=1e-9)


def test_plot_traces_marks_arrivals_by_source_with_their_delays():
    result = make_graph_result()
    figure = plot_traces(result, "exc", 0, neurons=[3, 11])
    drive, inh, exc = (result.spikes[name][0] for name in ("drive", "inh", "exc"))
    within = inh.times + 5e-3 <= 0.2
    recurrent = result.network.projections[1].connection
    for ax, neuron in zip(figure.axes, (3, 11), strict=True):
        sources = np.flatnonzero(recurrent.to_scipy()[:, [neuron]].toarray())
        assert sources.size == 3
        expected = {
            "spike of drive (ampa)": drive.times,
            "spike of exc (ampa)": exc.times[np.isin(exc.neurons, sources)],
            "arrival from inh (gaba)": (inh.times + 5e-3)[within],
        }
        for kind, times in expected.items():
            np.testing.assert_array_equal(line(ax, kind)[:, 0], times / 1e-3)
        n_arrivals = sum(times.size for times in expected.values())
        assert ax.get_title(loc="left").endswith(f"spikes, {n_arrivals} arrivals")
    assert set(expected) <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_plot_traces_counts_arrivals_that_it_cannot_mark():
    result = make_graph_result(rate=2000.0)
    ax = plot_traces(result, "exc", 0, neurons=[0]).axes[0]
    assert len(line(ax, "spike of drive (ampa)")) == 0
    assert ax.get_title(loc="left").endswith("arrivals (not all marked)")


def test_plot_traces_shows_where_the_refractory_time_ends():
    result = make_graph_result()
    ax = plot_traces(result, "exc", 0, neurons=[2]).axes[0]
    own = result.spikes["exc"][0]
    x = line(ax, "v")[:, 0] * 1e-3
    for end in own.times[own.neurons == 2] + 2e-3:
        assert np.abs(x - end).min() < 1e-12 or end > 0.2


def test_plot_traces_of_a_network_ends_at_t_max_or_as_asked():
    result = make_graph_result()
    assert plot_traces(result, "out").axes[0].get_xlim() == (0.0, pytest.approx(200.0))
    assert plot_traces(result, "out").get_suptitle() == "out, sample 0"
    assert plot_traces(make_graph_result(n_samples=1), "out").get_suptitle() == "out"
    figure = plot_traces(result, "exc", neurons=[0], t_start=0.05, t_end=0.06)
    assert figure.axes[0].get_xlim() == pytest.approx((50.0, 60.0))
    own = result.spikes["exc"][0].times[result.spikes["exc"][0].neurons == 0]
    assert len(line(figure.axes[0], "spike")) == np.sum((own >= 0.05) & (own <= 0.06))


def test_plot_traces_without_t_max_ends_after_the_last_arrival():
    chain = Sequential([Dense([[0.1]], delay=50e-3), LIF(20e-3, 5e-3)]).as_network()
    empty = Spikes([], [], [], n_samples=1, n_neurons=1)
    result = Result(chain, {"input": given_spikes([[1e-3]]), "output": empty}, np.inf)
    ax = plot_traces(result, "output").axes[0]
    assert ax.get_xlim()[1] == pytest.approx(51.0 + 10.0)  # half a tau_mem more
    assert line(ax, "arrival from input")[:, 0] == pytest.approx([51.0])


def test_plot_traces_takes_a_neuron_twice_and_a_population_without_projections():
    result = make_graph_result()
    one, other = plot_traces(result, "exc", neurons=[5, 5]).axes
    np.testing.assert_array_equal(line(one, "spike of exc (ampa)"), line(other, "spike of exc (ampa)"))
    alone = Network({}, {"cell": Population(LIF(20e-3, 5e-3, v_leak=2.0), 1)})
    figure = plot_traces(Result(alone, {"cell": given_spikes([[0.01]])}, 0.02), "cell")
    assert figure.axes[0].get_title(loc="left") == "neuron 0: t = 10 ms, 0 arrivals"


def test_plot_traces_of_a_network_rejects_an_input_and_a_time_before_the_start():
    with pytest.raises(ValidationError, match="name: no population 'drive'; there are 'exc', 'inh', 'out'"):
        plot_traces(make_graph_result(), "drive")
    with pytest.raises(ValidationError, match="t_start: must be a finite number and >= 0"):
        plot_traces(make_graph_result(), "exc", t_start=-1.0)
