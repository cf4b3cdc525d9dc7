"""Steps in registers against the steps row by row, which are compared with dense references elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from eventsnn.kernels.bits import flag_words
from eventsnn.kernels.grid_events import count_grid_spikes, list_spikes, pack_spikes
from eventsnn.kernels.grid_step import (
    EARLY,
    LATE,
    NO_CURRENT,
    NONE,
    SUBTRACT,
    SUBTRACT_LATER,
    ZERO,
    step_backward,
    step_forward,
)
from eventsnn.kernels.grid_tiles import HAS_TILES, tiles_backward, tiles_forward
from eventsnn.kernels.surrogates import ARCTAN, PREPARED, RELU_DERIVATIVE, TRIANGULAR

pytestmark = pytest.mark.skipif(not HAS_TILES, reason="tiles are machine code")

S, T, N_DOWN, FIRST = 3, 11, 5, 2
RULES = list(itertools.product((NONE, ZERO, SUBTRACT, SUBTRACT_LATER), (NO_CURRENT, EARLY, LATE)))
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-13}
# single neurons, part of a vector, whole ones, several together, and all of it
SIZES = [1, 10, 16, 70, 155]


class Case:
    """A population with parameters of its own for every neuron, and its inputs; about a third fires."""

    def __init__(self, dtype, n, reset, current, *, constant=False):
        self.rng, self.dtype, self.n, self.reset, self.current = np.random.default_rng(n), dtype, n, reset, current
        self.x, self.constant = self.drawn(S, T, n), self.drawn(S if constant else 0, n)
        self.alpha, self.beta = self.rng.uniform(0.4, 0.95, (2, n)).astype(dtype)
        self.gain, self.drive, self.v_start, self.v_reset = (self.drawn(n) / 3 for _ in range(4))
        self.drive = abs(self.drive)
        self.threshold, self.height = self.rng.uniform(-0.2, 0.5, (2, n)).astype(dtype)
        self.words = flag_words(n)[1]
        self.nothing, self.no_weights, self.no_places = self.empty(n), np.empty((0, 0), dtype), np.empty(0, np.int64)

    def drawn(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def empty(self, *shape):
        return np.empty((0, *shape), self.dtype)

    def work(self, *shape):
        return np.full(shape, np.nan, self.dtype)

    def flags_room(self):
        """Arrays for the spikes of a step and for those of a neuron, eight in a byte."""
        n = 64 * -(-self.n // 64)
        bits = np.zeros((S, T, n // 8), np.uint8)
        bits[:, :, : -(-self.n // 8)] = 255
        return bits, np.full((S, -(-T // 8), n), 255, np.uint8)

    @property
    def neuron(self):
        return (self.alpha, self.beta, self.gain, self.drive, self.threshold, self.height, self.v_reset, self.v_start,
                self.reset, self.current)  # fmt: skip

    def by_row(self):
        """Potentials, and the spikes as a list."""
        u, starts, neurons = self.x.copy(), np.zeros(S * T + 1, np.int64), np.empty(S * T * self.n + 1, np.int64)
        step_forward(
            u, self.constant, *self.neuron, self.no_weights, self.no_places, self.no_places, self.empty(),
            self.no_places, *(self.work(self.n) for _ in range(3)), self.words.view(np.uint8), self.words, starts,
            neurons, self.empty(T, self.n),
        )  # fmt: skip
        return u, starts, neurons[: starts[-1]]


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("reset", "current"), RULES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_equals_step_forward(dtype, n, reset, current, constant):
    case = Case(dtype, n, reset, current, constant=constant)
    expected, starts, neurons = case.by_row()
    counts = np.zeros((S, n))
    count_grid_spikes(starts, neurons, T, counts)
    assert counts.any()
    room = np.full(S * T * n + 64, 7.0, dtype)  # what lies behind the last neuron is left alone
    u, found, n_spikes = room[: S * T * n].reshape(S, T, n), case.work(S, n), np.full(S, -1)
    u[:] = case.x
    bits, history = case.flags_room()
    tiles_forward(u, case.constant, *case.neuron, case.work(n), case.work(n), found, n_spikes, bits, history)
    np.testing.assert_allclose(u, expected, rtol=0, atol=TOLERANCE[dtype])
    np.testing.assert_array_equal(found, counts)
    np.testing.assert_array_equal(n_spikes, counts.sum(axis=1))
    assert (room[S * T * n :] == 7.0).all()
    packed = case.flags_room()
    pack_spikes(u, case.threshold, *flag_words(n), packed[0].view(np.uint64), packed[1])
    np.testing.assert_array_equal(bits, packed[0])
    np.testing.assert_array_equal(history[:, :, :n], packed[1][:, :, :n])
    again, listed = np.zeros_like(starts), np.empty(neurons.size + 1, np.int64)
    list_spikes(bits.view(np.uint64), n_spikes, T * n, again, listed)
    np.testing.assert_array_equal(again, starts)
    np.testing.assert_array_equal(listed[: starts[-1]], neurons)


def test_what_is_not_finite_stays_so():
    case = Case(np.float64, 20, ZERO, EARLY)
    case.x[1, 2, 3] = np.inf
    u, n_spikes = case.x.copy(), np.zeros(S, np.int64)
    tiles_forward(u, case.constant, *case.neuron, case.work(20), case.work(20), case.work(S, 20), n_spikes,
                  *case.flags_room())  # fmt: skip
    assert np.isfinite(u[0]).all()
    assert not np.isfinite(u[1, 2:, 3]).any()
    assert np.isfinite(np.delete(u[1], 3, axis=1)).all()


@pytest.mark.parametrize("way", ["down", "errors"])
@pytest.mark.parametrize(("reset", "current"), RULES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backward_equals_step_backward(dtype, n, reset, current, way):
    case = Case(dtype, n, reset, current)
    u = case.by_row()[0]
    formula = {1: PREPARED, 10: RELU_DERIVATIVE, 16: TRIANGULAR}.get(n, ARCTAN)
    is_detached, has_all = n == 70, n % 2 == 1
    down, weight = case.empty(T, n), case.empty(n)
    if way == "down":
        down, weight = case.drawn(S, T, N_DOWN + 3), case.drawn(n, N_DOWN)
    transposed = np.ascontiguousarray(weight.T) if way == "down" else weight
    errors, prepared, d_counts = case.drawn(S, T, n), abs(case.drawn(S, T, n)), case.drawn(S, n)
    d_u = case.drawn(S if has_all else 0, T, n)
    first, second, start = dtype(1.3), dtype(0.6), case.rng.standard_normal(n).astype(dtype)

    def run(function, *given, after_detached=(), work):
        e = errors.copy() if has_all or way == "errors" else case.empty(T, n)
        d_drive, d_start = start.copy(), start.copy() if has_all else case.empty()
        d_sum, record = np.ones((S if has_all else 0, n), dtype), case.work(S if has_all else 0, T, n)
        function(
            u, e, d_counts, down, FIRST, *given, formula, first, second, prepared, d_u, case.alpha, case.beta,
            case.gain, case.threshold, case.height, case.v_reset, reset, current, is_detached, *after_detached, *work,
            d_drive, *(() if function is tiles_backward else (case.empty(),)), d_start, d_sum, record,
        )  # fmt: skip
        return e, d_drive, d_start, d_sum, record

    rows = [case.work(n) for _ in range(4)]
    loops = (0, case.no_weights, case.no_places, case.no_places, case.empty(), case.no_places)
    expected = run(
        step_backward, weight, transposed, after_detached=loops,
        work=(*rows, case.words, case.words.view(np.uint8), np.empty(n, np.int64)),
    )  # fmt: skip
    found = run(tiles_backward, transposed, work=(rows[0], case.work(T, n), rows[1], rows[2]))
    for own, other in zip(found, expected, strict=True):
        scale = max(1.0, abs(other).max()) if other.size else 1.0
        np.testing.assert_allclose(own / scale, other / scale, rtol=0, atol=5 * TOLERANCE[dtype])


def test_neurons_that_never_fire_have_no_reset():
    case = Case(np.float64, 9, ZERO, NO_CURRENT)
    case.threshold[:] = -5.0  # what they would do if they could
    u, d_u = case.drawn(S, T, 9), case.drawn(S, T, 9)
    e, d_drive, h, slope = case.drawn(S, T, 9), np.zeros(9), case.work(9), case.work(T, 9)
    tiles_backward(
        u, e, np.zeros((S, 9)), case.empty(T, 9), 0, case.empty(9), -1, 0.0, 0.0, case.empty(T, 9), d_u, case.alpha,
        case.beta, case.gain, case.threshold, case.height, case.v_reset, ZERO, NO_CURRENT, False, h, slope,
        case.work(9), case.work(9), d_drive, case.empty(), case.empty(9), case.empty(T, 9),
    )  # fmt: skip
    expected = d_u[:, -1]
    np.testing.assert_allclose(e[:, -1], expected, rtol=1e-14)
    for t in range(T - 2, -1, -1):
        expected = case.beta * expected + d_u[:, t]
        np.testing.assert_allclose(e[:, t], expected, rtol=1e-13)
