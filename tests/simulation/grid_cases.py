"""Random networks on a time grid, twice: as eventsnn has them, and as tests/reference/grid_numpy has them.

The factors of the step rule are worked out here by their own formulas, with 40 digits where they may cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np

from eventsnn import (
    IF,
    LI,
    LIF,
    CurrentLIF,
    Dense,
    Leaky,
    Network,
    Population,
    Projection,
    Sparse,
    Spikes,
    Synaptic,
)
from tests.reference import grid_numpy as reference

DT = 0.5
#: kinds of neurons that fire
KINDS = ("leaky", "if", "synaptic", "current_lif", "current_lif_euler", "lif")
RESETS = (("zero", "same_step"), ("subtract", "same_step"), ("subtract", "next_step"), ("none", "same_step"))
WIRINGS = ("layers", "recurrent", "loop", "sparse")


@dataclass
class GridCase:
    """One network and its input in both forms; `weights_of` takes reference gradients to the shape of eventsnn's."""

    network: Network
    populations: dict
    projections: list
    spikes: dict
    dense: dict
    n_steps: int

    def run(self, **options):
        """The reference."""
        return reference.run(self.populations, self.projections, self.dense, **options)

    def weights_of(self, gradients):
        """dL/dweight by name in eventsnn, from matrices in the order of the projections."""
        found = {}
        for name, projection, matrix in zip(
            self.network.projection_names, self.network.projections, gradients, strict=True
        ):
            connection = projection.connection
            if isinstance(connection, Sparse):
                rows = np.repeat(np.arange(connection.n_pre), np.diff(connection.indptr))
                matrix = matrix[rows, connection.indices]
            found[f"{name}.weight"] = matrix
        return found


def gain_of(tau_mem, tau_syn, dt):
    """Potential after dt of a leaky integrator that starts with v = 0 and i_syn = 1: the kernel k(dt) of the model."""
    with mpmath.workdps(40):
        mem, syn, step = mpmath.mpf(float(tau_mem)), mpmath.mpf(float(tau_syn)), mpmath.mpf(float(dt))
        if mem == syn:
            return float(step / mem * mpmath.exp(-step / mem))
        return float(syn / (mem - syn) * (mpmath.exp(-step / mem) - mpmath.exp(-step / syn)))


def neuron_pair(kind, size, rng, *, reset=("subtract", "next_step"), shared=False, reads_out=False, dt=DT, start=1.0):
    """A neuron of eventsnn and its `reference.Population`; `shared`: one value of every parameter for all.

    start : factor of the potentials before the first step, of those kinds that can have one
    """

    def draw(low, high):
        return float(rng.uniform(low, high)) if shared else rng.uniform(low, high, size)

    threshold = np.inf if reads_out else draw(0.6, 1.3)
    if np.ndim(threshold) and kind != "lif":
        threshold[1] = np.inf  # one that never fires among others
    plain = {"reset": reset[0], "reset_at": reset[1]}
    if kind in ("lif", "li"):
        tau_mem, tau_syn, v_leak, i_bias = draw(2.0, 9.0), draw(1.0, 6.0), draw(-0.1, 0.2), draw(-0.1, 0.2)
        if not shared and size > 1:
            tau_syn[0] = tau_mem[0]
        beta = np.exp(-dt / np.asarray(tau_mem))
        parameters = {
            "alpha": np.exp(-dt / np.asarray(tau_syn)),
            "beta": beta,
            "gain": np.vectorize(gain_of)(tau_mem, tau_syn, dt),
            "drive": (1.0 - beta) * (np.asarray(v_leak) + np.asarray(i_bias)),
            "late_input": True,
        }
        if kind == "li":
            neuron = LI(tau_mem, tau_syn, v_leak=v_leak, i_bias=i_bias)
            start = np.asarray(v_leak) + np.asarray(i_bias)
            return neuron, reference.Population(size, threshold=np.inf, v_start=start, reset="none", **parameters)
        v_reset = draw(-0.2, 0.1)
        neuron = LIF(tau_mem, tau_syn, v_threshold=threshold, v_reset=v_reset, v_leak=v_leak, i_bias=i_bias)
        rest = np.asarray(v_leak) + np.asarray(i_bias)
        before = rest + (np.asarray(v_leak) - rest) / beta  # one step of decay before t = 0, where v is v_leak
        parameters |= {"threshold": threshold, "v_reset": v_reset, "v_start": before, "reset": "zero"}
        return neuron, reference.Population(size, **parameters)
    bias = draw(-0.1, 0.1)
    options = {"v_threshold": threshold, "bias": bias, **plain}
    if kind in ("if", "leaky"):
        v_init = draw(-0.3, 1.6) * start
        given = {"threshold": threshold, "drive": bias, "v_start": v_init, **plain}
        if kind == "if":
            return IF(v_init=v_init, **options), reference.Population(size, **given)
        beta = draw(0.5, 1.0)
        return Leaky(beta, v_init=v_init, **options), reference.Population(size, beta=beta, **given)
    if kind == "synaptic":
        alpha, beta = draw(0.3, 0.8), draw(0.5, 0.95)
        return Synaptic(alpha, beta, **options), reference.Population(
            size, alpha=alpha, beta=beta, threshold=threshold, drive=bias, **plain
        )
    tau_mem, tau_syn = draw(2.0, 9.0), draw(0.8, 3.0)
    ratios = {"alpha": dt / np.asarray(tau_syn), "beta": dt / np.asarray(tau_mem)}
    factors = {name: 1.0 - ratio if kind.endswith("euler") else np.exp(-ratio) for name, ratio in ratios.items()}
    decay = "euler" if kind.endswith("euler") else "exponential"
    return CurrentLIF(tau_mem, tau_syn, decay=decay, **options), reference.Population(
        size, threshold=threshold, drive=bias, **factors, **plain
    )


def random_case(
    seed,
    kind="leaky",
    wiring="layers",
    *,
    reset=("subtract", "next_step"),
    shared=False,
    n_steps=30,
    n_samples=3,
    dtype=np.float64,
    readout="same",
    delays=True,
    kind_b=None,
):
    """Inputs `x` and `y` onto `a`, then `b` and the readout `out`; `wiring` says what else.

    "layers": delays of whole projections; "recurrent": `a` and `b` each to itself; "loop": `a` and `b` to each other
    and to itself, with a delay per synapse; "sparse": `Sparse` with a delay per synapse, axonal and dendritic delays,
    two projections between the same two. `kind_b`: of `b`, if it differs; `readout` "fires": `out` fires, too.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), WIRINGS.index(wiring)])
    sizes = {"x": 12, "y": 5, "a": 9, "b": 6, "out": 4}
    neurons = {
        "a": neuron_pair(kind, 9, rng, reset=reset, shared=shared),
        "b": neuron_pair(kind_b or kind, 6, rng, reset=reset, shared=shared),
        "out": neuron_pair("li" if kind == "lif" else kind, 4, rng, reset=reset, shared=shared, reads_out=True)
        if readout == "same"
        else neuron_pair(kind, 4, rng, reset=reset, shared=shared),
    }
    # what a spike adds to v in all, so that all kinds fire about as often
    scale = {"leaky": 0.8, "if": 0.5, "synaptic": 0.4, "lif": 3.0}.get(kind, 0.25)
    names, projections = [], []

    def steps(shape, most=4):
        return rng.integers(0, most + 1, shape) if delays else np.zeros(shape, dtype=int)

    def add(pre, post, lags=0, density=1.0, mean=0.1):
        shape = sizes[pre], sizes[post]
        weight = (scale * rng.normal(mean, 0.6, shape)).astype(dtype)
        if density < 1.0:
            there = rng.random(shape) < density
            there[0, 0] = True
            weight = np.where(there, weight, dtype(0.0))
            lags = np.broadcast_to(lags, shape)
            connection = Sparse(weight, delay=(lags[there] if np.ptp(lags) else lags[0, 0]) * DT)
        else:
            connection = Dense(weight, delay=np.asarray(lags) * DT)
        names.append(Projection(pre, post, connection))
        projections.append(reference.Projection(pre, post, weight.astype(np.float64), lags))

    if wiring == "sparse":
        add("x", "a", steps((12, 9)), density=0.5)
        add("x", "a", steps((12, 1)))
        add("y", "a", density=0.6)
        add("a", "b", steps((1, 6)), density=0.7)
        add("a", "b", steps((1, 6)))
        add("b", "b", steps((6, 6)), density=0.5)
        add("b", "out", steps((6, 4)))
        add("a", "out", 2 if delays else 0, density=0.5)
    else:
        add("x", "a")
        add("y", "a", 3 if delays else 0)
        add("a", "b")
        add("b", "out")
        add("a", "out", 1 if delays else 0)
    if wiring == "recurrent":
        add("a", "a", mean=-0.1)
        add("b", "b", 3 if delays else 0, mean=0.0)
    if wiring == "loop":
        add("a", "a", steps((9, 9)), mean=-0.1)
        add("b", "a", mean=-0.2)
        add("b", "b", density=0.5, mean=0.0)
    network = Network(
        {"x": 12, "y": 5}, {name: Population(neuron, sizes[name]) for name, (neuron, _) in neurons.items()}, names
    )
    spikes, dense = {}, {}
    for name in ("x", "y"):
        spikes[name], dense[name] = random_events(rng, n_samples, sizes[name], n_steps)
    return GridCase(network, {name: p for name, (_, p) in neurons.items()}, projections, spikes, dense, n_steps)


def random_events(rng, n_samples, n_neurons, n_steps, rate=0.12):
    """Spikes at whole steps, some neurons twice in one, and their numbers (n_samples, n_steps, n_neurons)."""
    counts = rng.poisson(rate, (n_samples, n_steps, n_neurons))
    samples, times, neurons = (np.repeat(index, counts[counts > 0]) for index in np.nonzero(counts))
    return Spikes(samples, neurons, times * DT, n_samples=n_samples, n_neurons=n_neurons), counts.astype(np.float64)
