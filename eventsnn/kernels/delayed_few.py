"""Synaptic delays, few inputs, tau_mem == 2 tau_syn: a vector of neurons at a time, in registers.

The arrivals of every neuron are put in order by a sorting network, which is the same for all, so there is no branch; p
and q then are running sums. With y = exp(s/tau_mem)

    gain = w y^2/tau_mem,   cross = -w y (y - 1),   u > theta   <=>   p y + q tau_mem (y - 1) > theta y^2,

so there is no division either. Neurons in doubt (a peak inside an interval, a value at the threshold) are left to the
caller, which decides exactly.

The formulas are written once, for `vector_writer.Lanes`; with NUMBA_DISABLE_JIT=1 they are given NumPy's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from llvmlite import ir

from eventsnn.kernels.jit import kernel
from eventsnn.kernels.vector_writer import Lanes, VectorWriter, tile

#: more inputs are sorted neuron by neuron; and fewer neurons do not fill the vectors
MOST_INPUTS, FEWEST_NEURONS = 8, 8
#: rows of `found`: the interval's first and last arrival, p and q in it; the beginning of the earliest one in doubt
BEGIN, END, P, Q, DOUBT, _TOTAL = range(6)

#: float64 in a vector
_LANES = 8
#: relative distance from threshold beyond which plain arithmetic decides
_CLEAR = 1e-9

Choose = Callable[..., Any]


def _pairs_to_order(n: int) -> Iterator[tuple[int, int]]:
    """Batcher's network for n = 2^k entries: put each pair in order, one after the other (Knuth, TAOCP 5.3.4)."""
    width = 1
    while width < n:
        gap = width
        while gap >= 1:
            for start in range(gap % width, n - gap, 2 * gap):
                for low in range(start, start + gap):
                    if low // (2 * width) == (low + gap) // (2 * width):
                        yield low, low + gap
            gap //= 2
        width *= 2


def _judge(y: Any, p: Any, q: Any, end: Any, is_inside: Any, tau_mem: Any, theta: Any, choose: Choose) -> Any:
    """Whether an interval certainly holds a crossing, and whether it perhaps does.

    y, end : at the interval's beginning and end; end is None after the last of all arrivals
    is_inside : whether it has an end
    """
    drive = q * tau_mem
    # after the last arrival: the highest peak, 4 drive height = (p + drive)^2, and whether it is still to come
    total = p + drive
    square, bar = total * total, drive * theta * 4.0
    low = (square < bar * (1.0 - _CLEAR)) | (total <= 0.0)
    clear = square > bar * (1.0 + _CLEAR)
    hit, settled = clear & ~low & (drive > p * y + drive * (y - 1.0)), clear | low
    if end is not None:
        # inside: the value at the end decides, or that the potential still rises there
        top, level = p * end + drive * (end - 1.0), end * end * theta
        above = top > level * (1.0 + _CLEAR)
        below = (top < level * (1.0 - _CLEAR)) & (drive * (1.0 - _CLEAR) > top)
        outside = top < y * end * theta * (1.0 - _CLEAR)
        hit, settled = choose(is_inside, above, hit), choose(is_inside, above | below | outside, settled)
    rises = drive > 0.0
    return hit & rises, rises & ~(hit | settled)


def _first_crossings(
    arrivals: list[tuple[Any, Any, Any, Any]], nothing: Any, never: Any, tau_mem: Any, theta: Any, choose: Choose
) -> list[Any]:
    """The rows of `found`, from (time, y, gain, cross) of all arrivals; the time is inf of those that do not exist."""
    for i, j in _pairs_to_order(len(arrivals)):
        swap = arrivals[j][0] < arrivals[i][0]
        earlier = tuple(choose(swap, b, a) for a, b in zip(arrivals[i], arrivals[j], strict=True))
        arrivals[j] = tuple(choose(swap, a, b) for a, b in zip(arrivals[i], arrivals[j], strict=True))
        arrivals[i] = earlier
    p, q, intervals = nothing, nothing, []
    for k, (begin, y, gain, cross) in enumerate(arrivals):
        p, q = p + cross, q + gain
        following, end, is_inside = never, None, None
        if k + 1 < len(arrivals):
            following, end = arrivals[k + 1][:2]
            is_inside = following < never
        hit, doubt = _judge(y, p, q, end, is_inside, tau_mem, theta, choose)
        # simultaneous arrivals have an interval of no length between them, and so have those that do not exist
        exists = begin < following
        intervals.append((hit & exists, doubt & exists, (begin, following, p, q)))
    first, earliest_doubt = [never, never, nothing, nothing], never
    for hit, doubt, interval in reversed(intervals):
        first = [choose(hit, mine, later) for mine, later in zip(interval, first, strict=True)]
        earliest_doubt = choose(doubt, interval[0], earliest_doubt)
    return [*first, earliest_doubt, p + q]


def _arrival(t: Any, rise: Any, delay: Any, grow_mem: Any, weight: Any, rate: Any) -> tuple[Any, Any, Any, Any]:
    y = rise * grow_mem
    pull = weight * y
    return t + delay, y, pull * y * rate, pull * (1.0 - y)


def _writer(n_inputs: int) -> Any:
    def write(w: VectorWriter, types: Any, values: Any) -> None:
        delay, grow_mem, weight, numbers, rows, found = (
            w.array(kind, value) for kind, value in zip(types[:6], values[:6], strict=True)
        )
        builder, word = w.builder, w.word

        def number(row: int, k: int) -> Lanes:
            place = builder.gep(numbers.data, [ir.Constant(word, row * MOST_INPUTS + k)])
            return Lanes(w, w.splat(builder.load(place)))

        def choose(condition: Lanes, then: Lanes, otherwise: Lanes) -> Lanes:
            return Lanes(w, builder.select(condition.value, then.value, otherwise.value))

        tau_mem, theta, rate = (Lanes(w, w.splat(value)) for value in values[6:9])
        arrivals = []
        for k in range(n_inputs):
            j = builder.load(builder.gep(rows.data, [ir.Constant(word, k)]))
            delays, growths = (Lanes(w, w.load(w.pointer(array, j))[0]) for array in (delay, grow_mem))
            weights = Lanes(w, w.load_widened(types[2].dtype, weight, j))
            arrivals.append(_arrival(number(0, k), number(1, k), delays, growths, weights, rate))
        nothing, never = Lanes(w, w.constant(0.0)), Lanes(w, w.constant(np.inf))
        result = _first_crossings(arrivals, nothing, never, tau_mem, theta, choose)
        for k, lanes in enumerate(result):
            w.store([lanes.value], w.pointer(found, ir.Constant(word, k)))

    return write


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _of_few(given: Any, first: int, n_left: int) -> None:
        delay, grow_mem, weight, (times, rises), rows, found, tau_mem, theta, rate = given
        mine = slice(first, first + min(n_left, _LANES))
        arrivals = [
            _arrival(t, rise, delay[j, mine], grow_mem[j, mine], weight[j, mine].astype(np.float64), rate)
            for t, rise, j in zip(times, rises, rows, strict=True)
        ]
        nothing = np.zeros(delay[0, mine].size)
        found[:, mine] = _first_crossings(arrivals, nothing, nothing + np.inf, tau_mem, theta, np.where)

    _of_many = _of_few
else:
    _of_few, _of_many = (tile(_writer(n), 1, is_masked=True) for n in (MOST_INPUTS // 2, MOST_INPUTS))


@kernel(fastmath={"reassoc"})
def _sum(values):
    total = 0.0
    for n in range(values.size):
        total += values[n]
    return total


@kernel(allocates=True)
def few_scratch(n_post):
    """`numbers`, `rows` and `found` of `few_inputs`."""
    return np.empty((2, MOST_INPUTS)), np.zeros(MOST_INPUTS, np.int64), np.empty((_TOTAL + 1, n_post))


@kernel
def few_inputs(constants, tables, weight, delay, events, start, end, grow_mem, scratch):
    """First crossings of all neurons in one sample; returns whether all coefficients are finite.

    Parameters
    ----------
    constants : LayerConstants of the family tau_mem == 2 tau_syn, t_end infinite
    tables, weight, delay : by presynaptic neuron, (n_pre, n_post)
    grow_mem : exp((t - r)/tau_mem) of the events, as in `delayed_layer.sample_tables`
    scratch : `few_scratch`; its last array, found, (6, n_post), is filled: BEGIN is inf where nobody crosses for
        certain, DOUBT where there is no doubt, END where no arrival follows
    """
    numbers, rows, found = scratch
    for k in range(MOST_INPUTS):
        # what does not exist arrives never, and without a contribution
        exists = k < end - start
        numbers[0, k] = events.times[start + k] if exists else np.inf
        numbers[1, k] = grow_mem[k] if exists else 0.0
        rows[k] = events.neurons[start + k] if exists else 0
    tau_mem, theta, n_post = constants.tau_mem, constants.theta, weight.shape[1]
    given = (delay, tables.grow_mem, weight, numbers, rows, found, tau_mem, theta, 1.0 / tau_mem)
    for first in range(0, n_post, _LANES):
        if end - start <= MOST_INPUTS // 2:
            _of_few(given, first, n_post - first)
        else:
            _of_many(given, first, n_post - first)
    return np.isfinite(_sum(found[_TOTAL]))
