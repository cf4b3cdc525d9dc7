"""Synaptic delays, few inputs, tau_mem == 2 tau_syn: all neurons of a layer together, without sorting.

Every arrival k is taken as the last one before the spike: the coefficients of neuron n then are sums over the arrivals
that are not later, a comparison per pair of arrivals, and its next arrival is the nearest later one. For m inputs that
is m^2 vectorised rows instead of a sorted list per neuron; it pays for few (`MOST_INPUTS`). With y = exp(s/tau_mem)

    gain = w y^2/tau_mem,   cross = -w y (y - 1),   u > theta   <=>   p y + q tau_mem (y - 1) > theta y^2,

so there is no division either. Neurons in doubt (a peak inside an interval, a value at the threshold) are left to the
caller, which decides exactly.
"""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.jit import kernel

#: more inputs are sorted; and fewer neurons do not fill the vectors
MOST_INPUTS, FEWEST_NEURONS = 8, 8

#: relative distance from threshold beyond which plain arithmetic decides
_CLEAR = 1e-9


@kernel(fastmath={"contract"})
def _fill_rows(t, rise, delay, grow_mem, weight, rate, arrivals, rises, gains, crosses):
    for n in range(arrivals.size):
        y = rise * grow_mem[n]
        w = np.float64(weight[n])
        arrivals[n] = t + delay[n]
        rises[n] = y
        gains[n] = w * rate * y * y
        crosses[n] = w * y * (y - 1.0)


@kernel(fastmath={"contract"})
def _take_in(own, other, rises, gains, crosses, p, q, following):
    """Arrival `other` for the intervals that begin with the arrivals `own`."""
    for n in range(p.size):
        before = other[n] <= own[n]
        p[n] -= crosses[n] if before else 0.0
        q[n] += gains[n] if before else 0.0
        y = np.inf if before else rises[n]
        following[n] = y if y < following[n] else following[n]


@kernel(fastmath={"contract"})
def _judge(own, rises, p, q, following, tau_mem, theta, hits, doubts):
    """hits, doubts = the interval's beginning where it certainly, or perhaps, holds a crossing; else inf."""
    for n in range(p.size):
        y, drive = rises[n], tau_mem * q[n]
        is_last = following[n] == np.inf
        end = 1.0 if is_last else following[n]
        # inside: the value at the end decides, or that the potential still rises there
        top, level = p[n] * end + drive * (end - 1.0), theta * end * end
        above = top > level * (1.0 + _CLEAR)
        below = (top < level * (1.0 - _CLEAR)) & (drive * (1.0 - _CLEAR) > top)
        outside = top < theta * y * end * (1.0 - _CLEAR)
        # after the last arrival: the highest peak, 4 drive height = (p + drive)^2, and whether it is still to come
        sum_ = p[n] + drive
        square, bar = sum_ * sum_, 4.0 * drive * theta
        high, low = square > bar * (1.0 + _CLEAR), (square < bar * (1.0 - _CLEAR)) | (sum_ <= 0.0)
        rising = drive > p[n] * y + drive * (y - 1.0)
        driven = drive > 0.0
        hit = driven & ((high & rising & ~low) if is_last else above)
        settled = (high | low) if is_last else (above | below | outside)
        hits[n] = own[n] if hit else np.inf
        doubts[n] = own[n] if driven & ~settled else np.inf


@kernel(fastmath={"contract"})
def _keep_first(hits, p, q, first, first_p, first_q):
    for n in range(hits.size):
        earlier = hits[n] < first[n]
        first[n] = hits[n] if earlier else first[n]
        first_p[n] = p[n] if earlier else first_p[n]
        first_q[n] = q[n] if earlier else first_q[n]


@kernel(fastmath={"contract"})
def _keep_least(doubts, least):
    for n in range(doubts.size):
        least[n] = doubts[n] if doubts[n] < least[n] else least[n]


@kernel
def few_inputs(constants, tables, weight, delay, events, start, end, grow_mem, rows, found):
    """First crossings of all neurons in one sample; returns whether all coefficients are finite.

    Parameters
    ----------
    constants : LayerConstants of the family tau_mem == 2 tau_syn, t_end infinite
    tables, weight, delay : by presynaptic neuron, (n_pre, n_post)
    grow_mem : exp((t - r)/tau_mem) of the events, as in `delayed_layer.sample_tables`
    rows : float64, (4 MOST_INPUTS, n_post), scratch: all arrivals, then their y, gains and crosses
    found : float64, (8, n_post), filled: in the first four rows the beginning of the interval with the spike (inf for
        none), p and q there, and the beginning of the earliest interval in doubt (inf for none)
    """
    m = end - start
    rate = 1.0 / constants.tau_mem
    for i in range(m):
        j = events.neurons[start + i]
        _fill_rows(
            events.times[start + i], grow_mem[i], delay[j], tables.grow_mem[j], weight[j], rate, rows[i],
            rows[MOST_INPUTS + i], rows[2 * MOST_INPUTS + i], rows[3 * MOST_INPUTS + i],
        )  # fmt: skip
    first, first_p, first_q, doubt = found[0], found[1], found[2], found[3]
    p, q, following, hits = found[4], found[5], found[6], found[7]
    first[:] = np.inf
    doubt[:] = np.inf
    total = 0.0
    for k in range(m):
        p[:] = 0.0
        q[:] = 0.0
        following[:] = np.inf
        for i in range(m):
            _take_in(
                rows[k], rows[i], rows[MOST_INPUTS + i], rows[2 * MOST_INPUTS + i], rows[3 * MOST_INPUTS + i], p, q,
                following,
            )  # fmt: skip
        # `following` is free once it is judged: it takes the doubts
        _judge(rows[k], rows[MOST_INPUTS + k], p, q, following, constants.tau_mem, constants.theta, hits, following)
        _keep_first(hits, p, q, first, first_p, first_q)
        _keep_least(following, doubt)
    for n in range(weight.shape[1]):
        total += p[n] + q[n]
    return np.isfinite(total)
