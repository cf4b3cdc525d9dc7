"""The ways back through convolutions and pools are the transposes of the ways forward."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import AvgPool2d, Conv2d, MaxPool2d
from eventsnn.kernels.convolution import convolve_events
from eventsnn.kernels.convolution_backward import convolution_weight_gradient, fold_columns, gather_groups
from eventsnn.kernels.grid_events import order_of_rows
from eventsnn.kernels.pooling import MAX_RATE, maximum_events
from eventsnn.kernels.pooling_backward import average_backward, gate_backward, record_winners
from eventsnn.simulation.grid_windows import GridPool
from tests.reference import convolution_numpy as windows

CASES = {
    "plain": ((5, 4, 2), (3, 2), 3, {}),
    "strided": ((5, 6, 2), (2, 3), 4, {"stride": (2, 3), "padding": (1, 2)}),
    "groups": ((4, 4, 4), (3, 3), 6, {"groups": 2, "padding": 1}),
    "padding only": ((3, 3, 1), (2, 2), 2, {"padding": 2, "stride": 3}),
}


def convolution(case, seed=0):
    shape, size, n_out, options = CASES[case]
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(*size, shape[2] // options.get("groups", 1), n_out))
    return Conv2d(weight, shape, **options), rng


def events_of(values, is_plain):
    """Rows (n_rows, n) as events."""
    rows, neurons = np.nonzero(values)
    starts = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=len(values)))))
    return starts, neurons, np.empty(0) if is_plain else values[rows, neurons]


def work(conv):
    n_window = int(np.prod(conv.weight.shape[:2])) * conv.image_shape[2]
    n_pixels = conv.image_shape[0] * conv.image_shape[1]
    return np.zeros(n_pixels + 1, np.int64), np.zeros(n_window, np.int64), np.zeros(n_window)


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_weight_gradient_is_the_transpose_of_convolve_events(case, is_plain):
    """<a, convolve(x; w)> = <gradient(x, a), w> for every w, and likewise one step later."""
    conv, rng = convolution(case)
    n_steps, first = 3, 2
    given = rng.normal(size=(2 * n_steps, conv.n_pre)) * (rng.random((2 * n_steps, conv.n_pre)) < 0.4)
    given = (given != 0).astype(float) if is_plain else given
    events, geometry = events_of(given, is_plain), conv.windows.geometry(conv.groups)
    weight = conv.weight.reshape(-1, conv.weight.shape[3])
    for lag in (0, 1):
        x = np.zeros((2, n_steps, conv.n_post + first))
        convolve_events(*events, weight, geometry, lag, first, *work(conv), x, np.empty(0, np.int64))
        expected = np.zeros_like(x)
        for s in range(2):
            for t in range(n_steps - lag):
                plane = given[s * n_steps + t].reshape(conv.image_shape)
                expected[s, t + lag, first:] = windows.convolve(
                    plane, conv.weight, conv.stride, conv.padding, conv.groups
                ).ravel()
        # sums of at most 18 products of order 1 in another order
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-14)
        a = rng.normal(size=x.shape)
        a[:, 1, first : first + conv.weight.shape[3]] = 0.0
        found = np.zeros_like(weight)
        convolution_weight_gradient(*events, a, geometry, lag, first, *work(conv), found)
        for _ in range(3):
            other = rng.normal(size=weight.shape)
            y = np.zeros_like(x)
            convolve_events(*events, other, geometry, lag, first, *work(conv), y, np.empty(0, np.int64))
            # two sums of some hundred products
            np.testing.assert_allclose((found * other).sum(), (a * y).sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_errors_of_the_inputs_are_the_transposed_matrix(case):
    conv, rng = convolution(case)
    matrix = windows.matrix_of(
        lambda plane: windows.convolve(plane, conv.weight, conv.stride, conv.padding, conv.groups), conv.image_shape
    )
    first, source = 3, 1
    a = rng.normal(size=(4, conv.n_post + first))
    weight, geometry = conv.weight.reshape(-1, conv.weight.shape[3]), conv.windows.geometry(conv.groups)
    found = np.ones((4, conv.n_pre + source))
    gather_groups(weight, a, geometry, first, source, found)
    ways = [found]
    if conv.groups == 1:
        columns = a[:, first:].reshape(-1, weight.shape[1]) @ weight.T
        folded = np.ones_like(found)
        for begin in range(0, len(columns), 5):  # windows of one row and of two
            fold_columns(columns[begin : begin + 5], geometry, begin, source, folded)
        ways.append(folded)
    for way in ways:
        # sums of at most 27 products in another order
        np.testing.assert_allclose(way[:, source:], 1.0 + a[:, first:] @ matrix.T, rtol=0, atol=1e-13)
        assert (way[:, :source] == 1.0).all()


@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"stride": (1, 3), "padding": (1, 0)}])
def test_average_backward_is_the_transposed_matrix(options):
    pool, rng = AvgPool2d((5, 4, 2), 2, **options), np.random.default_rng(1)
    grid = GridPool(pool)
    matrix = windows.matrix_of(
        lambda plane: windows.average(plane, pool.size, pool.stride, pool.padding), pool.image_shape
    )
    given, found = rng.normal(size=(3, pool.n_post)), np.ones((3, pool.n_pre + 2))
    average_backward(grid.indptr, grid.windows, grid.share, given, 2, found)
    np.testing.assert_allclose(found[:, 2:], 1.0 + given @ matrix.T, rtol=0, atol=1e-15 * 8)


@pytest.mark.parametrize("rule", ["max_rate", "first_spike"])
def test_errors_of_a_gate_go_to_the_winners(rule):
    pool, rng = MaxPool2d((5, 4, 2), 3, stride=2, padding=1, rule=rule), np.random.default_rng(2)
    grid, n_steps = GridPool(pool), 6
    spikes = (rng.random((2 * n_steps, pool.n_pre)) < 0.05).astype(float)
    starts, neurons, _ = events_of(spikes, True)
    record = np.empty((2, n_steps, pool.n_post), np.int32)
    record_winners(
        starts, neurons, n_steps, grid.indptr, grid.windows, grid.rule, np.empty(pool.n_pre, np.int64),
        np.empty(pool.n_post, np.int64), np.empty(pool.n_post, np.uint8), record,
    )  # fmt: skip
    given = rng.integers(1, 9, record.shape).astype(float)
    found = np.ones((2, n_steps, pool.n_pre + 1))
    gate_backward(grid.indptr, grid.windows, record, given, 1, found)
    expected = np.ones_like(found)
    for s in range(2):
        gate = windows.Gate(pool.image_shape, pool.size, pool.stride, pool.padding, rule)
        for t in range(n_steps):
            winners = gate.step(spikes[s * n_steps + t])
            assert record[s, t].tolist() == winners
            for w, winner in enumerate(winners):
                for j in [winner] if winner >= 0 else gate.inputs[w]:
                    expected[s, t, 1 + j] += given[s, t, w]
    assert (record < 0).any()
    assert (record >= 0).any()
    assert rule == "first_spike" or (record[:, 1:] != record[:, :-1]).any()
    np.testing.assert_array_equal(found, expected)  # small integers


def test_maximum_events_takes_what_is_missing_as_zero():
    pool, rng = MaxPool2d((4, 5, 2), 2, padding=1), np.random.default_rng(3)
    grid = GridPool(pool)
    assert grid.rule == MAX_RATE
    values = rng.integers(-4, 5, (5, pool.n_pre)).astype(float) * (rng.random((5, pool.n_pre)) < 0.7)
    starts, neurons, numbers = events_of(values, False)
    new_starts, new_neurons = np.empty(6, np.int64), np.empty(5 * pool.n_post, np.int64)
    new_values, plane = np.empty(5 * pool.n_post), np.zeros(pool.n_pre)
    maximum_events(starts, neurons, numbers, grid.input_indptr, grid.inputs, plane, new_starts, new_neurons, new_values)
    found = np.zeros((5, pool.n_post))
    for r in range(5):
        mine = slice(new_starts[r], new_starts[r + 1])
        found[r, new_neurons[mine]] = new_values[mine]
        assert (new_values[mine] != 0).all()
        assert (np.diff(new_neurons[mine]) > 0).all()
    expected = [windows.maximum(row.reshape(pool.image_shape), (2, 2), (2, 2), (1, 1)).ravel() for row in values]
    np.testing.assert_array_equal(found, expected)
    assert not plane.any()


@pytest.mark.parametrize(("neurons", "order"), [([1, 2, 5, 0, 3], 0), ([1, 2, 2, 0, 3], 1), ([1, 2, 2, 3, 0], 2)])
def test_order_of_rows(neurons, order):
    assert order_of_rows(np.array([0, 3, 5]), np.array(neurons)) == order
