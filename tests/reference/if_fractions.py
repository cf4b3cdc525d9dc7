"""Chains of integrate-and-fire units in continuous time, unit by unit, in fractions: no rounding anywhere.

Never imports eventsnn. dv/dt = drift; what arrives adds its weight; a unit fires where v comes to its threshold or is
above it, and is reset: soft (minus the threshold, as often as it takes) or hard (to 0).
"""

from fractions import Fraction

import numpy as np


def fraction_array(values):
    return [[Fraction(float(x)) for x in row] for row in np.atleast_2d(values)]


def unit(arrivals, v, drift, threshold, t_max, soft):
    """Spike times and the potential at t_max; arrivals : [(time, weight), ...]; threshold None never fires."""
    drift, v, t_max, now, spikes = Fraction(drift), Fraction(v), Fraction(t_max), Fraction(0), []
    jumps = {}
    for time, weight in arrivals:
        if time <= t_max:
            jumps[Fraction(time)] = jumps.get(Fraction(time), Fraction(0)) + Fraction(weight)
    jumps.setdefault(Fraction(0), Fraction(0))
    jumps.setdefault(t_max, Fraction(0))
    for time in sorted(jumps):
        while threshold is not None and v + drift * (time - now) > threshold:
            when = now + (threshold - v) / drift
            v, now = Fraction(0), when
            spikes.append(when)
        v += drift * (time - now) + jumps[time]
        now = time
        while threshold is not None and v >= threshold:
            v = v - threshold if soft else Fraction(0)
            spikes.append(time)
    return spikes, v


def chain(weights, starts, biases, thresholds, soft, t_max, *, currents=None, spikes=()):
    """Spikes [(time, neuron), ...] and potentials at t_max of every layer, the readout last.

    weights : matrices of floats; starts, biases, thresholds : one list per layer, threshold None for the readout
    currents : one per input, or spikes : [(time, input), ...]
    """
    events = [(Fraction(float(t)), j) for t, j in spikes]
    found = []
    for k, weight in enumerate(weights):
        matrix = fraction_array(weight)
        layer, potentials = [], []
        for n in range(len(matrix[0])):
            drift = Fraction(float(biases[k][n]))
            if k == 0 and currents is not None:
                drift += sum(
                    (Fraction(float(x)) * row[n] for x, row in zip(currents, matrix, strict=True)), Fraction(0)
                )
            threshold = None if thresholds[k] is None else Fraction(float(thresholds[k][n]))
            arrivals = [(time, matrix[j][n]) for time, j in events]
            own, v = unit(arrivals, Fraction(float(starts[k][n])), drift, threshold, t_max, soft)
            layer += [(time, n) for time in own]
            potentials.append(v)
        layer.sort()
        found.append((layer, potentials))
        events = layer
    return found
