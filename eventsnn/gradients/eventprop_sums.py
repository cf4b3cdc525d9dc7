"""What EventProp gives: containers, and the sums over blocks of samples in the shapes the user knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsnn.graph import Network
from eventsnn.kernels.eventprop_engine import D_REFRACTORY, D_RESET, D_THRESHOLD
from eventsnn.kernels.eventprop_forward import D_TAU_MEM, D_TAU_SYN, D_V_INF
from eventsnn.neurons import LIF
from eventsnn.simulation.priority_queue import QueuePart
from eventsnn.simulation.result import Result

__all__ = ["BlockSums", "EventPropGradients", "SampleGradient", "VoltageGradient", "collect"]


@dataclass(frozen=True)
class VoltageGradient:
    """dL/dv of single potentials: v of `neurons[k]` in sample `samples[k]` at `times[k]`, after a reset at that time.

    All of shape (n,), in any order. A time is fixed, or that of an arrival at this neuron, with which it moves: for
    such ones `slopes[k]` is dv/dt just before it, for all others 0 (None: all are fixed). Of several that arrive at
    once the time is that of the most inhibitory.
    """

    samples: NDArray[np.int64]
    neurons: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    slopes: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class EventPropGradients:
    """Derivatives of a loss, summed over the samples.

    Attributes
    ----------
    weights, delays : list, one array per projection of the network, in the shape of `connection.weight` and `.delay`
    neurons : by population, then parameter (tau_mem, v_threshold, v_reset, v_leak, i_bias, t_refrac): (n_neurons,);
        tau_syn: (n_neurons, n_receptors). A shared parameter's derivative is their sum.
    input_times : by input, (n_events,), in the order of its spikes
    spike_times : by population, likewise; what the loss and all that follows make of each spike
    initial : by population, "v": (n_samples, n_neurons) and "i_syn": (n_samples, n_neurons, n_receptors)
    n_raised : spikes whose dv/dt was raised to `min_slope`
    """

    weights: list[NDArray[np.float64]]
    delays: list[NDArray[np.float64]]
    neurons: dict[str, dict[str, NDArray[np.float64]]]
    input_times: dict[str, NDArray[np.float64]]
    spike_times: dict[str, NDArray[np.float64]]
    initial: dict[str, dict[str, NDArray[np.float64]]]
    n_raised: int = 0

    def by_parameter(self, network: Network) -> dict[str, NDArray[np.float64]]:
        """All derivatives by parameters, by names and in shapes as in `Network.parameter`.

        That of a parameter that the neurons share is the sum over them.
        """
        found: dict[str, NDArray[np.float64]] = {}
        for name, d_weight, d_delay in zip(network.projection_names, self.weights, self.delays, strict=True):
            found[f"{name}.weight"], found[f"{name}.delay"] = d_weight, d_delay
        for name, own in self.neurons.items():
            neuron = network.populations[name].neuron
            for key, values in own.items():
                columns = {f"{name}.{key}": values}
                if key == "tau_syn":
                    places = [f"[{receptor}]" if neuron.has_named_receptors else "" for receptor in neuron.receptors]
                    columns = {f"{name}.tau_syn{place}": values[:, r] for r, place in enumerate(places)}
                for parameter, column in columns.items():
                    is_shared = network.parameter(parameter).ndim == 0
                    found[parameter] = np.asarray(column.sum()) if is_shared else column
        return found


class SampleGradient(NamedTuple):
    """What one sample's backward pass gives besides the block's sums."""

    d_sources: NDArray[np.float64]
    d_spikes: NDArray[np.float64]
    adjoint: NDArray[np.float64]
    n_raised: int


@dataclass
class BlockSums:
    """Sums over a block of samples; `sums` as in `adjoint_run`, `neurons` as in `add_neuron_parameters`."""

    weights: NDArray[np.float64]
    delays: NDArray[np.float64]
    sums: NDArray[np.float64]
    neurons: NDArray[np.float64]
    samples: list[SampleGradient] = field(default_factory=list)


def collect(
    result: Result, network: Network, part: QueuePart, blocks: list[BlockSums], neuron_parameters: bool
) -> EventPropGradients:
    """Sums in block order, in the shapes the user knows."""
    net = part.network
    d_weights, d_delays = np.zeros(net.weights.size), np.zeros(net.weights.size)
    sums = np.zeros((3, net.theta.size))
    own = np.zeros((net.theta.size, 2 + net.tau_syn.shape[1]))
    samples: list[SampleGradient] = []
    for block in blocks:
        d_weights[part.order] += block.weights
        d_delays[part.order] += block.delays
        sums += block.sums
        own += block.neurons
        samples += block.samples
    weights, delays, low = [], [], 0
    for projection in network.projections:
        connection, high = projection.connection, low + projection.connection.n_synapses
        weights.append(np.asarray(connection.fold(d_weights[low:high])))
        delays.append(_sum_delays(connection, d_delays[low:high]))
        low = high
    neurons: dict[str, dict[str, NDArray[np.float64]]] = {}
    initial: dict[str, dict[str, NDArray[np.float64]]] = {}
    spike_times: dict[str, NDArray[np.float64]] = {}
    input_times: dict[str, NDArray[np.float64]] = {}
    g_start = np.stack([s.adjoint for s in samples]) if samples else np.zeros((0, net.theta.size, 2))
    for name, first, n in part.populations:
        neuron, mine = network.populations[name].neuron, slice(first, first + n)
        n_receptors = len(neuron.receptors)
        initial[name] = {"v": g_start[:, mine, 0], "i_syn": g_start[:, mine, 1 : 1 + n_receptors]}
        at_start = np.zeros(n) if name in result._given_v else initial[name]["v"].sum(axis=0)
        neurons[name] = {}
        from_leak = np.ones(n, dtype=bool)
        if isinstance(neuron, LIF):
            from_leak = neuron.per_neuron("v_leak", n) < neuron.per_neuron("v_threshold", n)
            neurons[name] = {
                "v_threshold": sums[D_THRESHOLD, mine],
                "v_reset": sums[D_RESET, mine] + np.where(from_leak, 0.0, at_start),
                "t_refrac": sums[D_REFRACTORY, mine],
            }
        if neuron_parameters:
            neurons[name] |= {
                "tau_mem": own[mine, D_TAU_MEM],
                "tau_syn": own[mine, D_TAU_SYN : D_TAU_SYN + n_receptors],
                "v_leak": own[mine, D_V_INF] + np.where(from_leak, at_start, 0.0),
                # a readout starts at v_leak + i_bias, where it stays without input
                "i_bias": own[mine, D_V_INF] + (0.0 if isinstance(neuron, LIF) else at_start),
            }
    for role, found, places in (
        ("d_sources", input_times, part.sources), ("d_spikes", spike_times, part.populations),
    ):  # fmt: skip
        rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name, _, _ in places}
        for b, sample in enumerate(samples):
            low = 0
            for name in rows:
                offsets = result.spikes[name].offsets
                size = int(offsets[b + 1] - offsets[b])
                rows[name].append(getattr(sample, role)[low : low + size])
                low += size
        found |= {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in rows.items()}
    for name in network.inputs:  # one that leads nowhere
        input_times.setdefault(name, np.zeros(result.spikes[name].n_events))
    n_raised = sum(s.n_raised for s in samples)
    return EventPropGradients(weights, delays, neurons, input_times, spike_times, initial, n_raised)


def _sum_delays(connection: Any, d_delays: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per synapse, in the order of `rows`, to the shape the delays were given in."""
    shape = connection.delay.shape
    if d_delays.shape == shape:
        return d_delays
    if connection.delay.size == 1:
        return np.full(shape, d_delays.sum())
    indptr, indices, _, _ = connection.rows()
    sources = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
    if shape == (connection.n_pre, connection.n_post):
        found = np.zeros(shape)
        found[sources, indices] = d_delays
        return found
    along = sources if shape[0] > 1 or connection.n_post == 1 else indices
    return np.bincount(along, d_delays, minlength=max(shape)).reshape(shape)
