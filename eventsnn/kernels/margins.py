"""How far neurons are from another spike and from losing one: the highest peak of v, and dv/dt at the spikes.

A neuron is free from the start, or the end of a refractory time, until its next spike. Looked for is the highest v over
all its free time, without the rise that ends in each spike: the highest of

    local maxima between two events, maxima at an arrival that turned a rise into a fall, the value where a free stretch
    begins and v falls (v at the start, v_reset at a release), and the value at t_max where v rises there.

With u = v - v_inf and the currents i_r at the beginning of an interval, du/ds has the sign of exp(s/tau_mem) du/ds,
whose derivative is -exp(s/tau_mem)/tau_mem times D(s) = sum_r (i_r/tau_r) exp(-s/tau_r). The sign changes of D are
isolated (`exponential_sum.sign_changes`); between two of them du/ds has at most one zero, which is found by Newton's
iteration in a bracket. With one receptor D has no zero, and the peak is a closed form.

Most intervals are left out by a bound,

    u <= max(u(0), 0) + sum over i_r > 0 of i_r min(c_r, h/tau_mem),

with c_r the highest response to a unit current.
"""

from __future__ import annotations

import math

from eventsnn.kernels.exponential_sum import sign_changes
from eventsnn.kernels.flow import decay_difference, extremum_time, membrane, peak_time, response_and_decay
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.traces import HELD_UNTIL, T_REFRAC, TAU_MEM, V_INF, V_RESET, V_START

#: where a peak lies: never free to rise and fall, at the start, at a release, between events, at an arrival, at t_max
NOWHERE, AT_START, AT_RELEASE, INSIDE, AT_ARRIVAL, AT_END = range(6)
#: columns of `peaks`: u = v - v_inf, its time, dv/dt before it where it lies at an arrival, and where it lies
HEIGHT, TIME, SLOPE, PLACE = 0, 1, 2, 3
#: rows of `work`: currents, weights of D, highest responses
_CURRENT, _WEIGHT, _HIGHEST = 0, 1, 2
#: After so many of the longest time constant v is what it tends to.
_AT_REST = 200.0


@kernel
def _state_at(s, u, currents, tau_mem, tau_syn):
    """u, du/ds and D/tau_mem, s after a state."""
    drive, fading = 0.0, 0.0
    decay = math.exp(-s / tau_mem)
    later = u * decay
    for r in range(tau_syn.size):
        rate, delta = 1.0 / tau_syn[r], decay_difference(tau_mem, tau_syn[r])
        response, synaptic_decay = response_and_decay(s, decay, rate, delta)
        i = currents[r] * synaptic_decay
        drive += i
        fading += i * rate
        later += currents[r] / tau_mem * response
    return later, (drive - later) / tau_mem, fading / tau_mem


@kernel
def _zero_of_slope(low, high, shortest, u, currents, tau_mem, tau_syn):
    """Where du/ds passes from + to -, once between low and high."""
    s, last_step = 0.5 * (low + high), high - low
    for _ in range(200):
        _, rise, fading = _state_at(s, u, currents, tau_mem, tau_syn)
        if rise == 0.0:
            break
        low, high = (s, high) if rise > 0.0 else (low, s)
        # Newton's step on exp(s/tau_mem) du/ds; one that leaves the bracket or is not short is replaced by a halving
        step = 0.5 * (low + high) - s
        if math.fabs(rise) <= 0.5 * last_step * math.fabs(fading) and low < s + rise / fading < high:
            step = rise / fading
        last_step = math.fabs(step)
        s += step
        if last_step <= 2.0**-53 * (s + shortest):
            break
    return s


@kernel
def _keep(found, u, t, slope, place):
    """Enter a peak that is higher than the one in `found`."""
    if u > found[HEIGHT]:
        found[HEIGHT], found[TIME], found[SLOPE], found[PLACE] = u, t, slope, place


@kernel
def _search_inside(t, h, to_spike, u, tau_mem, tau_syn, work, scratch, roots, found):
    """Enter the highest maximum in the interval (t, t + h); one that ends with a spike rises at its end."""
    currents, n = work[_CURRENT], tau_syn.size
    if n == 1:
        delta = decay_difference(tau_mem, tau_syn[0])
        s = peak_time(u, currents[0] / tau_mem, tau_mem, tau_syn[0], delta)
        if 0.0 < s < h and not to_spike:
            _keep(found, membrane(s, u, currents[0] / tau_mem, tau_mem, delta), t + s, 0.0, INSIDE)
        return
    longest = shortest = tau_mem
    for r in range(n):
        work[_WEIGHT, r] = currents[r] / tau_syn[r]
        longest, shortest = max(longest, tau_syn[r]), min(shortest, tau_syn[r])
    h = min(h, _AT_REST * longest)
    n_roots = sign_changes(work[_WEIGHT], tau_syn, n, h, scratch, roots)
    low, rising = 0.0, _state_at(0.0, u, currents, tau_mem, tau_syn)[1] > 0.0
    for k in range(n_roots + 1):
        high = roots[k] if k < n_roots else h
        rises_there = _state_at(high, u, currents, tau_mem, tau_syn)[1] > 0.0
        if k == n_roots and to_spike:
            rises_there = True
        if rising and not rises_there:
            s = _zero_of_slope(low, high, shortest, u, currents, tau_mem, tau_syn)
            _keep(found, _state_at(s, u, currents, tau_mem, tau_syn)[0], t + s, 0.0, INSIDE)
        low, rising = high, rises_there


@kernel
def _search(t, h, begins, rising, left, to_spike, u, tau_mem, tau_syn, work, scratch, roots, found):
    """Look through one interval, h > 0, that begins at t.

    begins : AT_START or AT_RELEASE where a free stretch begins, else NOWHERE; rising, left : whether v rose before, and
        dv/dt there
    """
    currents = work[_CURRENT]
    bound, drive, part = max(u, 0.0), 0.0, h / tau_mem
    for r in range(tau_syn.size):
        drive += currents[r]
        bound += max(currents[r], 0.0) * min(work[_HIGHEST, r], part)
    if drive <= u:
        if begins != NOWHERE:
            _keep(found, u, t, 0.0, begins)
        elif rising:
            _keep(found, u, t, left, AT_ARRIVAL)
    if bound > found[HEIGHT]:
        _search_inside(t, h, to_spike, u, tau_mem, tau_syn, work, scratch, roots, found)


@kernel
def peaks_and_slopes(
    parameters, tau_syn, theta, max_spikes, t_start, t_max, start_currents, arrival_ends, arrival_times,
    arrival_receptors, arrival_weights, spike_ends, spike_times, work, scratch, roots, peaks, slopes,
):  # fmt: skip
    """Fill peaks, (n, 4), and slopes, (n_spikes,), of n neurons.

    parameters, tau_syn, t_start, start_currents, arrival_*, spike_* : as in `traces.membrane_traces`
    theta : (n,), v_threshold - v_inf; max_spikes : after so many a neuron is not looked at any more
    t_max : may be inf: v tends to v_inf, and u = 0 at t = inf stands for where it comes to from below
    work : (3, K); scratch : as for `first_crossing_of_sum`; roots : (K,)
    peaks : columns HEIGHT ... PLACE; -inf, nan, 0, NOWHERE where there is none
    slopes : dv/dt just before every spike, in the order of spike_times
    """
    n_receptors = tau_syn.shape[1]
    for n in range(parameters.shape[0]):
        parameter, found, currents = parameters[n], peaks[n], work[_CURRENT]
        tau_mem, v_inf = parameter[TAU_MEM], parameter[V_INF]
        found[HEIGHT], found[TIME], found[SLOPE], found[PLACE] = -math.inf, math.nan, 0.0, NOWHERE
        longest = tau_mem
        for r in range(n_receptors):
            currents[r] = start_currents[n, r]
            longest = max(longest, tau_syn[n, r])
            tau, delta = tau_syn[n, r], decay_difference(tau_mem, tau_syn[n, r])
            work[_HIGHEST, r] = math.exp(-extremum_time(0.0, 1.0 / tau_mem, tau_mem, tau, delta) / tau)
        t, held_until, begins, rising, left = t_start, parameter[HELD_UNTIL], AT_START, False, 0.0
        held = held_until > t_start
        u = (parameter[V_RESET] if held else parameter[V_START]) - v_inf
        k, m = arrival_ends[n], spike_ends[n]
        is_done = False
        while not is_done:
            t_spike = spike_times[m] if m < spike_ends[n + 1] else math.inf
            t_release = held_until if held else math.inf
            t_arrival = arrival_times[k] if k < arrival_ends[n + 1] else math.inf
            next_time = min(min(t_spike, t_release), t_arrival)
            ends = next_time > t_max or next_time == math.inf
            h = (t_max if ends else next_time) - t
            if h > 0.0 and not held:
                _search(
                    t, h, begins, rising, left, not ends and next_time == t_spike, u, tau_mem, tau_syn[n], work,
                    scratch, roots, found,
                )  # fmt: skip
                begins = NOWHERE
                until = min(h, _AT_REST * longest)
                later, left, _ = _state_at(until, u, currents, tau_mem, tau_syn[n])
                rising = left > 0.0
                if until < h:  # what then still lies below v_inf comes up to it, whatever its last digits say
                    rising = later <= 0.0 and (rising or u < 0.0)
                    left, later = 0.0, 0.0
                u = later
            if ends:
                if rising and not held:
                    _keep(found, u, t_max, 0.0, AT_END)
                break
            for r in range(n_receptors):
                currents[r] *= math.exp(-h / tau_syn[n, r])
            t = next_time
            if t == t_spike:
                drive = 0.0
                for r in range(n_receptors):
                    drive += currents[r]
                slopes[m] = (drive - theta[n]) / tau_mem
                m += 1
                is_done = m - spike_ends[n] >= max_spikes
                held, held_until, rising = True, t + parameter[T_REFRAC], False
                u = parameter[V_RESET] - v_inf
            elif t == t_release:
                held, begins = False, AT_RELEASE
            else:
                currents[arrival_receptors[k]] += arrival_weights[k]
                k += 1
