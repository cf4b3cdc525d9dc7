from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_history


def entry(epoch, train_loss=1.0, train_accuracy=0.9, valid_loss=1.1, valid_accuracy=0.8):
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "valid_loss": valid_loss,
        "valid_accuracy": valid_accuracy,
    }


def curve(ax, name):
    (line,) = [line for line in ax.get_lines() if line.get_label().startswith(name)]
    return line


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_plot_history_draws_loss_and_error_in_percent():
    history = [entry(k, train_loss=2.0 / k, valid_accuracy=1 - 0.25 / k) for k in (1, 2, 3)]
    loss, error = plot_history(history).axes
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")
    assert (error.get_xlabel(), error.get_ylabel()) == ("epoch", "error [%]")
    np.testing.assert_allclose(curve(loss, "train").get_xydata(), [(1, 2), (2, 1), (3, 2 / 3)], rtol=1e-15)
    # 1 - (1 - x) loses up to one ulp of 1
    np.testing.assert_allclose(curve(error, "valid").get_ydata(), [25, 12.5, 25 / 3], rtol=1e-13)


def test_plot_history_names_last_and_best():
    history = [entry(1, valid_loss=3.0), entry(2, valid_loss=1.5), entry(3, valid_loss=2.0)]
    loss, error = plot_history(history).axes
    assert legend(loss)[1] == "valid: last 2, best 1.5 (epoch 2)"
    assert legend(error)[0] == "train: last 10.00 %, best 10.00 % (epoch 1)"


def test_plot_history_leaves_gaps_for_none_and_nan():
    history = [entry(1), entry(2, train_loss=None), entry(3, train_loss=float("nan")), entry(4, train_loss=0.5)]
    loss, _ = plot_history(history).axes
    np.testing.assert_array_equal(curve(loss, "train").get_ydata(), [1.0, np.nan, np.nan, 0.5])
    assert legend(loss)[0] == "train: last 0.5, best 0.5 (epoch 4)"


def test_plot_history_without_validation_has_one_curve():
    loss, error = plot_history([{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5}]).axes
    assert len(loss.get_lines()) == len(error.get_lines()) == 1


def test_plot_history_without_any_number_says_so():
    loss, error = plot_history([{"epoch": 1, "train_loss": None}]).axes
    assert [ax.texts[0].get_text() for ax in (loss, error)] == ["no finite loss", "no finite error"]


@pytest.mark.parametrize(("last", "scale"), [(0.1, "log"), (0.9, "linear"), (0.0, "linear"), (-0.1, "linear")])
def test_plot_history_is_logarithmic_only_where_sensible(last, scale):
    loss, _ = plot_history([entry(1, valid_loss=None), entry(2, train_loss=last, valid_loss=None)]).axes
    assert loss.get_yscale() == scale


def test_plot_history_of_one_epoch_shows_markers_at_an_integer():
    loss, _ = plot_history([entry(7)]).axes
    assert curve(loss, "train").get_marker() == "o"
    low, high = loss.get_xlim()
    assert [t for t in loss.get_xticks() if low <= t <= high] == [7]


def test_plot_history_shows_a_lone_value_of_a_long_history():
    history = [entry(k, valid_loss=None) for k in range(1, 100)]
    history[50]["valid_loss"] = 0.5
    loss, _ = plot_history(history).axes
    assert curve(loss, "train").get_marker() == ""
    assert curve(loss, "valid").get_marker() == "o"


def test_plot_history_takes_dataclasses():
    @dataclass
    class Metrics:
        epoch: int
        train_loss: float

    loss, _ = plot_history([Metrics(1, 0.25), Metrics(2, 0.125)], title="run").axes
    np.testing.assert_array_equal(curve(loss, "train").get_ydata(), [0.25, 0.125])
    assert loss.figure.get_suptitle() == "run"


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "at least one epoch"),
        ([{"train_loss": 1.0}], r"history\[0\].epoch"),
        ([entry(1), entry(2, train_loss="low")], r"history\[1\].train_loss: .*'low'"),
        ([entry(1, valid_accuracy=97.0)], r"history\[0\].valid_accuracy: .*0 \.\. 1.*97"),
        ([entry(1), 3.0], r"history\[1\]: .*float"),
    ],
)
def test_plot_history_rejects_bad_input(history, message):
    with pytest.raises(ValidationError, match=message):
        plot_history(history)
