"""`Currents`: what it takes, and how samples are selected."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import Currents, ValidationError


def test_values_keep_float32_and_are_not_copied():
    values = np.ones((2, 3), np.float32)
    currents = Currents(values)
    assert currents.values.dtype == np.float32
    assert np.shares_memory(currents.values, values)
    assert not currents.values.flags.writeable
    assert values.flags.writeable
    assert Currents([[1, 2]]).values.dtype == np.float64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "must have shape"),
        (np.ones((1, 0)), "must have shape"),
        ([[np.nan]], r"must be finite, got nan at \[0, 0\]"),
        ([["a"]], "must hold real numbers"),
    ],
)
def test_values_that_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        Currents(values)


def test_samples_are_selected_as_of_an_array():
    currents = Currents(np.arange(12.0).reshape(3, 2, 2))
    assert (currents.n_samples, currents.n_neurons, currents.n_steps, currents.is_constant) == (3, 2, 2, False)
    assert currents[1].values.tolist() == currents.values[1:2].tolist()
    assert len(currents[[2, 0]]) == 2
    assert len(currents[currents.values[:, 0, 0] > 3]) == 2
    assert Currents([[1.0]]).n_steps is None


@pytest.mark.parametrize("key", [(0, 0), (slice(None), slice(0, 1)), np.zeros((1, 1), int), 5])
def test_only_samples_can_be_selected(key):
    with pytest.raises(IndexError):
        Currents(np.ones((3, 2)))[key]
