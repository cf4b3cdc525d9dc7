from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Network, Population, given_spikes
from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_intervals
from eventsnn.simulation import Result
from tests.plotting.fake import make_graph_result


def result_of(trains, t_max):
    network = Network({}, {"cell": Population(LIF(20e-3, 5e-3), len(trains))})
    return Result(network, {"cell": given_spikes(trains)}, t_max)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_plot_intervals_is_a_density_of_all_intervals():
    result = make_graph_result()
    ax = plot_intervals(result, "exc", 1).axes[0]
    values, edges, _ = ax.patches[0].get_data()
    intervals = np.concatenate(result.intervals("exc", 1)) * 1e3
    np.testing.assert_allclose(values, np.histogram(intervals, edges, density=True)[0], rtol=1e-12)
    assert edges[0] == 0.0
    assert edges[-1] == pytest.approx(intervals.max())
    assert f"{intervals.size} intervals, " in ax.get_title(loc="left")
    assert ax.get_xlabel() == "interval [ms]"
    assert ax.get_ylabel() == "density [1/ms]"


def test_plot_intervals_gives_rate_and_variation():
    # neuron 0: intervals 10, 30, 10, 30, 10, 30 ms; neuron 1: five of 40 ms; neuron 2: one of 100 ms, too few for a CV
    trains = [np.cumsum([0, 10, 30, 10, 30, 10, 30]) * 1e-3, np.arange(6) * 40e-3, [0.0, 0.1], []]
    result = result_of(trains, 0.5)
    intervals = np.concatenate(result.intervals("cell"))
    own = np.std([10, 30] * 3, ddof=1) / 20
    lines = legend(plot_intervals(result, "cell"))
    assert "mean rate 7.5 Hz" in lines  # 15 spikes of 4 neurons in half a second
    assert f"CV {intervals.std(ddof=1) / intervals.mean():.2f}, all intervals together" in lines
    assert f"CV {(own + 0.0) / 2:.2f}, mean of 2 neurons" in lines


def test_plot_intervals_of_a_poisson_process_has_a_variation_near_one():
    lines = legend(plot_intervals(make_graph_result(n_exc=2000), "exc"))
    pooled = next(float(text.split()[1].rstrip(",")) for text in lines if "together" in text)
    # A window of 0.2 s at 40 Hz holds 8 spikes: long intervals are cut, so it lies somewhat below 1.
    assert 0.75 < pooled < 1.0


def test_plot_intervals_without_t_max_gives_no_rate():
    assert not any("rate" in text for text in legend(plot_intervals(make_graph_result(np.inf), "exc")))


def test_plot_intervals_says_what_lies_beyond_the_axis():
    trains = [np.arange(400) * 10e-3, [0.0, 3.0]]
    ax = plot_intervals(result_of(trains, 4.0), "cell", unit="s").axes[0]
    assert ax.get_title(loc="left") == "400 intervals, 2 of 2 neurons active; 1 beyond the axis"
    values, edges, _ = ax.patches[0].get_data()
    # the rest of the density lies beyond
    assert np.sum(values * np.diff(edges)) == pytest.approx(399 / 400, rel=1e-12)


def test_plot_intervals_of_an_input_and_of_equal_times():
    assert plot_intervals(make_graph_result(), "drive").get_suptitle() == "drive, sample 0"
    figure = plot_intervals(result_of([[0.1, 0.1, 0.1]], 1.0), "cell")
    assert legend(figure) == ["intervals", "mean rate 3 Hz"]


def test_plot_intervals_without_intervals_says_so():
    figure = plot_intervals(result_of([[0.1], []], 1.0), "cell")
    assert [text.get_text() for text in figure.axes[0].texts] == ["no neuron spiked twice"]
    assert figure.axes[0].get_title(loc="left") == "0 intervals, 1 of 2 neurons active"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "ex"}, "name: no input or population 'ex'; there are 'drive', 'noise', 'exc', 'inh', 'out'"),
        ({"sample": 2}, "sample: .*n_samples=2"),
        ({"unit": "tau_syn"}, "unit: must be 's' or 'ms', got 'tau_syn'"),
    ],
)
def test_plot_intervals_rejects_bad_input(arguments, message):
    with pytest.raises(ValidationError, match=rf"plot_intervals\.{message}"):
        plot_intervals(make_graph_result(), **{"name": "exc", **arguments})
