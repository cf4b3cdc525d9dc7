"""Highest peak of v of every neuron of a simulated network, by dense sampling and bisection. Never imports eventsnn.

Everything that arrives is laid over one another: v - v_inf is what is left of the beginning of a free stretch, plus the
response to each current from its arrival on. Maxima are looked for on a grid between two events, and refined with 100
digits; a maximum between two points of the grid that goes up and down unseen is the only thing that can be missed.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from mpmath import exp, mpf, workdps

from tests.reference.network_mpmath import WORKING_DIGITS, simulate_reference

GRID = 200


@workdps(WORKING_DIGITS)
def peaks_of(spec, outcome=None):
    """Population -> [(v, time, place) of every neuron], v = -inf where there is none; numbers as mpf."""
    outcome = simulate_reference(spec) if outcome is None else outcome
    return {
        part["name"]: [_Trace(spec, part, k, outcome).highest() for k in range(part["n"])]
        for part in spec["populations"]
    }


def _value(given, k):
    value = given[k] if hasattr(given, "__len__") else given
    return value if isinstance(value, mpf) else mpf(float(value))


class _Trace:
    """One neuron: its currents, and the free stretches between its spikes."""

    def __init__(self, spec, part, k, outcome):
        self.tau = _value(part["tau_mem"], k)
        self.v_inf = _value(part["v_leak"], k) + _value(part["i_bias"], k)
        self.receptors = {name: _value(tau, k) for name, tau in part["tau_syn"].items()}
        self.inputs = []  # time, tau, current
        for name, tau in self.receptors.items():
            self.inputs.append((mpf(0), tau, _value(part.get("i0", {}).get(name, 0.0), k)))
        for projection in spec["projections"]:
            if projection["target"] != part["name"]:
                continue
            receptor = projection["receptor"] or next(iter(self.receptors))
            sent = spec["spikes"].get(projection["source"])
            if sent is None:
                sent = [(neuron, time) for time, neuron in outcome.spikes[projection["source"]]]
            for j, target, weight, delay in projection["synapses"]:
                if target == k:
                    for neuron, time in sent:
                        if neuron == j:
                            at = _value(time, 0) + _value(delay, 0)
                            self.inputs.append((at, self.receptors[receptor], _value(weight, 0)))
        spikes = [time for time, neuron in outcome.spikes[part["name"]] if neuron == k]
        t_max, hold, v_reset = mpf(spec["t_max"]), _value(part["t_refrac"], k), _value(part["v_reset"], k)
        begins = [(mpf(0), _value(part.get("v0", part["v_leak"]), k)), *((t + hold, v_reset) for t in spikes)]
        ends = [*((t, True) for t in spikes), (t_max, False)]
        if part["max_spikes"] is not None and len(spikes) >= part["max_spikes"]:
            begins, ends = begins[: part["max_spikes"]], ends[: part["max_spikes"]]
        self.stretches = [(*b, *e) for b, e in zip(begins, ends, strict=True) if b[0] < e[0]]

    def highest(self):
        """The highest maximum: (v, time, place)."""
        found = [(-np.inf, np.nan, "none")]
        for begin, v, end, to_spike in self.stretches:
            terms = self._terms(begin, v)
            events = sorted({begin, *(at for at, *_ in self.inputs if begin < at < end), end})
            found += self._maxima(terms, events, to_spike)
        best = max(found, key=lambda item: item[0])
        if best[2] == "start" and self.stretches[0][0] != best[1]:
            best = (best[0], best[1], "release")
        return best

    def _terms(self, begin, v):
        """(time, tau, current) of the currents at `begin`, and of all that arrives later; what is left of v."""
        driven = {tau: mpf(0) for _, tau, _ in self.inputs}
        later = []
        for at, tau, current in self.inputs:
            if at <= begin:
                driven[tau] += current * exp(-(begin - at) / tau)
            else:
                later.append((at, tau, current))
        return (begin, v - self.v_inf), [(begin, tau, current) for tau, current in driven.items()] + later

    def _state(self, terms, t, just_before=False):
        """v - v_inf, dv/dt and d2v/dt2."""
        (begin, u), inputs = terms
        tau = self.tau
        value = u * exp(-(t - begin) / tau)
        drive = fading = 0
        for at, tau_syn, current in inputs:
            if at > t or (just_before and at == t):
                continue
            s = t - at
            mem, syn = exp(-s / tau), exp(-s / tau_syn)
            response = s / tau * mem if tau == tau_syn else tau_syn / (tau - tau_syn) * (mem - syn)
            value += current * response
            drive += current * syn
            fading += current * syn / tau_syn
        slope = (drive - value) / tau
        return value, slope, -(fading + slope) / tau

    def _slopes(self, terms, low, high):
        """tau_mem dv/dt on the grid from `low` to just before `high`, in float64."""
        (begin, u), inputs = terms
        tau, times = float(self.tau), float(low) + float(high - low) * np.arange(GRID + 1) / GRID
        slopes = -float(u) * np.exp(-(times - float(begin)) / tau)
        for at, tau_syn, current in inputs:
            if at <= low:
                s, tau_syn = times - float(at), float(tau_syn)
                mem, syn = np.exp(-s / tau), np.exp(-s / tau_syn)
                response = s / tau * mem if tau == tau_syn else tau_syn / (tau - tau_syn) * (mem - syn)
                slopes += float(current) * (syn - response)
        return slopes

    def _maxima(self, terms, events, to_spike):
        """Every maximum of one free stretch."""
        found = []
        begin = events[0]
        rises = False
        for low, high in pairwise(events):
            value, slope, _ = self._state(terms, low)
            if slope <= 0 and (low == begin or rises):
                found.append((value + self.v_inf, low, "start" if low == begin else "arrival"))
            signs = self._slopes(terms, low, high) > 0.0
            if to_spike and high == events[-1]:
                signs[-1] = True
            for k in np.flatnonzero(signs[:-1] & ~signs[1:]):
                found.append(self._refined(terms, *(low + (high - low) * int(j) / GRID for j in (k, k + 1))))
            rises = signs[-1]
        if rises and not to_spike:
            found.append((self._state(terms, events[-1], True)[0] + self.v_inf, events[-1], "end"))
        return found

    def _refined(self, terms, low, high):
        """The maximum between two points of the grid: halvings, then Newton's iteration."""
        for _ in range(8):
            middle = (low + high) / 2
            low, high = (middle, high) if self._state(terms, middle)[1] > 0 else (low, middle)
        s = (low + high) / 2
        for _ in range(6):
            _, slope, bend = self._state(terms, s)
            s -= slope / bend
        if not low <= s <= high:
            raise ArithmeticError("no convergence")
        return (self._state(terms, s)[0] + self.v_inf, s, "inside")
