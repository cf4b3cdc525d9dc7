"""First-spike layers in which every neuron sees its inputs in an order of its own: synaptic delays, noise per synapse.

Neuron by neuron: its arrivals a_j = t_j + d_jn are sorted (n log n, no pair of inputs is ever looked at), then taken
in order. With exp((t_j - r)/tau) of the events and exp(d_jn/tau) of the synapses as tables, an arrival costs a few
multiplications and no exponential (`r`: a reference time of the sample); where that is not possible (`tables.usable`,
or a sample so long that the exponentials would grow) the state is carried from arrival to arrival exactly.

The decision whether a neuron crosses inside an interval is that of `crossing`, after a bound that rules out most.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import (
    CANCELLATION_SPAN,
    EVENT,
    FOUND_P,
    FOUND_Q,
    NEURON,
    REFERENCE,
    REFERENCE_SPAN,
    S_HIGH,
    S_LOW,
    STATUS_NOT_FINITE,
    STATUS_OK,
)
from eventsnn.kernels.delayed_few import (
    BEGIN,
    DOUBT,
    END,
    FEWEST_NEURONS,
    MOST_INPUTS,
    P,
    Q,
    few_inputs,
    few_scratch,
)
from eventsnn.kernels.exponential import exp_decay
from eventsnn.kernels.flow import decay_difference, lif_flow, membrane, peak_time
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.solve import highest_peak, solve_found
from eventsnn.kernels.sorting import sort_events
from eventsnn.kernels.spike_time import FAMILY_DOUBLE, crosses, family_of, spike_time_and_slope

#: rounding of the bound that rules out crossings, relative to its terms
_SLACK = 1e-11
#: number of arrivals up to which they are inserted one by one
_FEW = 40
#: relative distance from threshold beyond which plain arithmetic decides
_CLEAR = 1e-9


@kernel
def sample_tables(tables, tau_mem, tau_syn, events, start, end, grow_mem, grow_syn):
    """exp((t - r)/tau) of the events of a sample, r the first one's time; whether the tables can be used for it."""
    if end == start or not tables.usable:
        return False
    delta = decay_difference(tau_mem, tau_syn)
    reference = events.times[start]
    span = events.times[end - 1] - reference + tables.longest
    # in float64 twice the digits may cancel that float32 can spare, and still 12 are left
    if span > REFERENCE_SPAN * min(tau_mem, tau_syn) or delta * span > 2.0 * CANCELLATION_SPAN:
        return False
    times = events.times[start:end]
    # one array per loop, or they are not vectorised
    for k in range(times.size):
        grow_mem[k] = exp_decay((reference - times[k]) / tau_mem)
    if delta == 0.0:
        for k in range(times.size):
            grow_syn[k] = grow_mem[k]
    else:
        for k in range(times.size):
            grow_syn[k] = exp_decay((reference - times[k]) / tau_syn)
    return True


@kernel
def _arrivals(events, start, end, delay, jitter, b, n, t_end, keys, places, spare_keys, spare_places, heads):
    """Times of the arrivals at neuron n up to t_end, sorted, and which event each is; returns how many.

    delay : (n_post, n_pre)
    """
    m = 0
    noisy = jitter.size > 0
    few = end - start <= _FEW
    for k in range(start, end):
        j = events.neurons[k]
        a = events.times[k] + delay[n, j]
        if noisy:
            a = max(a + jitter[b, j, n], 0.0)
        if a > t_end:
            continue
        free = m
        if few:  # the events come in order, and delays are mostly short: few places to move
            while free > 0 and keys[free - 1] > a:
                keys[free], places[free] = keys[free - 1], places[free - 1]
                free -= 1
        keys[free], places[free] = a, k
        m += 1
    if not few:
        sort_events(keys, places, spare_keys, spare_places, heads, 0, m)
    return m


@kernel
def _crosses_inside(constants, p, q, s_low, s_high, x_high, rise_high):
    """Whether a neuron below threshold at s_low with q > 0 crosses in (s_low, s_high]; plain arithmetic mostly tells.

    A value above threshold at the end decides, and so does one below where the potential still rises, or the height of
    the peak wherever it lies; the rest is for `crosses`.
    """
    theta = constants.theta
    top, level = p + q * x_high, theta * rise_high
    if top > level * (1.0 + _CLEAR):
        return True
    if top < level * (1.0 - _CLEAR) and constants.tau_mem * q * (1.0 - constants.delta * x_high) > top:
        return False
    if highest_peak(constants, p, q) < theta * (1.0 - _CLEAR):
        return False
    return crosses(p, q, theta, constants.tau_mem, constants.tau_syn, constants.delta, s_low, s_high)


@kernel
def _crosses_at_last(constants, p, q, s_low, s_high, x_low):
    """The same for the interval after the last arrival, with x at its beginning."""
    peak = highest_peak(constants, p, q)
    if peak < constants.theta * (1.0 - _CLEAR):
        return False
    if s_high == math.inf and constants.theta * (1.0 + _CLEAR) < peak < math.inf:
        return constants.tau_mem * q * (1.0 - constants.delta * x_low) > p + q * x_low
    return crosses(p, q, constants.theta, constants.tau_mem, constants.tau_syn, constants.delta, s_low, s_high)


@kernel
def _enter_found(found, i, p, q, s_low, s_high, n, k):
    floats, places = found.floats, found.places
    floats[FOUND_P, i], floats[FOUND_Q, i], floats[S_LOW, i], floats[S_HIGH, i] = p, q, s_low, s_high
    places[NEURON, i], places[EVENT, i] = n, k


@kernel
def _by_tables(
    constants, tables, weight, times, neurons, start, grow_mem, grow_syn, fade, keys, places, m, n, last, found, n_found
):
    """First spike of neuron n by the tables, to `found`; returns how many there are, -1 for coefficients not finite."""
    reference = times[start]
    p, q, x, bound = 0.0, 0.0, 0.0, 0.0
    delta, inverse = constants.delta, 1.0 / constants.delta if constants.delta != 0.0 else 0.0
    for i in range(m):
        k = places[i]
        j = neurons[k]
        rise = grow_mem[k - start] * tables.grow_mem[n, j]
        if delta != 0.0:
            rise_syn = grow_syn[k - start] * tables.grow_syn[n, j]
            x = (1.0 - fade[k - start] * tables.fade[n, j]) * inverse
        else:
            rise_syn, x = rise, keys[i] - reference
        qx = q * x
        # p + q x only grows where q > 0; at a crossing it is theta exp(s/tau_mem), which is at least `bound`
        if q > 0.0 and p + qx > bound - _SLACK * (math.fabs(p) + qx + bound):
            s_low, s_high = keys[i - 1] - reference, keys[i] - reference
            if s_high > s_low and _crosses_inside(constants, p, q, s_low, s_high, x, rise):
                _enter_found(found, n_found, p, q, s_low, s_high, n, k)
                last[n] = keys[i - 1]
                return n_found + 1
        gain = weight[n, j] * rise_syn / constants.tau_mem
        q += gain
        p -= gain * x
        bound = constants.theta * rise
    if not math.isfinite(p + q):
        return -1
    if m > 0 and q > 0.0:
        s_low, s_high = keys[m - 1] - reference, constants.t_end - reference
        if s_high > s_low and _crosses_at_last(constants, p, q, s_low, s_high, x):
            _enter_found(found, n_found, p, q, s_low, s_high, n, places[m - 1])
            last[n] = keys[m - 1]
            return n_found + 1
    return n_found


@kernel
def _step_by_step(weight, events, keys, places, m, n, theta, tau_mem, tau_syn, delta, family, t_end, record, last, b):
    """The same with an exact step from arrival to arrival: any span, any time constants."""
    u, current = 0.0, 0.0
    for i in range(m):
        current += weight[n, events.neurons[places[i]]]
        h = (keys[i + 1] if i + 1 < m else t_end) - keys[i]
        if not h > 0.0:
            continue
        q = current / tau_mem
        if q > 0.0 and crosses(u, q, theta, tau_mem, tau_syn, delta, 0.0, h):
            s, slope = spike_time_and_slope(u, q, theta, tau_mem, tau_syn, delta, family, 0.0, h)
            record.time[b, n], record.slope[b, n], last[b, n] = keys[i] + s, slope, keys[i]
            return True
        if i + 1 < m:
            u, current = lif_flow(u, current, h, tau_mem, tau_syn, delta)
    return math.isfinite(u + current)


@kernel(allocates=True)
def delayed_forward(
    constants, shared, tables, weight, delay, by_pre, weight_by_pre, delay_by_pre, threshold, jitter, events, record,
    last, found, out,
):  # fmt: skip
    """First spikes of a block; returns (status, sample) as `layer_forward`.

    Parameters
    ----------
    constants : NeuronConstants, without bias currents and with v_leak < v_threshold
    shared : LayerConstants of the same neurons; only looked at where tables.usable
    tables : DelayTables of `delay`; not usable with `threshold` or `jitter`
    weight, delay : (n_post, n_pre), rows by postsynaptic neuron; delay in float64, added to every arrival
    by_pre, weight_by_pre, delay_by_pre : the same three by presynaptic neuron, (n_pre, n_post)
    threshold : float64, (n_samples, n_post), v_threshold - v_leak of every neuron in every sample, or of size 0
    jitter : float64, (n_samples, n_pre, n_post), added to the arrival times, which are not before 0; or of size 0
    events : InputEvents
    record : SpikeRecord; time and slope are filled
    last : float64, (n_samples, n_post), the last arrival before the spike
    found : FoundSpikes, scratch with room for n_post
    out : OutputEvents with room for every neuron in every sample
    """
    n_post = weight.shape[0]
    longest = 0
    for b in range(events.offsets.size - 1):
        longest = max(longest, events.offsets[b + 1] - events.offsets[b])
    size = max(longest + 1, n_post)
    keys, spare_keys = np.empty(size), np.empty(size)
    places, spare_places, heads = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size + 1, np.int64)
    grow_mem, grow_syn, fade = np.empty(longest), np.empty(longest), np.empty(longest)
    clock = np.empty((2, events.times.size))
    few = n_post >= FEWEST_NEURONS and shared.family == FAMILY_DOUBLE and shared.t_end == np.inf
    scratch = few_scratch(n_post)
    crossings = scratch[2]
    written = 0
    out.offsets[0] = 0
    for b in range(events.offsets.size - 1):
        start, end = events.offsets[b], events.offsets[b + 1]
        by_tables = sample_tables(tables, shared.tau_mem, shared.tau_syn, events, start, end, grow_mem, grow_syn)
        if by_tables:
            for k in range(start, end):
                fade[k - start] = grow_mem[k - start] / grow_syn[k - start]
                clock[REFERENCE, k] = events.times[start]
        first_out, n_found = written, 0
        record.time[b, :] = np.inf
        together = by_tables and few and end - start <= MOST_INPUTS
        if together and not few_inputs(
            shared, by_pre, weight_by_pre, delay_by_pre, events, start, end, grow_mem, scratch
        ):
            return STATUS_NOT_FINITE, b
        for n in range(n_post):
            if together and crossings[DOUBT, n] >= crossings[BEGIN, n]:  # no doubt before its spike, if it has one
                if crossings[BEGIN, n] < np.inf:
                    _enter_found(
                        found, n_found, crossings[P, n], crossings[Q, n], crossings[BEGIN, n] - events.times[start],
                        crossings[END, n] - events.times[start], n, start,
                    )  # fmt: skip
                    last[b, n] = crossings[BEGIN, n]
                    n_found += 1
                continue
            m = _arrivals(
                events, start, end, delay, jitter, b, n, constants.t_end, keys, places, spare_keys, spare_places, heads
            )
            if by_tables:
                n_found = _by_tables(
                    shared, tables, weight, events.times, events.neurons, start, grow_mem, grow_syn, fade, keys, places,
                    m, n, last[b], found, n_found,
                )  # fmt: skip
                if n_found < 0:
                    return STATUS_NOT_FINITE, b
                continue
            tau_mem, tau_syn = constants.tau_mem[n], constants.tau_syn[n]
            delta, family = decay_difference(tau_mem, tau_syn), family_of(tau_mem, tau_syn)
            theta = constants.v_threshold[n] - constants.v_leak[n]
            if threshold.size > 0:
                theta = threshold[b, n]
            if not _step_by_step(
                weight, events, keys, places, m, n, theta, tau_mem, tau_syn, delta, family, constants.t_end, record,
                last, b,
            ):  # fmt: skip
                return STATUS_NOT_FINITE, b
            if record.time[b, n] < np.inf:
                out.times[written], out.neurons[written] = record.time[b, n], n
                written += 1
        if by_tables:
            written = solve_found(
                shared, clock, found.floats, found.bits, found.places, n_found, b, record, out.times, out.neurons,
                written,
            )  # fmt: skip
        sort_events(out.times, out.neurons, spare_keys, spare_places, heads, first_out, written - first_out)
        out.offsets[b + 1] = written
    return STATUS_OK, -1


@kernel(allocates=True)
def delayed_peaks(constants, weight, delay, jitter, events, wanted, record, last, peaks):
    """As `neuron_wise_peaks`, for layers with delays: highest peaks of the silent neurons that are wanted.

    A peak at a kink moves with the arrival that makes it: record.causal_end is that event, and `last` is the arrival
    before.
    """
    peaks[:, :] = 0.0
    longest = 0
    for b in range(events.offsets.size - 1):
        longest = max(longest, events.offsets[b + 1] - events.offsets[b])
    keys, spare_keys = np.empty(longest + 1), np.empty(longest + 1)
    places, spare_places = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    heads = np.empty(longest + 1, np.int64)
    for b in range(events.offsets.size - 1):
        start, end = events.offsets[b], events.offsets[b + 1]
        for n in range(weight.shape[0]):
            if not wanted[b, n] or record.time[b, n] != np.inf:
                continue
            m = _arrivals(
                events, start, end, delay, jitter, b, n, constants.t_end, keys, places, spare_keys, spare_places, heads
            )
            tau_mem, tau_syn = constants.tau_mem[n], constants.tau_syn[n]
            delta = decay_difference(tau_mem, tau_syn)
            u, current, left, group = 0.0, 0.0, 0.0, 0
            for i in range(m):
                if i > 0 and keys[i] > keys[i - 1]:
                    u, current = lif_flow(u, current, keys[i] - keys[i - 1], tau_mem, tau_syn, delta)
                    left, group = (current - u) / tau_mem, i
                current += weight[n, events.neurons[places[i]]]
                h = (keys[i + 1] if i + 1 < m else constants.t_end) - keys[i]
                if i + 1 < m and h == 0.0:
                    continue
                s_top = peak_time(u, current / tau_mem, tau_mem, tau_syn, delta) if current > 0.0 else -np.inf
                at_kink = s_top <= 0.0
                if not at_kink and i + 1 < m and s_top > h:
                    continue
                s_top = 0.0 if at_kink else min(s_top, h)
                if s_top == np.inf:
                    continue
                peak = membrane(s_top, u, current / tau_mem, tau_mem, delta)
                if peak > peaks[b, n]:
                    peaks[b, n] = peak
                    record.time[b, n] = keys[i] + s_top
                    record.slope[b, n] = -max(left, 0.0) if at_kink else 0.0
                    record.causal_end[b, n] = places[group]
                    last[b, n] = keys[group - 1] if at_kink else keys[i]


@kernel
def lay_out(weight, delay, tau_mem, tau_syn, usable, weight_by_post, delay_by_post, by_post, by_pre):
    """Weights and delays, (n_pre, n_post), by postsynaptic neuron, and the tables of both layouts.

    by_post, by_pre : float64, (3, n_post, n_pre) and (3, n_pre, n_post); grow_mem, grow_syn and fade of `DelayTables`

    Returns the longest delay, and whether the tables are filled: not so if they are not `usable`, or would overflow.
    """
    longest = 0.0
    for j in range(delay.shape[0]):
        for n in range(delay.shape[1]):
            longest = max(longest, delay[j, n])
            delay_by_post[n, j] = delay[j, n]
            weight_by_post[n, j] = weight[j, n]
    if not usable or longest > REFERENCE_SPAN * min(tau_mem, tau_syn):
        return longest, False
    for j in range(delay.shape[0]):
        for n in range(delay.shape[1]):
            mem, syn = math.exp(delay[j, n] / tau_mem), math.exp(delay[j, n] / tau_syn)
            by_pre[0, j, n], by_pre[1, j, n], by_pre[2, j, n] = mem, syn, mem / syn
            by_post[0, n, j], by_post[1, n, j], by_post[2, n, j] = mem, syn, mem / syn
    return longest, True
