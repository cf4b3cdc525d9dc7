"""First spikes of a sample: a few vectors of neurons at a time, with their coefficients in registers.

Neurons of a layer do not hear of each other. So four vectors of them are taken through all events of a sample: an event
costs, for each, a load of its weights, two multiply-adds of the accumulation, and a threshold test of one multiply-add
and a comparison. That stops where a neuron may have crossed, and goes on after it has been looked at.

The test is a bound: for q > 0 the bracket p + q x only grows inside an interval, so a neuron can cross inside it only
if its value at the interval's end exceeds theta exp(s/tau_mem) at its beginning; for q <= 0 and theta > 0 it cannot
cross. Nearly always the value at the end then decides; what peaks inside an interval or lies at the threshold is
decided exactly (`crossing`).

The body is made of instructions of LLVM (`vector_writer`); with NUMBA_DISABLE_JIT=1 a plain one stands in.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils

from eventsnn.kernels.bits import lowest_bit
from eventsnn.kernels.constants import (
    CROSS,
    EVENT,
    FOUND_P,
    FOUND_Q,
    GAIN,
    NEURON,
    OFF,
    P_ONE,
    REFERENCE,
    RISE,
    S_HIGH,
    S_LOW,
    TIME,
    X_NEXT,
)
from eventsnn.kernels.crossing import crosses
from eventsnn.kernels.flow import synaptic_kernel
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.solve import highest_peak
from eventsnn.kernels.spike_time import FAMILY_DOUBLE
from eventsnn.kernels.vector_writer import VECTOR, VectorWriter, tile

__all__ = ["MOST_HITS", "WIDTH", "find_first_spikes", "first_crossings_at_end", "move_reference"]

#: vectors that are taken together, so that one need not wait for its own last event
_TOGETHER = 4
#: Relative distance from threshold beyond which plain arithmetic decides: far above its rounding errors in float64.
_CLEAR = 1e-9
#: The same for a peak, with more room: float32 knows p and q to seven digits.
_CLEARLY_ABOVE = 1e-4
#: entries of `place`: the next event, and how many hits there are
_NEXT, _HITS = 0, 1
#: columns of `hits`: an event, neurons that have crossed after it for certain, and those that may have
_EVENT, _CERTAIN, _DOUBTFUL = 0, 1, 2
#: rows of `limits`: what p + q x must exceed after an event for a neuron to be looked at; to have crossed for certain;
#: and tau_mem i_syn over q
_BOUND, _SURE, _TURN = 0, 1, 2
#: hits that are kept before they are looked at, and neurons of one
MOST_HITS, WIDTH = 64, 64


def _write_advance(w: VectorWriter, types: Any, values: Any) -> None:
    """Take in events from place[_NEXT] on to `stop`, or until there is no more room for hits.

    A neuron that has crossed for certain gets p = -inf, and so never passes the bound again; hits and states have the
    p and q that it had.
    """
    weight, neurons, factors, limits, work, place, hits, states = (
        w.array(kind, value) for kind, value in zip(types[:8], values[:8], strict=True)
    )
    first_event, stop = values[8:10]
    builder, word, zero = w.builder, w.word, ir.Constant(w.word, 0)
    kept = VectorWriter(builder, w.context, w.item, w.n_vectors, zero, None)
    lanes, nothing = ir.IntType(w.vector.count), [w.constant(0.0)] * w.n_vectors
    never = [w.constant(-np.inf)] * w.n_vectors

    def at(k: int) -> Any:
        return builder.gep(place.data, [ir.Constant(word, k)])

    def entry_of(table: Any, row: int, column: Any) -> list[Any]:
        start = builder.mul(builder.extract_value(table.shape, 1), ir.Constant(word, row))
        return [w.splat(builder.load(builder.gep(table.data, [builder.add(start, column)])))] * w.n_vectors

    def both(left: list[Any], right: list[Any]) -> list[Any]:
        return [builder.and_(*two) for two in zip(left, right, strict=True)]

    def has_any(flags: list[Any]) -> Any:
        some = flags[0]
        for other in flags[1:]:
            some = builder.or_(some, other)
        return builder.icmp_unsigned("!=", builder.bitcast(some, lanes), ir.Constant(lanes, 0))

    def as_bits(flags: list[Any]) -> Any:
        mask = zero
        for number, own in enumerate(flags):
            shift = ir.Constant(word, number * w.vector.count)
            mask = builder.or_(mask, builder.shl(builder.zext(builder.bitcast(own, lanes), word), shift))
        return mask

    rows = [w.pointer(work, ir.Constant(word, P_ONE + k)) for k in (0, 1)]
    p, q = (w.kept(w.load(row)) for row in rows)
    n_hits, event = (cgutils.alloca_once(builder, word) for _ in range(2))
    builder.store(zero, n_hits)
    builder.store(builder.load(at(_NEXT)), event)
    head, body, second, hit, done = (builder.append_basic_block() for _ in range(5))
    builder.branch(head)

    builder.position_at_end(head)
    k = builder.load(event)
    builder.cbranch(builder.icmp_signed("<", k, stop), body, done)

    builder.position_at_end(body)
    weights = w.load(w.pointer(weight, builder.load(builder.gep(neurons.data, [k]))))
    new_p, new_q = (
        w.linear(weights, entry_of(factors, CROSS, k), w.now(p)),
        w.linear(weights, entry_of(factors, GAIN, k), w.now(q)),
    )
    w.put(new_p, p)
    w.put(new_q, q)
    own = builder.sub(k, first_event)
    top = w.linear(new_q, entry_of(factors, X_NEXT, k), new_p)
    flags = w.exceeds(top, entry_of(limits, _BOUND, own))
    builder.store(builder.add(k, ir.Constant(word, 1)), event)
    builder.cbranch(has_any(flags), second, head)

    builder.position_at_end(second)
    certain = both(flags, both(w.exceeds(top, entry_of(limits, _SURE, own)), w.exceeds(new_q, nothing)))
    falls = both(flags, w.exceeds(top, w.times(entry_of(limits, _TURN, own), new_q)))
    doubtful = [builder.and_(one, builder.not_(other)) for one, other in zip(falls, certain, strict=True)]
    either = [builder.or_(*two) for two in zip(certain, doubtful, strict=True)]
    builder.cbranch(has_any(either), hit, head)

    builder.position_at_end(hit)
    slot = builder.load(n_hits)
    entry = builder.gep(hits.data, [builder.mul(slot, ir.Constant(word, 3))])
    for column, value in ((_EVENT, k), (_CERTAIN, as_bits(certain)), (_DOUBTFUL, as_bits(doubtful))):
        builder.store(value, builder.gep(entry, [ir.Constant(word, column)]))
    for row, value in enumerate((new_p, new_q)):
        kept.store(value, kept.pointer(states, slot, ir.Constant(word, row)))
    w.put(w.choose(certain, never, new_p), p)
    w.put(w.choose(certain, nothing, new_q), q)
    after = builder.add(slot, ir.Constant(word, 1))
    builder.store(after, n_hits)
    builder.cbranch(builder.icmp_signed("<", after, builder.extract_value(hits.shape, 0)), head, done)

    builder.position_at_end(done)
    builder.store(builder.load(event), at(_NEXT))
    builder.store(builder.load(n_hits), at(_HITS))
    for row, variables in zip(rows, (p, q), strict=True):
        w.store(w.now(variables), row)


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _as_bits(flags: Any) -> Any:
        return np.uint64(sum(1 << int(lane) for lane in np.flatnonzero(flags))).astype(np.int64)

    def _advance_some(given: Any, first: int, n_left: int) -> None:
        weight, neurons, factors, limits, work, place, hits, states, first_event, stop = given
        p, q = work[P_ONE : P_ONE + 2, first : first + n_left]
        place[_HITS] = 0
        while place[_NEXT] < stop and place[_HITS] < len(hits):
            k, h = int(place[_NEXT]), int(place[_HITS])
            bound, sure, turn = limits[:, k - first_event]
            own = weight[neurons[k], first : first + n_left]
            p += own * factors[CROSS, k]
            q += own * factors[GAIN, k]
            top = p + q * factors[X_NEXT, k]
            flags = top > bound
            certain = flags & (top > sure) & (q > 0)
            doubtful = flags & (top > turn * q) & ~certain
            place[_NEXT] = k + 1
            if certain.any() or doubtful.any():
                hits[h] = k, _as_bits(certain), _as_bits(doubtful)
                states[h, :, :n_left] = p, q
                p[certain], q[certain] = -np.inf, 0.0
                place[_HITS] = h + 1

    _advance_many = _advance_some
else:
    _advance_many = tile(_write_advance, _TOGETHER, is_masked=False)
    _advance_some = tile(_write_advance, 1, is_masked=True)


@kernel
def move_reference(work, row, first, last, shift, tau_mem, tau_syn, delta):
    """Express p, q (rows row, row + 1) of the neurons first : last from a reference time later by `shift`."""
    real = work.dtype.type
    keep = real(math.exp(-shift / tau_mem))
    mix = real(synaptic_kernel(shift, tau_mem, tau_syn, delta))
    fade = real(math.exp(-shift / tau_syn))
    for n in range(first, last):
        work[row, n] = work[row, n] * keep + work[row + 1, n] * mix
        work[row + 1, n] *= fade


@kernel
def _crosses(constants, p, q, s_low, s_high):
    """Exact decision for the interval (s_low, s_high]; most neurons that pass the bound fail by their highest peak."""
    if q <= 0.0 or highest_peak(constants, p, q) < constants.theta * (1.0 - _CLEAR):
        return False
    return crosses(p, q, constants.theta, constants.tau_mem, constants.tau_syn, constants.delta, s_low, s_high)


@kernel
def _fill_limits(constants, clock, values, start, end, limits):
    """What p + q x is compared with after every event, see `_BOUND`."""
    theta, tau_mem = constants.theta, constants.tau_mem
    for k in range(start, end):
        bound, sure, turn = np.inf, np.inf, 0.0
        # simultaneous events are summed first; what comes after the last one is not looked at here
        if k + 1 < end and clock[TIME, k + 1] > clock[TIME, k]:
            bound = theta * np.float64(values[RISE, k])
            if clock[REFERENCE, k + 1] == clock[REFERENCE, k]:  # else nothing is certain
                sure = theta * np.float64(values[RISE, k + 1]) * (1.0 + _CLEAR)
                turn = tau_mem * (1.0 - constants.delta * np.float64(values[X_NEXT, k]))
        limits[_BOUND, k - start], limits[_SURE, k - start], limits[_TURN, k - start] = bound, sure, turn


@kernel
def _enter_hits(constants, clock, hits, states, n_hits, first, off, found, places, n_found):
    """Enter the neurons that did cross, and set `off`; returns the new n_found, -1 if a potential is not finite."""
    one, nothing = np.uint64(1), np.uint64(0)
    for h in range(n_hits):
        e, certain = hits[h, _EVENT], np.uint64(hits[h, _CERTAIN])
        flags = certain | np.uint64(hits[h, _DOUBTFUL])
        s_low, s_high = clock[TIME, e] - clock[REFERENCE, e], clock[TIME, e + 1] - clock[REFERENCE, e]
        while flags != nothing:
            lane = lowest_bit(flags)
            lowest = flags & (~flags + one)
            flags ^= lowest
            p, q = np.float64(states[h, 0, lane]), np.float64(states[h, 1, lane])
            if not math.isfinite(p + q):
                return -1
            n = first + lane
            if off[n] > 0.0:  # in doubt before, then found to have crossed
                continue
            if certain & lowest != nothing or _crosses(constants, p, q, s_low, s_high):
                found[FOUND_P, n_found], found[FOUND_Q, n_found] = p, q
                found[S_LOW, n_found], found[S_HIGH, n_found] = s_low, s_high
                places[NEURON, n_found], places[EVENT, n_found] = n, e
                n_found += 1
                off[n] = np.inf
    return n_found


@kernel
def find_first_spikes(constants, weight, neurons, clock, values, start, end, scratch, work, found, places):
    """Which neurons fire for the first time between two of the events start : end, and where; returns how many.

    -1 if a potential is not finite. p, q of those that do not fire are left in work, for what comes after the last
    event; OFF is inf for those that do.

    scratch : limits (3, longest sample), place (2,) int64, hits (MOST_HITS, 3) int64 and states (MOST_HITS, 2, WIDTH);
        work : see `constants`; overwritten
    found, places : see `FoundSpikes`, filled neuron by neuron
    """
    limits, place, hits, states = scratch
    n_post, lanes = weight.shape[1], VECTOR // weight.itemsize
    _fill_limits(constants, clock, values, start, end, limits)
    work[P_ONE : P_ONE + 2] = 0.0
    work[OFF] = 0.0
    off, first, n_found = work[OFF], 0, 0
    while first < n_post:
        last = first + (_TOGETHER * lanes if n_post - first >= _TOGETHER * lanes else min(lanes, n_post - first))
        k, n_before = start, n_found
        while k < end and n_found - n_before < last - first:
            reference, stop = clock[REFERENCE, k], k + 1
            if k > start and reference != clock[REFERENCE, k - 1]:
                move_reference(
                    work, P_ONE, first, last, reference - clock[REFERENCE, k - 1], constants.tau_mem,
                    constants.tau_syn, constants.delta,
                )  # fmt: skip
            while stop < end and clock[REFERENCE, stop] == reference:
                stop += 1
            place[_NEXT] = k
            while place[_NEXT] < stop and n_found - n_before < last - first:
                given = (weight, neurons, values, limits, work, place, hits, states, start, stop)
                if last - first > lanes:
                    _advance_many(given, first, last - first)
                else:
                    _advance_some(given, first, last - first)
                n_found = _enter_hits(constants, clock, hits, states, place[_HITS], first, off, found, places, n_found)
                if n_found < 0:
                    return -1
            k = stop
        first = last
    for n in range(n_post):
        if off[n] > 0.0:
            work[P_ONE, n], work[P_ONE + 1, n] = 0.0, 0.0
    return n_found


@kernel
def first_crossings_at_end(constants, clock, values, e, flagged, n_flagged, work, found, places, n_found):
    """First crossings of the flagged neurons in the interval after the sample's last event e; returns n_found.

    Where it has no end and tau_mem == 2 tau_syn, a neuron that rises at its beginning and whose peak, theta (b^2/(4 a
    theta)) with a = tau_mem q and b = p + a > 0, is clearly above threshold has to cross; the rest is decided exactly.
    """
    s_low, s_high = clock[TIME, e] - clock[REFERENCE, e], constants.t_end - clock[REFERENCE, e]
    tau_mem, theta = constants.tau_mem, constants.theta
    simple = constants.family == FAMILY_DOUBLE and s_high == np.inf
    x_low = np.float64(values[X_NEXT, e])
    turn = tau_mem * (1.0 - constants.delta * x_low)
    for i in range(n_flagged):
        n = flagged[i]
        p, q = np.float64(work[P_ONE, n]), np.float64(work[P_ONE + 1, n])
        b = p + tau_mem * q
        rises = q > 0.0 and p + q * x_low < turn * q
        certain = simple and rises and b > 0.0 and b * b * (1.0 - _CLEARLY_ABOVE) > 4.0 * tau_mem * q * theta
        if certain or _crosses(constants, p, q, s_low, s_high):
            found[FOUND_P, n_found], found[FOUND_Q, n_found] = p, q
            found[S_LOW, n_found], found[S_HIGH, n_found] = s_low, s_high
            places[NEURON, n_found], places[EVENT, n_found] = n, e
            n_found += 1
    return n_found
