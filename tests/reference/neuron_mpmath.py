"""One LIF neuron between two events, to 50 digits: potential, extremum, decision and time of the next spike.

Slow and literal; never imports eventsnn. Every float argument counts as the exact number it is. The potential is
written as the textbook sum of two exponentials,

    u(s) = v - v_inf = A exp(-s/tau_mem) + B exp(-s/tau_syn),   A = p + q/delta,  B = -q/delta,
    delta = 1/tau_syn - 1/tau_mem,    (p + q s) exp(-s/tau)  if tau_mem == tau_syn,

so that u(0) = p and i_syn(0) = tau_mem q. Work is done with 90 digits, because A and B cancel (by 15 digits for
tau_mem/tau_syn = 1 + 1e-15).
"""

from __future__ import annotations

from mpmath import exp, inf, isinf, log, mpf, workdps

WORKING_DIGITS = 90
ZERO = mpf(10) ** -45


class Neuron:
    """The motion u(s) of one neuron: coefficients p, q and time constants, as exact numbers."""

    @workdps(WORKING_DIGITS)
    def __init__(self, p, q, tau_mem, tau_syn):
        self.p, self.q, self.tau_mem, self.tau_syn = mpf(p), mpf(q), mpf(tau_mem), mpf(tau_syn)
        self.equal = self.tau_mem == self.tau_syn
        if not self.equal:
            delta = 1 / self.tau_syn - 1 / self.tau_mem
            self.a, self.b = self.p + self.q / delta, -self.q / delta

    @workdps(WORKING_DIGITS)
    def potential(self, s):
        """u(s)."""
        if isinf(s):
            return mpf(0)
        if self.equal:
            return (self.p + self.q * s) * exp(-s / self.tau_mem)
        return self.a * exp(-s / self.tau_mem) + self.b * exp(-s / self.tau_syn)

    @workdps(WORKING_DIGITS)
    def sign(self, s, theta):
        """Sign of u(s) - theta: 0 where the two agree to 45 digits of the terms they are made of."""
        size = abs(mpf(theta))
        if not isinf(s):
            size += exp(-s / self.tau_mem) * (abs(self.p) + abs(self.q * s))
        excess = self.potential(s) - mpf(theta)
        return 0 if abs(excess) <= ZERO * size else (1 if excess > 0 else -1)

    @workdps(WORKING_DIGITS)
    def slope(self, s):
        """du/ds."""
        if self.equal:
            return (self.q - (self.p + self.q * s) / self.tau_mem) * exp(-s / self.tau_mem)
        return -self.a / self.tau_mem * exp(-s / self.tau_mem) - self.b / self.tau_syn * exp(-s / self.tau_syn)

    @workdps(WORKING_DIGITS)
    def extremum(self):
        """The time of the only zero of du/ds, or None."""
        if self.q == 0:
            return None
        if self.equal:
            return self.tau_mem - self.p / self.q
        if self.a == 0:
            return None
        ratio = -(self.b * self.tau_mem) / (self.a * self.tau_syn)
        if ratio <= 0:
            return None
        return log(ratio) / (1 / self.tau_syn - 1 / self.tau_mem)

    @workdps(WORKING_DIGITS)
    def rising_piece(self, theta, s_lo, s_hi):
        """The monotone piece [a, b] of [s_lo, s_hi] on which u passes theta upward, or None.

        Passing upward means u = theta and du/ds > 0 at a time in (s_lo, s_hi]: not at an extremum.
        """
        theta, s_lo, s_hi = mpf(theta), mpf(s_lo), mpf(s_hi)
        turn = self.extremum()
        inside = turn is not None and s_lo < turn < s_hi
        for a, b in [(s_lo, turn), (turn, s_hi)] if inside else [(s_lo, s_hi)]:
            if self.sign(a, theta) >= 0:
                continue
            sign = self.sign(b, theta)
            ends_flat = isinf(b) or (turn is not None and abs(b - turn) <= ZERO * self.tau_mem)
            if sign > 0 or (sign == 0 and not ends_flat):
                return a, b
        return None

    def crosses(self, theta, s_lo, s_hi):
        """Does u pass theta upward in (s_lo, s_hi], given u(s_lo) < theta?"""
        return self.rising_piece(theta, s_lo, s_hi) is not None

    @workdps(WORKING_DIGITS)
    def spike_time(self, theta, s_lo, s_hi):
        """The first upward crossing in (s_lo, s_hi], inf if there is none: bisection, then Newton's iteration."""
        piece = self.rising_piece(theta, s_lo, s_hi)
        if piece is None:
            return inf
        theta = mpf(theta)
        a, b = piece
        if isinf(b):
            width = self.tau_mem
            while self.potential(a + width) <= theta:
                width *= 2
            b = a + width
        for _ in range(60):
            middle = (a + b) / 2
            if self.potential(middle) < theta:
                a = middle
            else:
                b = middle
        s = a
        for _ in range(8):
            # The 60 halvings leave 1e-18 of the interval; u is concave where it rises to a peak: no step too far.
            s -= (self.potential(s) - theta) / self.slope(s)
        return s


@workdps(WORKING_DIGITS)
def next_spike_time(v0, i0, tau_mem, tau_syn, v_threshold, v_inf):
    """First spike of a neuron left alone from (v0, i0), i0 = i_syn(0); inf if it stays silent."""
    neuron = Neuron(mpf(v0) - mpf(v_inf), mpf(i0) / mpf(tau_mem), tau_mem, tau_syn)
    return neuron.spike_time(mpf(v_threshold) - mpf(v_inf), 0, inf)
