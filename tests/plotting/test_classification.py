from __future__ import annotations

import numpy as np
import pytest

from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_confusion_matrix


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_plot_confusion_matrix_counts_and_shares():
    ax = (figure := plot_confusion_matrix([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], ["a", "b"])).axes[0]
    assert texts(figure) == ["3\n75.0 %", "1\n25.0 %", "0", "1\n100.0 %"]
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0.75, 0.25], [0.0, 1.0]])
    assert ax.get_title() == "accuracy 80.00 % (4 of 5)"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == ["a", "b"]
    assert figure.axes[1].get_ylabel() == "share of the true class [%]"


def test_plot_confusion_matrix_has_a_column_for_no_spike():
    ax = plot_confusion_matrix([0, 1, 1], [-1, 1, -1], ["a", "b"]).axes[0]
    assert ticks(ax.xaxis) == ["a", "b", "no spike"]
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0, 0, 1], [0, 0.5, 0.5]])
    assert ax.get_title() == "accuracy 33.33 % (1 of 3)"


def test_plot_confusion_matrix_with_a_missing_class_is_finite():
    ax = plot_confusion_matrix([0, 2], [0, 0], ["a", "b", "c"], title="run").axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), [[1, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert ax.get_title().startswith("run\n")


def test_plot_confusion_matrix_names_classes_by_number():
    assert ticks(plot_confusion_matrix([0, 3], [0, 1]).axes[0].yaxis) == ["0", "1", "2", "3"]


def test_plot_confusion_matrix_of_many_classes_leaves_the_numbers_out():
    labels = np.arange(40)
    assert texts(plot_confusion_matrix(labels, labels)) == []


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([], [], "at least one sample"),
        ([0, 1], [0], "2 labels but 1 predictions"),
        ([0, 2], [0, 0], r"labels: entry 1 is 2, must lie in 0 \.\. 1"),
        ([0, -1], [0, 0], r"labels: entry 1 is -1"),
        ([0, 1], [0, -2], r"predictions: entry 1 is -2, must lie in -1 \.\. 1"),
        ([0.5, 1.0], [0, 0], "labels: must hold integers"),
        ([[0, 1]], [0, 0], "labels: must have shape"),
    ],
)
def test_plot_confusion_matrix_rejects_bad_input(labels, predictions, message):
    with pytest.raises(ValidationError, match=message):
        plot_confusion_matrix(labels, predictions, ["a", "b"])
