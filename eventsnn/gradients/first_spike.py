"""Exact gradients of losses on first spike times, backwards through a chain of first-spike layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn.errors import ValidationError
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.gather import gather_events
from eventsnn.kernels.hinge import add_hinge, find_silent
from eventsnn.kernels.layer_backward import spike_heights
from eventsnn.kernels.time_losses import earliest_output
from eventsnn.network import Sequential
from eventsnn.neurons import LIF
from eventsnn.simulation.convolution_layers import WindowRunner
from eventsnn.simulation.delayed_layers import DelayedRunner, LayerConditions, conditional_runners

__all__ = ["BlockGradient", "BlockOutcome", "TimeLoss", "block_events", "require_first_spike"]


class TimeLoss(Protocol):
    """A loss on first spike times, such as those of `eventsnn.training.losses`.

    times : (n_samples, n_outputs), inf where silent; labels : (n_samples,); tau_syn : scalar or (n_outputs,)
    """

    def value_and_grad(
        self, times: NDArray[np.float64], labels: NDArray[np.int64], tau_syn: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample, (n_samples,), and its derivative with respect to `times`."""

    def value(
        self,
        times: NDArray[Any],
        labels: NDArray[np.int64],
        tau_syn: ArrayLike,
        exp: Callable[..., Any] = ...,
        log: Callable[..., Any] = ...,
    ) -> NDArray[Any]:
        """Loss of each sample; for `times` of a higher precision with an `exp` and a `log` that keep it."""


@dataclass
class BlockOutcome:
    """What one block of samples gives besides its weight gradients."""

    losses: NDArray[np.float64]
    predictions: NDArray[np.int64]
    silent_counts: list[NDArray[np.int64]]
    n_clipped: int
    d_inputs: NDArray[np.float64] | None
    n_raised: int = 0
    deferred: Any = None  # what is added up only after the blocks: see `grid_adjoint.ConstantGradient`


class BlockGradient:
    """Forward, loss and backward of one block; has its own buffers, so blocks can run side by side.

    gradients : arrays by name ("hidden.weight", "hidden.delay", ...), added to; what is not there is not kept
    runners : of the network's layers; by default exact ones
    """

    def __init__(
        self,
        network: Sequential,
        gradients: Mapping[str, NDArray[np.floating]],
        runners: Sequence[DelayedRunner | WindowRunner] | None = None,
    ) -> None:
        require_first_spike(network)
        self.network = network
        self.runners: list[DelayedRunner | WindowRunner] = (
            conditional_runners(network) if runners is None else list(runners)
        )
        self.d_delays: list[Any] = [gradients.get(f"{layer.name}.delay") for layer in network.layers]
        self.d_weights = [
            gradients[name] if (name := f"{layer.name}.weight") in gradients else np.zeros_like(layer.connection.weight)
            for layer in network.layers
        ]
        self.tau_syn = network.layers[-1].neuron.tau_syn
        self._nobody = [np.zeros(layer.n_neurons, dtype=bool) for layer in network.layers]

    def run(
        self,
        events: InputEvents,
        labels: NDArray[np.int64],
        loss: TimeLoss,
        *,
        hidden_hinge: list[tuple[NDArray[np.bool_], float]] | None = None,
        output_hinge: float = 0.0,
        max_norm: float | Sequence[float] = np.inf,
        min_slope: float = 0.0,
        conditions: Sequence[LayerConditions | None] | None = None,
        want_inputs: bool = False,
        first_sample: int = 0,
    ) -> BlockOutcome:
        """Add the block's gradients to `gradients`.

        hidden_hinge : per hidden layer, which neurons are pushed when silent, and the strength
        max_norm : bound on the norm of each sample's weight gradient, one for all layers or one each
        min_slope : floor for |dv/dt| tau_mem/theta at a spike in 1/(dv/dt); bounds the gradients of grazing spikes
        conditions : of every layer, what differs from sample to sample
        want_inputs : also give the gradient with respect to the input neurons' (only) spike times
        """
        for k, runner in enumerate(self.runners):
            events = runner.forward(events, first_sample, conditions[k] if conditions is not None else None)
        times = self.runners[-1].emitted
        rows = np.arange(labels.size)
        silent_counts = []
        for k, runner in enumerate(self.runners):
            wanted = hidden_hinge[k][0] if hidden_hinge is not None and k < len(hidden_hinge) else self._nobody[k]
            counts = np.empty(runner.n_post, np.int64)
            find_silent(runner.record.time, wanted, runner.pushed, counts)
            silent_counts.append(counts)
        predictions = np.empty(labels.size, np.int64)
        earliest_output(times, predictions)
        losses, d_first = loss.value_and_grad(times, labels, self.tau_syn)
        n_clipped = 0
        d_inputs = None
        for k in range(len(self.runners) - 1, -1, -1):
            runner = self.runners[k]
            height = self._spike_heights(runner, d_first, min_slope)
            strength = 0.0
            if k == len(self.runners) - 1:
                if output_hinge > 0.0 and silent_counts[k].any():
                    strength = output_hinge
                    runner.pushed[rows, labels] = np.isinf(times[rows, labels])
            elif hidden_hinge is not None and hidden_hinge[k][0].any():
                strength = hidden_hinge[k][1]
            if strength > 0.0:
                add_hinge(runner.pushed, runner.peaks(runner.pushed), runner.theta, strength, height, losses)
            if k > 0:
                d_first = runner.d_before
            elif want_inputs:
                d_inputs = d_first = np.empty((labels.size, runner.n_sources))
            bound = float(max_norm[k]) if isinstance(max_norm, Sequence) else max_norm
            wanted_times = d_first if k > 0 or want_inputs else None
            n_clipped += runner.backward(height, bound, self.d_weights[k], wanted_times, self.d_delays[k])
        return BlockOutcome(losses, predictions, silent_counts, n_clipped, d_inputs)

    @staticmethod
    def _spike_heights(
        runner: DelayedRunner | WindowRunner, d_first: NDArray[np.float64], min_slope: float
    ) -> NDArray[np.float64]:
        """-dL/dT / slope where a neuron fired and something flows, else 0."""
        spike_heights(runner.of_emitted(d_first), runner.record, min_slope * runner.slope_unit, runner.height)
        return runner.height


_REMEDY = "use EventProp: loss_and_grad(..., method='eventprop'), Trainer(network.as_network(), ...)"


def require_first_spike(network: Any) -> None:
    """Raise unless it is a chain in which every neuron starts below threshold and fires at most once."""
    if not isinstance(network, Sequential):
        raise ValidationError(
            "first-spike gradients need a Sequential, a chain whose neurons have one receptor, "
            f"got {type(network).__name__}; method='eventprop' takes any network"
        )
    for layer in network.layers:
        if not isinstance(layer.neuron, LIF):
            raise ValidationError(
                f"first-spike gradients need neurons that spike: population {layer.name!r} is a readout "
                f"({layer.neuron}), whose losses are on its membrane potential; use LIF(..., max_spikes=1)"
            )
        if not layer.neuron.starts_below_threshold:
            raise ValidationError(
                f"first-spike gradients need neurons that start below threshold: population {layer.name!r} has "
                f"v_leak={layer.neuron.v_leak} and v_threshold={layer.neuron.v_threshold}; {_REMEDY}"
            )
        if layer.neuron.max_spikes != 1:
            raise ValidationError(
                f"first-spike gradients need neurons that fire at most once: population {layer.name!r} has "
                f"max_spikes={layer.neuron.max_spikes}; build it with LIF(..., max_spikes=1)"
            )
        if not layer.is_layerwise:
            raise ValidationError(
                f"first-spike gradients with dendritic or synaptic delays need neurons without i_bias: population "
                f"{layer.name!r}; {_REMEDY}"
            )


def block_events(source: InputEvents, chosen: NDArray[np.int64]) -> InputEvents:
    """A copy of the events of the samples `chosen`."""
    n_events = int((source.offsets[chosen + 1] - source.offsets[chosen]).sum())
    block = InputEvents(np.empty(chosen.size + 1, np.int64), np.empty(n_events, np.int64), np.empty(n_events))
    gather_events(source, chosen, block)
    return block
