"""Windows of the priority-queue engine: one sweep over all neurons finds those that can fire before the window ends.

At a window's beginning all coefficients move to it as their reference time, and the potential at its end is known as
well. Between the two it can exceed the higher one only by its curvature, u <= max(u(0), u(W)) + W^2/8 max|u''|. What is
left to the threshold is the neuron's headroom; a spike that arrives later takes from it what it can push the potential
up before the window ends. Only neurons without headroom are solved exactly.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.crossing import crosses
from eventsnn.kernels.exponential_sum import first_crossing_of_sum
from eventsnn.kernels.flow import exp_or_inf, extremum_time, sum_membrane, synaptic_kernel, warp
from eventsnn.kernels.heap import put_neuron, remove_neuron
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.queue_state import (
    HEADROOM,
    N_HELD,
    N_QUEUED,
    N_WASTED,
    N_WINDOWS,
    WIDTH,
    WINDOW_END,
    WINDOW_START,
    P,
    Q,
)
from eventsnn.kernels.spike_time import family_of, spike_time

#: Rounding of the bound, far above its errors: neurons this close to having no headroom are solved.
_SLACK = 1e-12
#: Values this close to the threshold, relative to the terms they are made of, are left to the exact functions.
_DOUBT = 1e-9
#: Halley's iteration may stop after a step this short (in tau_mem): the next would be its cube.
_LAST_STEP = 1e-6
#: Solutions that find no spike cost as much as a sweep over this many neurons.
_NEURONS_PER_SOLUTION = 150
#: A window is at most this many of the shortest time constant: the bound is useless beyond, and exponents stay small.
_LONGEST = 2.0
#: And at least so many: neurons that rest at their threshold are solved in every window, however short it is.
_SHORTEST = 2.0**-12


@kernel
def _exact_crossing(cell, theta, tau_mem, tau_syn, delta, n_receptors, s_now, s_end, scratch):
    """Time of the next spike in (s_now, s_end], from the window's start; inf if there is none. Nothing is assumed."""
    if n_receptors == 1:
        p, q = cell[P], cell[Q]
        if not crosses(p, q, theta, tau_mem, tau_syn[0], delta[0], s_now, s_end):
            return np.inf
        family = family_of(tau_mem, tau_syn[0])
        return spike_time(p, q, theta, tau_mem, tau_syn[0], delta[0], family, s_now, s_end)
    return first_crossing_of_sum(cell[P], cell[Q:], tau_mem, tau_syn, delta, n_receptors, theta, s_now, s_end, scratch)


@kernel
def _rising_time(cell, theta, tau_mem, delta, n_receptors, s_now, s_end, u, slope, curvature):
    """The only root of u = theta in (s_now, s_end], where u rises: Halley's iteration from the parabola at s_now."""
    gap = theta - u
    square = slope * slope + 2.0 * curvature * gap
    s = s_now + 2.0 * gap / (slope + math.sqrt(square)) if square > 0.0 else 0.5 * (s_now + s_end)
    low, high = s_now, s_end
    rate = 1.0 / tau_mem
    for _ in range(60):
        s = min(max(s, low), high)
        decay = math.exp(-s * rate)
        total, drive, fall = cell[P], 0.0, 0.0
        for r in range(n_receptors):
            x = warp(s, delta[r])
            part = cell[Q + r] * (1.0 - delta[r] * x)
            total += cell[Q + r] * x
            drive += part
            fall += part * (delta[r] + rate)
        excess = total * decay - theta
        if excess >= 0.0:
            high = s
        else:
            low = s
        slope = drive * decay - total * decay * rate
        curvature = -fall * decay - slope * rate
        step = excess / slope
        step /= 1.0 - 0.5 * step * curvature / slope
        if not (abs(step) < high - low or abs(step) <= 1e-15 * tau_mem):
            step = s - 0.5 * (low + high)
        s -= step
        if abs(step) <= _LAST_STEP * tau_mem:
            break
    return min(max(s, s_now), s_end)


@kernel
def _solve(cell, theta, tau_mem, tau_syn, delta, n_receptors, s_now, s_end, at_now, at_end, at_end_syn, bends, scratch):
    """As `_exact_crossing`; without a crossing, the cell's headroom is renewed.

    Windows are short: nearly always the slopes at both ends prove that u rises in between, as |u''| is bounded, and
    its values there are far enough from threshold to decide.
    """
    h = s_end - s_now
    here, there, bend, size = cell[P], at_end[0] * cell[P], bends[0] * abs(cell[P]), abs(cell[P])
    drive_here, drive_there, fall_here = 0.0, 0.0, 0.0
    for r in range(n_receptors):
        q = cell[Q + r]
        here += q * at_now[1 + r]
        there += q * at_end[1 + r]
        bend += bends[1 + r] * abs(q)
        size += abs(q) * at_end[1 + r]
        drive = q * at_now[0] * (1.0 - delta[r] * at_now[1 + r])
        drive_here += drive
        fall_here += drive / tau_syn[r]
        drive_there += q * at_end_syn[r]
    here *= at_now[0]
    top = max(here, there)
    room = theta - top - 0.125 * h * h * bend
    doubt = _DOUBT * (size + abs(theta))
    if room > doubt:
        cell[HEADROOM] = room
        return np.inf
    slope_here, slope_there = drive_here - here / tau_mem, drive_there - there / tau_mem
    rises = slope_here + slope_there > bend * h
    if rises and there < theta - doubt:
        cell[HEADROOM] = theta - there
        return np.inf
    if rises and there > theta + doubt and here < theta - doubt:
        return _rising_time(
            cell, theta, tau_mem, delta, n_receptors, s_now, s_end, here, slope_here, -fall_here - slope_here / tau_mem
        )
    s = _exact_crossing(cell, theta, tau_mem, tau_syn, delta, n_receptors, s_now, s_end, scratch)
    if s == np.inf:
        cell[HEADROOM] = room
    return s


@kernel(inline=True)
def reconsider(net, state, scratch, n, now):
    """Queue the next spike of neuron n if it lies in this window, else take stock of its headroom from now on."""
    g, counts, cell = net.group_of[n], state.counts, state.cells[n]
    start = state.reals[WINDOW_START]
    s_now, s_end = now - start, state.reals[WINDOW_END] - start
    at_now, delta = scratch.at_now[g], net.delta[g]
    if scratch.now[g] != s_now:
        scratch.now[g] = s_now
        at_now[0] = math.exp(-s_now / net.tau_mem[g])
        for r in range(net.n_receptors[g]):
            at_now[1 + r] = warp(s_now, delta[r])
    s = _solve(
        cell, net.theta[n], net.tau_mem[g], net.tau_syn[g], delta, net.n_receptors[g], s_now, s_end, at_now,
        scratch.at_end[g], scratch.at_end_syn[g], scratch.bends[g], scratch.crossing,
    )  # fmt: skip
    if s < np.inf:
        counts[N_QUEUED] = put_neuron(state.queue, state.place, state.key, counts[N_QUEUED], n, max(start + s, now))
        state.stale[n] = 0
        cell[HEADROOM] = -np.inf
    else:
        counts[N_WASTED] += 1
        if state.place[n] >= 0:
            counts[N_QUEUED] = remove_neuron(state.queue, state.place, state.key, counts[N_QUEUED], n)


@kernel(inline=True)
def describe_window(net, state, scratch):
    """Fill push, at_end and bends for the present window."""
    width = state.reals[WINDOW_END] - state.reals[WINDOW_START]
    for g in range(net.n_receptors.size):
        tau_mem = net.tau_mem[g]
        scratch.now[g] = np.nan
        scratch.at_end[g, 0] = math.exp(-width / tau_mem)
        scratch.bends[g, 0] = 1.0 / tau_mem**2
        for r in range(net.n_receptors[g]):
            tau_syn, delta = net.tau_syn[g, r], net.delta[g, r]
            s_top = min(width, extremum_time(0.0, 1.0, tau_mem, tau_syn, delta))
            scratch.push[g, r] = synaptic_kernel(s_top, tau_mem, tau_syn, delta) / tau_mem
            scratch.at_end[g, 1 + r] = synaptic_kernel(width, tau_mem, tau_syn, delta)
            scratch.at_end_syn[g, r] = math.exp(-width / tau_syn)
            scratch.bends[g, 1 + r] = 1.0 / tau_mem + 1.0 / tau_syn


@kernel(fastmath={"contract"})
def _sweep(cells, theta, off, low, high, n_receptors, keep, mix, fade, at_end, bends, square, todo, n_todo):
    """Move the neurons low : high to the new reference time and take stock of their headroom.

    Those without any are added to `todo`; returns their new number. keep, mix[r], fade[r]: factors of the move.
    """
    for n in range(low, high):
        a = keep * cells[n, P]
        ahead, bend = 0.0, 0.0
        for r in range(n_receptors):
            b = cells[n, Q + r]
            a += mix[r] * b
            b *= fade[r]
            cells[n, Q + r] = b
            ahead += at_end[1 + r] * b
            bend += bends[1 + r] * abs(b)
        ahead += at_end[0] * a
        bend += bends[0] * abs(a)
        cells[n, P] = a
        room = theta[n] - max(a, ahead) - square * bend - _SLACK * (abs(a) + abs(ahead) + abs(theta[n])) + off[n]
        cells[n, HEADROOM] = room
        todo[n_todo] = n
        n_todo += room < 0.0
    return n_todo


@kernel(inline=True)
def open_window(net, state, scratch, start):
    """Move all coefficients to `start` and choose the width; returns how many neurons are in `todo`."""
    reals, counts = state.reals, state.counts
    shift = start - reals[WINDOW_START]
    n_neurons = net.theta.size
    shortest = np.inf
    for g in range(net.n_receptors.size):
        shortest = min(shortest, net.tau_mem[g])
        for r in range(net.n_receptors[g]):
            shortest = min(shortest, net.tau_syn[g, r])
    if _NEURONS_PER_SOLUTION * counts[N_WASTED] > 2 * n_neurons + 4 * _NEURONS_PER_SOLUTION:
        reals[WIDTH] = max(0.5 * reals[WIDTH], _SHORTEST * shortest)
    elif 2 * _NEURONS_PER_SOLUTION * counts[N_WASTED] < n_neurons + _NEURONS_PER_SOLUTION:
        reals[WIDTH] = min(2.0 * reals[WIDTH], _LONGEST * shortest)
    counts[N_WASTED] = 0
    counts[N_WINDOWS] += 1
    reals[WINDOW_START] = start
    reals[WINDOW_END] = max(start + reals[WIDTH], np.nextafter(start, np.inf))  # at 1e16 of its widths, time must go on
    describe_window(net, state, scratch)
    square = 0.125 * (reals[WINDOW_END] - start) ** 2
    mix, fade = scratch.mix, scratch.fade
    n_todo = 0
    for g in range(net.n_receptors.size):
        tau_mem = net.tau_mem[g]
        for r in range(net.n_receptors[g]):
            mix[r] = synaptic_kernel(shift, tau_mem, net.tau_syn[g, r], net.delta[g, r])
            fade[r] = exp_or_inf(-shift / net.tau_syn[g, r])
        n_todo = _sweep(
            state.cells, net.theta, state.off, net.group_start[g], net.group_start[g + 1], net.n_receptors[g],
            exp_or_inf(-shift / tau_mem), mix, fade, scratch.at_end[g], scratch.bends[g], square, scratch.todo, n_todo,
        )  # fmt: skip
    left = 0
    for i in range(counts[N_HELD]):
        n = state.held[i]
        if state.held_until[n] <= reals[WINDOW_END]:
            counts[N_QUEUED] = put_neuron(state.queue, state.place, state.key, counts[N_QUEUED], n, state.held_until[n])
        else:
            state.held[left] = n
            left += 1
    counts[N_HELD] = left
    return n_todo


@kernel(inline=True)
def is_quiet(net, state):
    """Whether no neuron can ever fire again without a further arrival."""
    if state.counts[N_QUEUED] > 0 or state.counts[N_HELD] > 0:
        return False
    for n in range(net.theta.size):
        if state.off[n] > 0.0:
            continue
        g = net.group_of[n]
        tau_mem = net.tau_mem[g]
        top = max(state.cells[n, P], 0.0)
        for r in range(net.n_receptors[g]):
            if state.cells[n, Q + r] > 0.0:
                tau_syn, delta = net.tau_syn[g, r], net.delta[g, r]
                s_top = extremum_time(0.0, 1.0, tau_mem, tau_syn, delta)
                top += state.cells[n, Q + r] * synaptic_kernel(s_top, tau_mem, tau_syn, delta)
        # top is 0 where the potential comes up to rest from below; a threshold at rest is then never passed
        if not (top < net.theta[n] * (1.0 - _SLACK) or top <= 0.0 <= net.theta[n]):
            return False
    return True


@kernel
def potentials(net, state, t, u, i_syn):
    """Fill v - v_inf, (N,), and the currents, (N, K), at a time t that the run has reached."""
    s = t - state.reals[WINDOW_START]
    for n in range(net.theta.size):
        g, cell = net.group_of[n], state.cells[n]
        u[n] = sum_membrane(s, cell[P], cell[Q:], net.tau_mem[g], net.delta[g], net.n_receptors[g])
        if state.off[n] > 0.0 and state.held_until[n] > t:
            u[n] = net.reset[n]
        for r in range(net.n_receptors[g]):
            i_syn[n, r] = net.tau_mem[g] * cell[Q + r] * exp_or_inf(-s / net.tau_syn[g, r])
