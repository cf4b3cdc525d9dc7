"""Hard cases for the decision "spike or no spike": the answer comes from the 50-digit oracle.

Half of the cases have a peak, or a potential at the end of the interval, within 1e-8 of the threshold, with relative
margins log-uniform from 1e-8 down to 1e-15 (the rest of the float64 grid below that is met by rounding theta), or are
touches that float64 represents exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from mpmath import mpf, workdps

from tests.reference.neuron_mpmath import Neuron

RATIOS = (1.0, 2.0, 4.0, 0.5, 1.37, *(1.0 + s * 10.0**-k for k in range(1, 16) for s in (1, -1)))


@dataclass(frozen=True)
class DecisionCase:
    """Arguments of the decision, its exact answer, and where it came from."""

    p: float
    q: float
    theta: float
    tau_mem: float
    tau_syn: float
    s_lo: float
    s_hi: float
    answer: bool
    kind: str


def _warp(s, delta):
    return s if delta == 0.0 else -math.expm1(-delta * s) / delta


@workdps(90)
def decision_cases(n: int, seed: int) -> list[DecisionCase]:
    """n cases: 45 % near the threshold, 5 % exact touches, 50 % anywhere and of any sign."""
    rng = np.random.default_rng(seed)
    cases: list[DecisionCase] = []
    while len(cases) < n:
        kind = ("near peak", "near end", "touch", "generic", "signs")[
            int(np.searchsorted([0.3, 0.45, 0.5, 0.8], rng.random(), side="right"))
        ]
        case = _draw(kind, rng)
        if case is not None:
            cases.append(case)
    return cases


def _draw(kind, rng):
    tau_syn = float(rng.choice([1.0, 0.005, 10.0 ** rng.uniform(-3, 2)]))
    tau_mem = float(rng.choice(RATIOS)) * tau_syn
    delta = (tau_mem - tau_syn) / (tau_mem * tau_syn)
    s_lo, s_hi = 0.0, math.inf
    q = float(10.0 ** rng.uniform(-2, 2)) / tau_mem
    if kind == "touch":
        return _touch(tau_mem, tau_syn, rng)
    # p from where the peak shall lie, up to 12 time constants after the reference time, and not so late that p and q
    # hold no digit of it any more: exp(-delta s_peak) > 1e-12.
    s_peak = float(rng.choice([rng.uniform(-1.0, 3.0), rng.uniform(0.0, 12.0)])) * tau_mem
    if math.exp(-delta * s_peak) < 1e-12:
        return None
    p = q * tau_mem * (1.0 - _warp(s_peak, delta) / tau_syn)
    if rng.random() < 0.5:
        s_hi = s_peak + tau_mem * float(rng.choice([rng.normal(), rng.normal() * 10.0 ** rng.uniform(-12, -1)]))
    if rng.random() < 0.5:
        s_lo = min(s_peak, s_hi) - tau_mem * float(10.0 ** rng.uniform(-6, 0.5))
    if not s_lo < s_hi:
        return None
    margin = float(rng.choice([-1, 1]) * 10.0 ** rng.uniform(-15, -8))
    if kind == "signs":
        p, q = float(rng.normal()), float(rng.normal()) / tau_mem
        theta = float(rng.choice([0.0, rng.normal() * 0.3, rng.normal() * 0.3]))
        s_lo, s_hi = 0.0, float(rng.choice([math.inf, rng.uniform(0.0, 4.0) * tau_mem]))
        if rng.random() < 0.5 and s_hi < math.inf:
            theta = float(Neuron(p, q, tau_mem, tau_syn).potential(mpf(s_hi))) * (1.0 + margin)
        return _finish(p, q, theta, tau_mem, tau_syn, s_lo, s_hi, kind)
    neuron = Neuron(p, q, tau_mem, tau_syn)
    if kind == "near end" and s_hi < math.inf:
        level = neuron.potential(mpf(s_hi))
    else:
        turn = neuron.extremum()
        if turn is None:
            return None
        level = neuron.potential(turn)
    if kind == "generic":
        margin = float(rng.normal()) * 0.5
    return _finish(p, q, float(level * (1 + mpf(margin))), tau_mem, tau_syn, s_lo, s_hi, kind)


def _touch(tau_mem, tau_syn, rng):
    """A peak that equals theta exactly: with s_peak = 0 for any ratio, or at an algebraic place for 1/2, 2 and 4."""
    scale = math.ldexp(1.0, int(rng.integers(-4, 5)))
    place = rng.integers(4)
    if place == 0:
        # u(0) = p = tau_mem q, du/ds(0) = 0
        q, p = scale, tau_mem * scale
        theta = p
        if mpf(p) != mpf(tau_mem) * mpf(q):
            return None
    else:
        tau_syn = math.ldexp(1.0, int(rng.integers(-8, 3)))
        x = float(rng.integers(1, 64)) / 16.0
        if place == 1:
            # tau_mem = 2 tau_syn: u = b y - a y^2, y = exp(-s/tau_mem), peak b^2/(4 a)
            tau_mem, q, p, theta = 2 * tau_syn, scale / (2 * tau_syn), (x - 1.0) * scale, x * x * scale / 4.0
        elif place == 2:
            # 2 tau_mem = tau_syn: u = b y - a y^2, y = exp(-s/tau_syn), b = q tau_syn, a = b - p, peak b^2/(4 a)
            tau_mem, q, p, theta = tau_syn / 2, x * scale / tau_syn, (x - 1.0) * scale, x * x * scale / 4.0
        else:
            # tau_mem = 4 tau_syn: peak at y = 1/2 or 2
            tau_mem = 4 * tau_syn
            q, p, theta = [(1.5, -1.0, 0.375), (1.5, 62.0, 96.0)][int(rng.integers(2))]
            q, p, theta = q * scale / tau_syn, p * scale, theta * scale
    s_lo = Neuron(p, q, tau_mem, tau_syn).extremum() - tau_mem * float(rng.uniform(0.1, 3.0))
    s_hi = float(rng.choice([0.0, 4 * tau_mem, math.inf]))
    return _finish(p, q, theta, tau_mem, tau_syn, float(s_lo), s_hi, "touch") if s_lo < s_hi else None


def _finish(p, q, theta, tau_mem, tau_syn, s_lo, s_hi, kind):
    """The case with its answer; None where its start is not below the threshold."""
    neuron = Neuron(p, q, tau_mem, tau_syn)
    if neuron.sign(mpf(s_lo), theta) >= 0:
        return None
    answer = neuron.crosses(theta, s_lo, s_hi)
    return DecisionCase(p, q, theta, tau_mem, tau_syn, s_lo, s_hi, answer, kind)
