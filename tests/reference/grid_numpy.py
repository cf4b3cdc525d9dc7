"""Networks on a time grid, dense and slow: the step rule in plain NumPy float64, its gradient by reverse accumulation.

Only the forward rule is written down here, over one `Variable` per quantity and step. A `Variable` knows how a
derivative with respect to it is handed to those it was computed from, and nothing else, so the backward pass has no
formula of its own that could be wrong in the same way as a derivation by hand. The only place where it is not the
derivative of the forward pass is the spike: `surrogate` stands for the derivative of `spike`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

# -- reverse accumulation -------------------------------------------------------------------------------------------

_numbers = itertools.count()


class Variable:
    """An array, and for each array it was computed from the function that carries a derivative back to it."""

    def __init__(self, value, *sources):
        self.value = np.asarray(value, dtype=np.float64)
        self.sources = sources  # pairs (Variable, function of the derivative with respect to self)
        self.number = next(_numbers)

    def __add__(self, other):
        return Variable(
            self.value + other.value,
            (self, lambda g: _summed_to(g, self.value.shape)),
            (other, lambda g: _summed_to(g, other.value.shape)),
        )

    def __sub__(self, other):
        return Variable(
            self.value - other.value,
            (self, lambda g: _summed_to(g, self.value.shape)),
            (other, lambda g: _summed_to(-g, other.value.shape)),
        )

    def __mul__(self, other):
        return Variable(
            self.value * other.value,
            (self, lambda g: _summed_to(g * other.value, self.value.shape)),
            (other, lambda g: _summed_to(g * self.value, other.value.shape)),
        )

    def __matmul__(self, other):
        return Variable(
            self.value @ other.value,
            (self, lambda g: g @ other.value.T),
            (other, lambda g: self.value.T @ g),
        )


def _summed_to(derivative, shape):
    """The transpose of broadcasting from `shape`."""
    axes = tuple(range(derivative.ndim - len(shape)))
    return derivative.sum(axis=axes) if axes else derivative


def _carried_back(seeds: Iterable[tuple[Variable, np.ndarray]]) -> dict[Variable, np.ndarray]:
    """dL/dvariable of every variable that the seeds depend on, from dL/dseed of the seeds."""
    derivatives: dict[Variable, np.ndarray] = {}

    def add(variable, derivative):
        derivatives[variable] = derivatives[variable] + derivative if variable in derivatives else derivative

    for variable, derivative in seeds:
        add(variable, np.asarray(derivative, dtype=np.float64))
    waiting = set(derivatives)
    found = set(waiting)
    while waiting:
        new = {source for source, _ in waiting.pop().sources} - found
        waiting |= new
        found |= new
    # What a variable was computed from has a smaller number than it.
    for variable in sorted(found, key=lambda v: -v.number):
        if variable in derivatives:
            for source, pull in variable.sources:
                add(source, pull(derivatives[variable]))
    return derivatives


# -- the network ----------------------------------------------------------------------------------------------------

PARAMETERS = ("alpha", "beta", "gain", "drive", "threshold", "v_reset", "v_start")


@dataclass(frozen=True)
class Population:
    """`size` neurons; every parameter a number or an array (size,).

    At the start v = v_start and i = 0. Then in every step, x being the sum of what arrives in it:

        i = alpha i + x
        u = beta v + gain i + drive          with `late_input` the i before x was added, thus that of the step before
        s = 1 where u > threshold, else 0    (never where the threshold is inf)
        v = u                                reset "none"
            u, or v_reset where s            reset "zero"
            u - s threshold                  reset "subtract"; with reset_at "next_step" v = u,
                                             and s threshold is subtracted from the u of the step after
    """

    size: int
    alpha: object = 0.0
    beta: object = 1.0
    gain: object = 1.0
    drive: object = 0.0
    threshold: object = 1.0
    v_reset: object = 0.0
    v_start: object = 0.0
    reset: str = "subtract"
    reset_at: str = "same_step"
    late_input: bool = False

    def __post_init__(self):
        assert self.reset in ("zero", "subtract", "none")
        assert self.reset_at in ("same_step", "next_step")


@dataclass(frozen=True)
class Projection:
    """What is sent in step t arrives in step t + delay: one number, or one for each synapse (n_pre, n_post).

    Between populations of one loop (`pre` can be reached from `post`) a delay of 0 counts as 1.
    gates : functions without arguments that give a `convolution_numpy.Gate` each; what is sent passes them first
    """

    pre: str
    post: str
    weight: np.ndarray
    delay: object = 0
    gates: tuple = ()


@dataclass
class Gradients:
    """dL/d of everything: by projection, (population, parameter) and input."""

    weights: list[np.ndarray]
    parameters: dict[tuple[str, str], np.ndarray]
    inputs: dict[str, np.ndarray]


@dataclass
class Run:
    """What a network did; arrays have the shape (n_samples, n_steps, n_neurons)."""

    u: dict[str, np.ndarray] = field(default_factory=dict)
    v: dict[str, np.ndarray] = field(default_factory=dict)
    i: dict[str, np.ndarray] = field(default_factory=dict)
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    # what was treated as constant, in the order met
    constants: list[np.ndarray] = field(default_factory=list)
    _variables: dict = field(default_factory=dict)

    def counts(self, name):
        return self.spikes[name].sum(axis=1)

    def backward(self, d_counts=None, d_u=None) -> Gradients:
        """From dL/dcounts (n_samples, n) and dL/du (n_samples, n_steps, n) by population; what is left out is 0."""
        known = self._variables
        seeds = []
        for name, derivative in (d_counts or {}).items():
            seeds += [(s, derivative) for s in known["spikes"][name]]
        for name, derivative in (d_u or {}).items():
            seeds += [(u, derivative[:, t]) for t, u in enumerate(known["u"][name])]
        found = _carried_back(seeds)

        def of(variable):
            return found.get(variable, np.zeros_like(variable.value))

        return Gradients(
            weights=[of(w) for w in known["weights"]],
            parameters={key: of(p) for key, p in known["parameters"].items()},
            inputs={name: np.stack([of(x) for x in steps], axis=1) for name, steps in known["inputs"].items()},
        )


def heaviside(x):
    """The spike: x is u - threshold."""
    return (x > 0).astype(np.float64)


def run(
    populations: dict[str, Population],
    projections: list[Projection],
    inputs: dict[str, np.ndarray],
    *,
    surrogate: Callable[[np.ndarray], np.ndarray] = np.zeros_like,
    spike: Callable[[np.ndarray], np.ndarray] = heaviside,
    detach_reset: bool = False,
    truncate: int | None = None,
    constants: list[np.ndarray] | None = None,
) -> Run:
    """Run the network over the steps of `inputs`, by name (n_samples, n_steps, n_inputs).

    surrogate : taken for the derivative of `spike`; both are functions of u - threshold
    detach_reset : the s of a reset is a constant
    truncate : the state, and spikes on their way, are constants where they pass from step t to t + 1 with
        (t + 1) % truncate == 0
    constants : values to take for what is constant, `constants` of another run; by default its own
    """
    result = Run()
    n_samples, n_steps, _ = next(iter(inputs.values())).shape
    played = iter(constants) if constants is not None else None

    def constant(variable):
        value = variable.value.copy() if played is None else next(played)
        result.constants.append(value)
        return Variable(value)

    def window(t):
        return 0 if truncate is None else t // truncate

    given = {name: [Variable(x[:, t]) for t in range(n_steps)] for name, x in inputs.items()}
    sent = {name: list(steps) for name, steps in given.items()} | {name: [] for name in populations}
    arriving, weights = _arrivals(populations, projections)
    can_fire = {name: np.isfinite(_per_neuron(p.threshold, p.size)) for name, p in populations.items()}
    parameters = {
        # Where a neuron cannot fire its threshold is multiplied by 0 only, and inf 0 is not a number.
        (name, key): Variable(np.where(np.isfinite(values), values, 0.0) if key == "threshold" else values)
        for name, p in populations.items()
        for key in PARAMETERS
        for values in [_per_neuron(getattr(p, key), p.size)]
    }
    v = {name: parameters[name, "v_start"] for name in populations}
    i = {name: Variable(np.zeros((n_samples, p.size))) for name, p in populations.items()}
    record = {kind: {name: [] for name in populations} for kind in ("u", "v", "i")}
    passed = [_Passed(sent[p.pre], n_samples, p.gates) for p in projections]
    one = Variable(1.0)
    order = _in_order(populations, projections)

    for t in range(n_steps):
        boundary = t > 0 and window(t) != window(t - 1)
        for name in order:
            p = populations[name]
            alpha, beta, gain, drive, threshold, v_reset, _ = (parameters[name, key] for key in PARAMETERS)

            x = Variable(np.zeros((n_samples, p.size)))
            for k, delay, weight in arriving[name]:
                if t - delay >= 0:
                    s = passed[k].at(t - delay)
                    x = x + (s if window(t - delay) == window(t) else constant(s)) @ weight

            v_before = constant(v[name]) if boundary else v[name]
            i_before = constant(i[name]) if boundary else i[name]
            i[name] = alpha * i_before + x
            u = beta * v_before + gain * (i_before if p.late_input else i[name]) + drive
            if p.reset == "subtract" and p.reset_at == "next_step" and t > 0:
                s_before = sent[name][t - 1]
                u = u - (constant(s_before) if detach_reset or boundary else s_before) * threshold

            s = _fired(u - threshold, can_fire[name], spike, surrogate)
            s_reset = constant(s) if detach_reset else s
            if p.reset == "zero":
                # with s of 0 and 1 only this is v_reset where s, else u, to the last bit
                v[name] = u * (one - s_reset) + s_reset * v_reset
            elif p.reset == "subtract" and p.reset_at == "same_step":
                v[name] = u - s_reset * threshold
            else:
                v[name] = u
            sent[name].append(s)
            for kind, variable in (("u", u), ("v", v[name]), ("i", i[name])):
                record[kind][name].append(variable)

    for kind, values in (*record.items(), ("spikes", sent)):
        getattr(result, kind).update(
            {
                name: np.stack([np.broadcast_to(x.value, (n_samples, p.size)) for x in values[name]], axis=1)
                for name, p in populations.items()
            }
        )
    result._variables = {
        "u": record["u"],
        "spikes": sent,
        "weights": weights,
        "parameters": parameters,
        "inputs": given,
    }
    return result


class _Passed:
    """What of the spikes of a source passes the gates of a projection, step by step."""

    def __init__(self, sent, n_samples, gates):
        self.sent, self.steps = sent, []
        self.gates = [[gate() for _ in range(n_samples)] for gate in gates]

    def at(self, t):
        if not self.gates:
            return self.sent[t]
        while len(self.steps) <= t:
            s = self.sent[len(self.steps)]
            for gates in self.gates:
                s = _through(gates, s)
            self.steps.append(s)
        return self.steps[t]


def _through(gates, s):
    """The winners' spikes, one of several in a step; the derivative goes to them, or to all before there is one."""
    winners = np.array([gate.step(row) for gate, row in zip(gates, s.value, strict=True)])
    value = np.where(winners >= 0, np.minimum(np.take_along_axis(s.value, np.maximum(winners, 0), axis=1), 1.0), 0.0)

    def pull(g):
        found = np.zeros_like(s.value)
        for row, own, derivative, gate in zip(found, winners, g, gates, strict=True):
            for winner, part, inputs in zip(own, derivative, gate.inputs, strict=True):
                row[[winner] if winner >= 0 else inputs] += part
        return found

    return Variable(value, (s, pull))


def _fired(x, can_fire, spike, surrogate):
    return Variable(
        np.where(can_fire, spike(x.value), 0.0),
        (x, lambda g: g * np.where(can_fire, surrogate(x.value), 0.0)),
    )


def _per_neuron(value, size):
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (size,)).copy()


def _arrivals(populations, projections):
    """By target: (projection, delay, weight of the synapses with that delay); and the weights, one per projection."""
    reached = _reached(projections)
    arriving = {name: [] for name in populations}
    weights = []
    for k, projection in enumerate(projections):
        weight = Variable(projection.weight)
        weights.append(weight)
        delays = np.broadcast_to(projection.delay, weight.value.shape)
        if projection.pre in reached[projection.post]:
            delays = np.maximum(delays, 1)
        for delay in np.unique(delays):
            part = weight * Variable(delays == delay)
            arriving[projection.post].append((k, int(delay), part))
    return arriving, weights


def _reached(projections):
    """By population, those that can be reached from it; itself is among them."""
    names = {name for p in projections for name in (p.pre, p.post)}
    reached = {name: {name} for name in names}
    for _ in names:
        for p in projections:
            reached[p.pre] = reached[p.pre] | reached[p.post]
    return reached


def _in_order(populations, projections):
    """Populations such that what is sent without delay comes from one before."""
    reached = _reached(projections)
    # Who reaches more comes first; those of one loop reach the same, and no order among them matters.
    return sorted(populations, key=lambda name: -len(reached.get(name, {name})))
