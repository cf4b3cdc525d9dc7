"""When u = v - v_inf rises through threshold, by Halley's iteration from the parabola at the beginning.

`short_rise` vectorises, `rise_to` takes any time; what neither finds is left to `spike_time`.
"""

from __future__ import annotations

import math

from eventsnn.kernels.flow import warp
from eventsnn.kernels.jit import kernel

#: Halley's iteration may stop after a step this short (in tau_mem): the next would be its cube. What takes more steps
#: is not solved here, nor are spikes with a slope below this many theta/tau_mem.
_LAST_STEP, _MOST_STEPS, _GRAZING = 1e-6, 8, 0.03
#: `short_rise` takes times up to this many time constants: its power series end at 1/4^13/13! = 2e-18
_SHORT = 0.25


@kernel(inline=True)
def _series_tail(z):
    """1 - z/4 (1 - z/5 (1 - ... z/13)): with T, exp(-z) = 1 - z (1 - z/2 (1 - z/3 T)).

    Written out because a loop in here would keep the loop around it from being vectorised.
    """
    tail = 1.0 - z * (1 / 12) * (1.0 - z * (1 / 13))
    tail = 1.0 - z * (1 / 10) * (1.0 - z * (1 / 11) * tail)
    tail = 1.0 - z * (1 / 8) * (1.0 - z * (1 / 9) * tail)
    tail = 1.0 - z * (1 / 6) * (1.0 - z * (1 / 7) * tail)
    return 1.0 - z * (1 / 4) * (1.0 - z * (1 / 5) * tail)


@kernel(inline=True)
def parabola(u, i, theta, rate, delta):
    """Where u, continued as a parabola, comes to theta; if it does not, where its tangent has come twice as far."""
    slope, gap = i - u * rate, theta - u
    square = slope * slope - 2.0 * (i * (delta + rate) + slope * rate) * gap
    return 2.0 * gap / (slope + math.sqrt(square if square > 0.0 else 0.0))


@kernel(inline=True)
def is_near(h, rate, delta):
    """Whether `short_rise` may start from h: it would not come back from farther away in its two steps."""
    return (h * rate <= 2.0 * _SHORT) & (abs(h * delta) <= 2.0 * _SHORT)


@kernel(inline=True)
def short_rise(u, i, theta, tau_mem, delta):
    """`rise_to` for h <= _SHORT time constants, without a branch or a library function: it vectorises."""
    rate = 1.0 / tau_mem
    h = parabola(u, i, theta, rate, delta)
    near = is_near(h, rate, delta)
    x, decay, step = 0.0, 1.0, 0.0
    for _ in range(2):
        h -= step
        z, y = h * rate, h * delta
        decay = 1.0 - z * (1.0 - z * (1 / 2) * (1.0 - z * (1 / 3) * _series_tail(z)))
        x = h * (1.0 - y * (1 / 2) * (1.0 - y * (1 / 3) * _series_tail(y)))
        excess = (u + i * x) * decay - theta
        drive = i * (1.0 - delta * x) * decay
        slope = drive - (excess + theta) * rate
        step = excess / slope
        step /= 1.0 + 0.5 * step * (drive * (delta + rate) + slope * rate) / slope
    x -= step * (1.0 + 0.5 * delta * step) * (1.0 - delta * x)
    decay *= 1.0 + step * rate * (1.0 + 0.5 * step * rate)
    h -= step
    short = (h > 0.0) & (h * rate <= _SHORT) & (abs(h * delta) <= _SHORT)
    found = near & short & (abs(step) <= _LAST_STEP * tau_mem) & (slope * tau_mem > _GRAZING * theta)
    return (h if found else math.nan), x, decay


@kernel
def rise_to(u, i, theta, tau_mem, delta):
    """The only h > 0 with u(h) = theta and du/dh > 0, where u(0) = u < theta and i = i_syn(0)/tau_mem > 0.

    Returns h, warp(h) and exp(-h/tau_mem); h = nan if there is none, or it is close to grazing, or hard to find.
    """
    rate = 1.0 / tau_mem
    slope, gap = i - u * rate, theta - u
    square = slope * slope - 2.0 * (i * (delta + rate) + slope * rate) * gap
    h = 2.0 * gap / (slope + math.sqrt(square)) if square > 0.0 else gap / slope
    for _ in range(_MOST_STEPS):
        if not h > 0.0:
            break
        x, decay = warp(h, delta), math.exp(-h * rate)
        excess = (u + i * x) * decay - theta
        drive = i * (1.0 - delta * x) * decay
        slope = drive - (excess + theta) * rate
        if not slope * tau_mem > _GRAZING * theta:
            break  # past the peak or close to it
        step = excess / slope
        step /= 1.0 + 0.5 * step * (drive * (delta + rate) + slope * rate) / slope
        h -= step
        if abs(step) <= _LAST_STEP * tau_mem:
            x -= step * (1.0 + 0.5 * delta * step) * (1.0 - delta * x)
            decay *= 1.0 + step * rate * (1.0 + 0.5 * step * rate)
            return h, x, decay
    return math.nan, 0.0, 1.0
