"""Simulation of any network by a priority queue: spikes, releases and arrivals in the order of their times.

Within a window (`queue_window`) an arrival is two multiply-adds and a bound test per synapse and receptor, without an
exponential. Neurons whose next spike lies in the window wait in a heap with its exact time; excitation solves them
anew, inhibition only marks the time as too early, which is found out when it comes up.

Order at equal times: spikes before arrivals, spikes by neuron; all arrivals of one instant are added up before they
reach a neuron, in the order in which they were emitted.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import STATUS_BUFFER_FULL, STATUS_OK, STATUS_PAUSED
from eventsnn.kernels.flow import warp
from eventsnn.kernels.heap import (
    ARRIVAL,
    EMITTED,
    SEGMENT,
    pop_arrival,
    push_arrival,
    put_neuron,
    remove_neuron,
)
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.queue_state import (
    HEADROOM,
    N_EVENTS,
    N_HELD,
    N_ON_WAY,
    N_QUEUED,
    N_RANKS,
    N_SYNAPTIC,
    N_WRITTEN,
    NEXT_INPUT,
    SEGMENT_END,
    SEGMENT_GROUP,
    SEGMENT_LAST,
    SEGMENT_RECEPTOR,
    SEGMENT_START,
    WINDOW_END,
    WINDOW_START,
    P,
    Q,
)
from eventsnn.kernels.queue_window import describe_window, is_quiet, open_window, reconsider


@kernel(inline=True)
def _emit(net, state, source, t):
    """Send a spike of `source` on its way; there is room for one more."""
    segment = net.source_segments[source]
    if segment < net.source_segments[source + 1]:
        counts = state.counts
        counts[N_ON_WAY] = push_arrival(
            state.way_times, state.way_items, counts[N_ON_WAY], t + net.segment_delay[segment], t, counts[N_RANKS],
            segment,
        )  # fmt: skip
        counts[N_RANKS] += 1


@kernel(fastmath={"contract"})
def _deliver(cells, targets, weights, low, high, r, gain, cross, push, todo, n_todo):
    """Give the weights low : high to their targets; those left without headroom are added to `todo`."""
    for k in range(low, high):
        n, w = targets[k], weights[k]
        cells[n, Q + r] += w * gain
        cells[n, P] -= w * cross
        room = cells[n, HEADROOM] - max(w, 0.0) * push
        cells[n, HEADROOM] = room
        todo[n_todo] = np.int64(n) if w > 0.0 else -1 - np.int64(n)
        n_todo += room < 0.0
    return n_todo


@kernel
def _add_up(targets, weights, low, high, r, sums, touched, is_touched, n_touched):
    """Add the weights low : high to those that arrive in the same instant; returns the number of touched neurons."""
    for k in range(low, high):
        n = targets[k]
        sums[n, r] += weights[k]
        if is_touched[n] == 0:
            is_touched[n] = 1
            touched[n_touched] = n
            n_touched += 1
    return n_touched


@kernel(inline=True)
def _deliver_sums(net, state, scratch, n_touched, now):
    """Give the sums to their neurons; returns how many of them are in `todo`."""
    sums, cells, todo = scratch.sums, state.cells, scratch.todo
    s = now - state.reals[WINDOW_START]
    n_todo = 0
    for i in range(n_touched):
        n = scratch.touched[i]
        scratch.is_touched[n] = 0
        g = net.group_of[n]
        excited = False
        for r in range(net.n_receptors[g]):
            w = sums[n, r]
            if w != 0.0:
                sums[n, r] = 0.0
                gain = math.exp(s / net.tau_syn[g, r]) / net.tau_mem[g]
                cells[n, Q + r] += w * gain
                cells[n, P] -= w * gain * warp(s, net.delta[g, r])
                cells[n, HEADROOM] -= max(w, 0.0) * scratch.push[g, r]
                excited = excited or w > 0.0
        todo[n_todo] = n if excited else -1 - n
        n_todo += cells[n, HEADROOM] < 0.0
    return n_todo


@kernel(inline=True)
def _next_segment(net, state, segment, emitted):
    """The next segment of the same source if it arrives now too, else -1; one with a longer delay goes on its way."""
    if net.segment_place[segment, SEGMENT_LAST] != 0:
        return -1
    following = segment + 1
    if net.segment_delay[following] == net.segment_delay[segment]:
        return following
    counts = state.counts
    counts[N_ON_WAY] = push_arrival(
        state.way_times, state.way_items, counts[N_ON_WAY], emitted + net.segment_delay[following], emitted,
        counts[N_RANKS], following,
    )  # fmt: skip
    counts[N_RANKS] += 1
    return -1


@kernel(inline=True)
def _arrive(net, state, scratch, now):
    """Deliver all spikes that arrive now; returns how many neurons are in `todo`.

    Several of one instant are added up before they reach a neuron; so opposite ones cancel exactly.
    """
    counts, times, items, place = state.counts, state.way_times, state.way_items, net.segment_place
    s = now - state.reals[WINDOW_START]
    n_todo, n_touched, alone = 0, 0, True
    while True:
        emitted, segment = times[EMITTED, 0], items[SEGMENT, 0]
        counts[N_ON_WAY] = pop_arrival(times, items, counts[N_ON_WAY])
        more = counts[N_ON_WAY] > 0 and times[ARRIVAL, 0] == now
        alone = alone and not more
        while segment >= 0:
            low, high = place[segment, SEGMENT_START], place[segment, SEGMENT_END]
            g, r = place[segment, SEGMENT_GROUP], place[segment, SEGMENT_RECEPTOR]
            counts[N_SYNAPTIC] += high - low
            if alone:
                gain = math.exp(s / net.tau_syn[g, r]) / net.tau_mem[g]
                n_todo = _deliver(
                    state.cells, net.targets, net.weights, low, high, r, gain, gain * warp(s, net.delta[g, r]),
                    scratch.push[g, r], scratch.todo, n_todo,
                )  # fmt: skip
            else:
                n_touched = _add_up(
                    net.targets, net.weights, low, high, r, scratch.sums, scratch.touched, scratch.is_touched, n_touched
                )
            segment = _next_segment(net, state, segment, emitted)
        if not more:
            break
    return n_todo if alone else _deliver_sums(net, state, scratch, n_touched, now)


@kernel(inline=True)
def _reset(net, state, n, now):
    """Set the potential of neuron n to its reset value."""
    g = net.group_of[n]
    s = now - state.reals[WINDOW_START]
    p = net.reset[n] * math.exp(s / net.tau_mem[g])
    for r in range(net.n_receptors[g]):
        p -= state.cells[n, Q + r] * warp(s, net.delta[g, r])
    state.cells[n, P] = p


@kernel(inline=True)
def _come_up(net, state, scratch, now, out_times, out_neurons):
    """Handle the head of the queue: a spike, the end of a refractory time, or a time that was too early.

    Returns how many neurons are in `todo`: 1 if this one can fire again in the window, else 0.
    """
    counts, off = state.counts, state.off
    n = state.queue[0]
    counts[N_QUEUED] = remove_neuron(state.queue, state.place, state.key, counts[N_QUEUED], n)
    scratch.todo[0] = n
    if off[n] == 0.0 and state.stale[n] != 0:
        return 1
    if off[n] == 0.0:
        out_times[counts[N_WRITTEN]] = now
        out_neurons[counts[N_WRITTEN]] = n
        counts[N_WRITTEN] += 1
        state.n_spikes[n] += 1
        _emit(net, state, net.n_external + n, now)
        if state.n_spikes[n] >= net.max_spikes[n]:
            off[n], state.cells[n, HEADROOM] = np.inf, np.inf
            return 0
        if net.t_refrac[n] > 0.0:
            off[n], state.cells[n, HEADROOM], state.held_until[n] = np.inf, np.inf, now + net.t_refrac[n]
            if state.held_until[n] > state.reals[WINDOW_END]:
                state.held[counts[N_HELD]] = n
                counts[N_HELD] += 1
            else:
                counts[N_QUEUED] = put_neuron(
                    state.queue, state.place, state.key, counts[N_QUEUED], n, state.held_until[n]
                )
            return 0
    else:
        off[n] = 0.0
    _reset(net, state, n, now)
    return 1


@kernel
def queue_run(net, state, scratch, times, sources, t_end, out_times, out_neurons, max_steps):
    """Go on until t_end, at most `max_steps` steps; returns a status.

    Parameters
    ----------
    net : QueueNetwork; state : QueueState; scratch : QueueScratch
    times, sources : (n_inputs,) external spikes in the order of their times; NEXT_INPUT counts those that are used up
    t_end : nothing after it happens; it may be inf
    out_times, out_neurons : spikes are written from N_WRITTEN on
    max_steps : the caller shows progress, or stops, in between; the result does not depend on it

    Returns
    -------
    STATUS_OK; STATUS_BUFFER_FULL: give more room (output, or spikes on their way) and call again; STATUS_PAUSED:
    call again. The state may also be taken up later, with later inputs and a later t_end, with the same bits as in one
    run: nothing of it depends on t_end.
    """
    counts, reals, way_times = state.counts, state.reals, state.way_times
    todo = scratch.todo
    describe_window(net, state, scratch)
    for _ in range(max_steps):
        i = counts[NEXT_INPUT]
        t_input = times[i] if i < times.size else np.inf
        t_way = way_times[ARRIVAL, 0] if counts[N_ON_WAY] > 0 else np.inf
        t_arrive = min(t_input, t_way)
        t_spike = state.key[state.queue[0]] if counts[N_QUEUED] > 0 else np.inf
        t = min(t_arrive, t_spike)
        if t > reals[WINDOW_END]:
            if reals[WINDOW_END] >= t_end:
                return STATUS_OK
            start = reals[WINDOW_END]
            if counts[N_EVENTS] == 0 and is_quiet(net, state):
                if t_arrive > t_end or t_arrive == np.inf:
                    return STATUS_OK
                start = t_arrive
            counts[N_EVENTS] = 0
            n_todo = open_window(net, state, scratch, start)
            t = start
        elif t > t_end:
            return STATUS_OK
        elif counts[N_ON_WAY] + 3 > way_times.shape[1] or (t_spike <= t_arrive and counts[N_WRITTEN] == out_times.size):
            return STATUS_BUFFER_FULL
        else:
            counts[N_EVENTS] += 1
            if t_spike <= t_arrive:
                n_todo = _come_up(net, state, scratch, t, out_times, out_neurons)
            elif t_input <= t_way:
                _emit(net, state, sources[i], t)
                counts[NEXT_INPUT] += 1
                n_todo = 0
            else:
                n_todo = _arrive(net, state, scratch, t)
        for k in range(n_todo):
            n = todo[k]
            if n < 0 and state.place[-1 - n] >= 0:
                state.stale[-1 - n] = 1
            else:
                reconsider(net, state, scratch, n if n >= 0 else -1 - n, t)
    return STATUS_PAUSED
