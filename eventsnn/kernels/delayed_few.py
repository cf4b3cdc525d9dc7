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

#: rows are filled up to a multiple of this: what is left over of a row would be taken number by number, and of 30
#: neurons that is nearly half
_WHOLE = 16

#: relative distance from threshold beyond which plain arithmetic decides
_CLEAR = 1e-9


# Every loop below writes one array: two and more outputs beside four inputs are more pairs of pointers than LLVM is
# ready to compare at run time, and it would not vectorise them.


@kernel(fastmath={"contract"})
def _fill_rows(t, rise, delay, grow_mem, weight, rate, arrivals, rises, gains, crosses):
    for n in range(delay.size):
        arrivals[n] = t + delay[n]
    for n in range(delay.size):
        rises[n] = rise * grow_mem[n]
    for n in range(delay.size):
        gains[n] = np.float64(weight[n]) * (rate * rises[n] * rises[n])
    for n in range(delay.size):
        crosses[n] = np.float64(weight[n]) * (rises[n] * (rises[n] - 1.0))


@kernel(fastmath={"contract"})
def _sum_up(rows, k, m, found):
    """Coefficients p and q where arrival k is the last one, and the y of the next: rows 4 to 6 of `found`."""
    n_post = rows.shape[1]
    for n in range(n_post):
        found[4, n] = 0.0
    for n in range(n_post):
        found[5, n] = 0.0
    for n in range(n_post):
        found[6, n] = np.inf
    for i in range(m):
        for n in range(n_post):
            found[4, n] -= rows[3 * MOST_INPUTS + i, n] if rows[i, n] <= rows[k, n] else 0.0
        for n in range(n_post):
            found[5, n] += rows[2 * MOST_INPUTS + i, n] if rows[i, n] <= rows[k, n] else 0.0
        for n in range(n_post):
            y = np.inf if rows[i, n] <= rows[k, n] else rows[MOST_INPUTS + i, n]
            found[6, n] = y if y < found[6, n] else found[6, n]


@kernel(fastmath={"contract"})
def _judge(rises, p, q, following, tau_mem, theta, verdict):
    """1 where the interval certainly holds a crossing, -1 where it perhaps does, else 0."""
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
        hit = (is_last & high & rising & ~low) | (~is_last & above)
        settled = (is_last & (high | low)) | (~is_last & (above | below | outside))
        sign = 1.0 if hit else (0.0 if settled else -1.0)
        verdict[n] = sign if drive > 0.0 else 0.0


@kernel(fastmath={"contract"})
def _keep_first(own, verdict, p, q, first, first_p, first_q, doubt):
    """Keep the earliest interval with a crossing, and the earliest one in doubt."""
    for n in range(own.size):
        first_p[n] = p[n] if (verdict[n] > 0.0) & (own[n] < first[n]) else first_p[n]
    for n in range(own.size):
        first_q[n] = q[n] if (verdict[n] > 0.0) & (own[n] < first[n]) else first_q[n]
    for n in range(own.size):
        first[n] = own[n] if (verdict[n] > 0.0) & (own[n] < first[n]) else first[n]
    for n in range(own.size):
        doubt[n] = own[n] if (verdict[n] < 0.0) & (own[n] < doubt[n]) else doubt[n]


@kernel(allocates=True)
def few_scratch(n_post):
    """`rows` and `found` of `few_inputs`: what lies behind the last neuron never fires."""
    width = (n_post + _WHOLE - 1) // _WHOLE * _WHOLE
    rows, found = np.zeros((4 * MOST_INPUTS, width)), np.zeros((8, width))
    rows[MOST_INPUTS : 2 * MOST_INPUTS] = 1.0
    return rows, found


@kernel
def few_inputs(constants, tables, weight, delay, events, start, end, grow_mem, rows, found):
    """First crossings of all neurons in one sample; returns whether all coefficients are finite.

    Parameters
    ----------
    constants : LayerConstants of the family tau_mem == 2 tau_syn, t_end infinite
    tables, weight, delay : by presynaptic neuron, (n_pre, n_post)
    grow_mem : exp((t - r)/tau_mem) of the events, as in `delayed_layer.sample_tables`
    rows : float64, (4 MOST_INPUTS, >= n_post), of `few_scratch`: all arrivals, then their y, gains and crosses
    found : float64, (8, >= n_post), of `few_scratch`, filled: in the first four rows the beginning of the interval with
        the spike (inf for none), p and q there, and the beginning of the earliest interval in doubt (inf for none)
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
    p, q, following, verdict = found[4], found[5], found[6], found[7]
    first[:] = np.inf
    doubt[:] = np.inf
    total = 0.0
    for k in range(m):
        _sum_up(rows, k, m, found)
        _judge(rows[MOST_INPUTS + k], p, q, following, constants.tau_mem, constants.theta, verdict)
        _keep_first(rows[k], verdict, p, q, first, first_p, first_q, doubt)
    for n in range(weight.shape[1]):
        total += p[n] + q[n]
    return np.isfinite(total)
