"""The recurrent network that eventsnn, Brian2 and NEST all simulate, and how far two of its rasters agree.

The CUBA network of Vogels & Abbott 2005 (doi 10.1523/JNEUROSCI.3508-05.2005) as in benchmark 2 of Brette et al. 2007
(doi 10.1007/s10827-007-0038-6): 80 % excitatory neurons, 80 synapses a neuron, driven by a leak potential above
threshold. Potentials and weights are in mV above the reset potential, times in seconds:

    tau_mem dv/dt = v_leak - v + i_exc + i_inh,   tau_r di_r/dt = -i_r,   a spike adds the weight of its synapse to i_r

with r the kind of the *source* neuron. `numpy.savez(path, **cuba_network(...))` is what the peers' workers read, so all
simulators have the same synapses and the same start. Imports NumPy only, because they run in another environment.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TAU_MEM, TAU_EXC, TAU_INH, T_REFRAC = 20e-3, 5e-3, 10e-3, 5e-3
V_RESET, V_THRESHOLD, V_LEAK = 0.0, 10.0, 11.0
WEIGHT_EXC, WEIGHT_INH = 1.62, -9.0
SYNAPSES_PER_NEURON = 80

Network = dict[str, NDArray]
#: times in seconds and neurons of all spikes, in any order
Raster = tuple[NDArray, NDArray]


def cuba_network(n_neurons: int = 4000, seed: int = 0, delay: float = 0.0) -> Network:
    """Synapses and initial potentials.

    Any two different neurons are connected with probability 80/n_neurons: 2 % of 4,000. No autapses, no synapse twice.

    Returns
    -------
    dict of
        `indptr` (n_neurons + 1,), `targets` (n_synapses,): neuron j projects to targets[indptr[j] : indptr[j + 1]],
        ascending; `weights` (n_synapses,), in mV; `v0` (n_neurons,): uniform between reset and threshold, in mV; the
        currents start at zero; `n_exc`: the first n_exc neurons are excitatory; `delay`: of all synapses, in s.
    """
    rng = np.random.default_rng(seed)
    n_exc = round(0.8 * n_neurons)
    n_targets = rng.binomial(n_neurons - 1, SYNAPSES_PER_NEURON / n_neurons, n_neurons)
    rows = [np.sort(rng.choice(n_neurons - 1, size, replace=False, shuffle=False)) for size in n_targets]
    targets = np.concatenate([row + (row >= source) for source, row in enumerate(rows)])  # no neuron to itself
    return {
        "indptr": np.concatenate([[0], n_targets.cumsum()]),
        "targets": targets.astype(np.int32),
        "weights": np.where(np.repeat(np.arange(n_neurons), n_targets) < n_exc, WEIGHT_EXC, WEIGHT_INH),
        "v0": rng.uniform(V_RESET, V_THRESHOLD, n_neurons),
        "n_exc": np.array(n_exc),
        "delay": np.array(delay),
    }


def sources(network: Network) -> NDArray[np.int64]:
    """The source neuron of each synapse, (n_synapses,)."""
    return np.repeat(np.arange(len(network["v0"])), np.diff(network["indptr"]))


def worker_arguments(description: str, modes: Iterable[str]) -> tuple[Network, argparse.Namespace]:
    """The network and the options that a peer's worker was started with."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("mode", choices=list(modes))
    parser.add_argument("--dt", type=float, default=1e-4, help="step, s (default 1e-4)")
    parser.add_argument("--delay", type=float, help="delay of all synapses, s (default: the network's)")
    parser.add_argument("--t-max", type=float, default=1.0, help="biological time, s (default 1)")
    parser.add_argument("--spikes", type=Path, help="write times and neurons of all spikes to this file")
    options = parser.parse_args()
    network = dict(np.load(options.network))
    if options.delay is None:
        options.delay = float(network["delay"])
    return network, options


def spike_distance(a: Raster, b: Raster, tolerance: float = 1e-3, until: float = np.inf) -> dict[str, float]:
    """How far two rasters agree: the k-th spike of each neuron is matched with its k-th spike in the other.

    A small error stays small, but one that changes which spikes there are spreads until the rasters have nothing in
    common. So errors (s) are those of the pairs before `diverged_at` (s; inf: never), the time of the first error above
    `tolerance` (s) or of the first spike without a partner. Pairs from `until` on do not count: take it a little less
    than the end, because a spike may lie on either side of that.
    """
    n_neurons = 1 + max((int(neurons.max()) for _, neurons in (a, b) if len(neurons)), default=0)
    n_ranks = max(int(np.bincount(neurons, minlength=n_neurons).max()) for _, neurons in (a, b))
    first, second = (_by_rank(raster, n_neurons, n_ranks) for raster in (a, b))
    counts = np.minimum(first, second) < until  # inf: no such spike in either
    first, second = first[counts], second[counts]
    error = np.abs(first - second)
    diverged_at = np.minimum(first, second)[error > tolerance].min(initial=np.inf)
    error = error[np.maximum(first, second) < diverged_at]
    return {
        "n_matched": error.size,
        "max_error": float(error.max(initial=0.0)),
        "median_error": float(np.median(error)) if error.size else 0.0,
        "diverged_at": float(diverged_at),
    }


def _by_rank(raster: Raster, n_neurons: int, n_ranks: int) -> NDArray[np.float64]:
    """Spike times as a matrix (n_neurons, n_ranks), inf where a neuron has no such spike."""
    times, neurons = raster
    order = np.lexsort((times, neurons))
    counts = np.bincount(neurons, minlength=n_neurons)
    matrix = np.full((n_neurons, n_ranks), np.inf)
    matrix[neurons[order], np.arange(len(times)) - np.repeat(counts.cumsum() - counts, counts)] = times[order]
    return matrix
