"""Derivatives of a loss on the spike times of a network, by differences of `network_mpmath`. Never imports eventsnn.

    L = sum over the spikes of c (T + 0.3 T^2/t_max) + e t_max (S + S^2/5),   S = (dv/dt before the spike) t_max/10

An entry of a network is named by its path in the spec: ("populations", 0, "tau_mem", 3) or
("populations", 0, "tau_syn", "fast", 3) of neuron 3, "v0" and "i0" likewise; ("projections", 1, "synapses", 5, WEIGHT)
or DELAY; ("spikes", "drive", 4, TIME). What is given once for all neurons is split: only the neuron named is moved.

The step is 1e-25 (times the factor in the direction) and the spike times have more than 50 digits: a difference is
exact to more than 20, on either side. Left and right differ where the order of two events that coincide matters.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpmath import mpf, workdps

from tests.reference.network_mpmath import WORKING_DIGITS, simulate_reference

STEP = mpf(10) ** -25
#: How far left and right may differ: their error is of the order of STEP.
SAME_SLOPE = mpf(10) ** -15
#: Last keys of a path into a synapse (j, k, weight, delay) and into an event (neuron, time).
WEIGHT, DELAY, TIME = 2, 3, 1
PER_NEURON = ("tau_mem", "v_threshold", "v_reset", "v_leak", "t_refrac", "i_bias")


@dataclass(frozen=True)
class Derivative:
    """Slopes of the loss on both sides; None where not asked for, where an entry would become negative, or if changed.

    left, right : mpf or None
    changed : whether some neuron emits another number of spikes on one of the sides
    """

    left: mpf | None
    right: mpf | None
    changed: bool = False

    @property
    def exists(self):
        """Whether there is one slope; at the bound of an entry that of the right side is the derivative."""
        if self.changed or self.right is None:
            return False
        if self.left is None:
            return True
        # Where the derivative is zero both are of the order of STEP.
        return abs(self.left - self.right) <= SAME_SLOPE * (abs(self.left) + abs(self.right)) + 1000 * STEP

    @property
    def value(self):
        """The central difference as a float, or that of the right side."""
        return float(self.right if self.left is None else (self.left + self.right) / 2)


class Loss:
    """L of one spec and its derivatives.

    coefficients : population -> neuron -> c of its spikes in order
    slope_coefficients : e likewise; 0 if not given
    """

    @workdps(WORKING_DIGITS)
    def __init__(self, spec, coefficients, slope_coefficients=None):
        self.spec, self.coefficients, self.slope_coefficients = split(spec), coefficients, slope_coefficients
        self.value = self._value(self.spec)
        if self.value is None:
            raise ValueError("coefficients: not one for each spike that the network emits")

    @workdps(WORKING_DIGITS)
    def derivative(self, direction, both_sides=True):
        """Derivative of L along {path: factor, ...}; from the right only if asked, which is half the work."""
        left = None
        if both_sides and all(not cannot_be_negative(path) or value_at(self.spec, path) > 0 for path in direction):
            below = self._value(moved(self.spec, direction, -STEP))
            if below is None:
                return Derivative(None, None, changed=True)
            left = (self.value - below) / STEP
        above = self._value(moved(self.spec, direction, STEP))
        if above is None:
            return Derivative(left, None, changed=True)
        return Derivative(left, (above - self.value) / STEP)

    def _value(self, spec):
        """L, or None if a neuron does not emit as many spikes as it has coefficients."""
        outcome, total, t_max = simulate_reference(spec), mpf(0), mpf(spec["t_max"])
        for name, neurons in trains_of(outcome, spec).items():
            for times, own in zip(neurons, self.coefficients[name], strict=True):
                if len(times) != len(own):
                    return None
                for time, c in zip(times, own, strict=True):
                    total += mpf(float(c)) * (time + 3 * time**2 / (10 * t_max))
        if self.slope_coefficients is None:
            return total
        for name, neurons in trains_of(outcome, spec, "slopes").items():
            for slopes, own in zip(neurons, self.slope_coefficients[name], strict=True):
                for slope, e in zip(slopes, own, strict=True):
                    total += mpf(float(e)) * t_max**2 / 10 * (slope + slope**2 * t_max / 50)
        return total


def loss_slope(times, t_max):
    """dL/dT for c = 1."""
    return 1.0 + 0.6 * times / t_max


def loss_slope_of_slopes(slopes, t_max):
    """dL/d(dv/dt) for e = 1."""
    return 0.1 * t_max**2 * (1.0 + slopes * t_max / 25.0)


def trains_of(outcome, spec, what="spikes"):
    """Population -> neuron -> its spike times in order, or "slopes" of v at them."""
    trains = {part["name"]: [[] for _ in range(part["n"])] for part in spec["populations"]}
    for name, spikes in getattr(outcome, what).items():
        for value, neuron in spikes:
            trains[name][neuron].append(value)
    return trains


def cannot_be_negative(path):
    """Delays, refractory times and input times."""
    kind = path[-1] if path[0] != "populations" else path[2]
    return kind == "t_refrac" or path[0] == "spikes" or (path[0] == "projections" and kind == DELAY)


def split(spec):
    """A copy with one value per neuron of every parameter, and lists in place of tuples."""

    def per_neuron(value, n):
        return list(value) if hasattr(value, "__len__") else [value] * n

    def tables(part):
        return {
            key: {receptor: per_neuron(value, part["n"]) for receptor, value in part[key].items()}
            for key in ("tau_syn", "i0")
            if key in part
        }

    def columns(part):
        return {key: per_neuron(part[key], part["n"]) for key in (*PER_NEURON, "v0") if key in part}

    return {
        **spec,
        "populations": [{**part, **columns(part), **tables(part)} for part in spec["populations"]],
        "projections": [{**part, "synapses": [list(s) for s in part["synapses"]]} for part in spec["projections"]],
        "spikes": {name: [list(event) for event in events] for name, events in spec["spikes"].items()},
    }


def moved(spec, direction, step):
    """A copy with every entry of the direction moved by step times its factor."""
    spec = split(spec)
    # The start last: where it is rest it follows v_leak.
    for path, factor in sorted(direction.items(), key=lambda item: item[0][2] in ("v0", "i0")):
        if path[2] in ("v0", "i0"):
            _give_start(spec["populations"][path[1]])
        holder = value_at(spec, path[:-1])
        holder[path[-1]] = mpf(holder[path[-1]]) + step * mpf(factor)
    return spec


def _give_start(part):
    """Write down the state that a population starts from: rest."""
    part.setdefault("v0", list(part["v_leak"]))
    start = part.setdefault("i0", {})
    for receptor in part["tau_syn"]:
        start.setdefault(receptor, [0.0] * part["n"])


def value_at(spec, path):
    """What is found in the spec along a path."""
    for key in path:
        spec = spec[key]
    return spec
