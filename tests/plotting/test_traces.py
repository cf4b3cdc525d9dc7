from __future__ import annotations

import numpy as np
import pytest

from eventsnn import Spikes
from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_traces
from tests.plotting.fake import make_network, simulate

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
        network, inputs, spikes = result.network, result.inputs, result.spikes

        def v(self, name, times, sample=0):
            late = np.asarray(times)[:, None] > result.first_times(name)[sample] + 1e-3
            return np.where(late, 100.0, result.v(name, times, sample))

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
