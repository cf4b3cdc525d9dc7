from __future__ import annotations

import numpy as np
import pytest

from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_spike_time_histograms, plot_time_differences

INF = np.inf
RNG = np.random.default_rng(0)


def shares(ax):
    """What every kind of the axes adds up to, in percent."""
    return {patch.get_label().split("\n")[0]: patch.get_data().values.sum() for patch in ax.patches}


def test_plot_spike_time_histograms_add_up_to_what_fires():
    hidden, output = RNG.uniform(1.0, 2.0, (8, 5)), RNG.uniform(2.0, 3.0, (8, 2))
    labels = np.array([0, 1] * 4)
    predictions = labels.copy()
    predictions[:2] = 1 - labels[:2]
    hidden[0, :4] = INF  # of the ten pairs of wrong samples four are silent
    output[7, labels[7]] = INF  # of six right samples one neuron of the class is silent
    top, bottom = plot_spike_time_histograms({"hidden": hidden, "output": output}, labels, predictions, 2.0).axes
    assert shares(top) == pytest.approx({"samples right": 100.0, "samples wrong": 60.0})
    assert shares(bottom) == pytest.approx(
        {
            "other neurons": 100.0,
            "neuron of the class, sample right": 500 / 6,
            "neuron of the class, sample wrong": 100.0,
        }
    )
    assert top.get_title(loc="left") == "hidden: 90.0 % of neurons and samples fire"
    assert bottom.get_xlabel().startswith("first spike")
    low, high = bottom.get_xlim()
    assert low == pytest.approx(hidden.min() / 2)  # in units of tau_syn
    assert high == pytest.approx(output[np.isfinite(output)].max() / 2)


def test_plot_spike_time_histograms_put_spikes_into_their_bins():
    times = np.array([[1.0, 3.0], [1.0, 2.0]])
    (ax,) = plot_spike_time_histograms({"output": times}, [0, 0]).axes
    (right,) = [patch.get_data() for patch in ax.patches if patch.get_label().startswith("neuron of the class")]
    assert np.flatnonzero(right.values).tolist() == [0]
    (others,) = [patch.get_data() for patch in ax.patches if patch.get_label().startswith("other")]
    assert np.flatnonzero(others.values).tolist() == [40, 79]
    assert others.edges[[40, -1]] == pytest.approx([2.0, 3.0])


def test_plot_spike_time_histograms_count_what_lies_beyond():
    times = np.concatenate((RNG.uniform(1.0, 2.0, 999), [1000.0]))[:, None]
    (ax,) = plot_spike_time_histograms({"output": times}, np.zeros(1000, int)).axes
    assert ax.get_title(loc="left").endswith("fire; 1 spikes beyond the axis")
    assert ax.get_xlim()[1] < 2.0


def test_plot_spike_time_histograms_of_silence():
    (ax,) = plot_spike_time_histograms({"output": np.full((2, 2), INF)}, [0, 1]).axes
    assert [text.get_text() for text in ax.texts] == ["no spikes"]


@pytest.mark.parametrize(
    ("times", "labels", "predictions", "message"),
    [
        ({}, [0], None, "needs at least one layer"),
        ({"a": [[1.0]]}, [0, 0], None, "2 labels but 1 samples of a"),
        ({"a": [[1.0]]}, [0], [0, 0], "1 labels but 2 samples of predictions"),
        ({"a": [[1.0]]}, [1], None, r"labels: entry 0 is 1, must lie in 0 \.\. 0"),
        ({"a": [[-1.0]]}, [0], None, r"first_times\['a'\]: sample 0, neuron 0 is -1.0"),
        ({"a": np.ones((0, 2))}, np.empty(0, int), None, "labels: needs at least one sample"),
    ],
)
def test_plot_spike_time_histograms_reject_bad_input(times, labels, predictions, message):
    with pytest.raises(ValidationError, match=message):
        plot_spike_time_histograms(times, labels, predictions)


TIMES = np.array([[1.0, 3.0, 4.0], [1.0, 1.5, INF], [INF, 2.0, 2.5], [INF, INF, 2.0], [INF, 1.0, INF], [INF] * 3])
LABELS = [0, 1, 0, 2, 0, 0]  # leads: 2, -0.5, -inf, inf, -inf, none fires


def test_plot_time_differences_counts_by_the_lead_of_the_right_output():
    bars, _ = plot_time_differences(TIMES, LABELS, 2.0).axes
    right, wrong = (patch.get_data() for patch in bars.patches[:2])
    assert right.edges[np.flatnonzero(right.values)] <= 1.0 < right.edges[np.flatnonzero(right.values) + 1] + 1e-9
    assert wrong.values.sum() == right.values.sum() == 1
    assert wrong.edges[np.flatnonzero(wrong.values)] == pytest.approx(-0.25)
    assert np.isclose(right.edges, 0.0).any()  # no bar mixes right and wrong
    texts = [text.get_text() for text in bars.texts]
    assert texts == ["only wrong\noutputs\n2", "only the\nright one\n1"]
    assert [text.get_text() for text in bars.get_legend().get_texts()] == ["right: 2", "wrong: 4", "no output fires: 1"]


def test_plot_time_differences_cumulates_the_gap_to_the_second_output():
    _, curves = plot_time_differences(TIMES, LABELS).axes
    right, wrong = curves.get_lines()
    # Of two right samples one has a second output, 2 later; of three wrong ones with an output two, both 0.5 later.
    np.testing.assert_allclose(right.get_xydata()[-2:], [(2.0, 50.0), (2.0, 50.0)])
    np.testing.assert_allclose(wrong.get_xydata(), [(0, 0), (0.5, 100 / 3), (0.5, 200 / 3), (2.0, 200 / 3)])
    assert right.get_label() == "right: most fire alone"
    assert wrong.get_label().startswith("wrong: median 0.5 ")


@pytest.mark.parametrize("times", [np.full((2, 2), INF), [[1.0, INF], [INF, 1.0]], [[1.0, 1.0], [2.0, 2.0]]])
def test_plot_time_differences_of_extremes(times):
    assert len(plot_time_differences(times, [0, 1]).axes) == 2


@pytest.mark.parametrize(
    ("times", "labels", "message"),
    [
        ([[1.0]], [0], "needs at least two classes, got 1"),
        ([[1.0, 2.0]], [0, 1], "first_times has 1 samples but there are 2 labels"),
        ([[1.0, 2.0]], [2], "labels: entry 0 is 2"),
        (np.ones((0, 2)), np.empty(0, int), "labels: needs at least one sample"),
    ],
)
def test_plot_time_differences_rejects_bad_input(times, labels, message):
    with pytest.raises(ValidationError, match=message):
        plot_time_differences(times, labels)
