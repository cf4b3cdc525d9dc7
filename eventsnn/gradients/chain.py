"""Training step of a chain by EventProp: any number of spikes per neuron, first-spike layers among them, readouts."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.gradients.first_spike import BlockOutcome, TimeLoss
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.gather import count_spikes, first_spikes
from eventsnn.kernels.hinge import add_hinge
from eventsnn.kernels.layer_backward import spike_heights
from eventsnn.kernels.time_losses import earliest_output
from eventsnn.network import Sequential
from eventsnn.neurons import LIF, CurrentBased
from eventsnn.simulation.convolution_layers import WindowReadout
from eventsnn.simulation.delayed_layers import make_runners
from eventsnn.simulation.layers import is_uniform
from eventsnn.simulation.readouts import ReadoutRunner
from eventsnn.simulation.windows import is_windowed

__all__ = ["ChainGradient", "VoltageLoss", "require_chain"]


class VoltageLoss(Protocol):
    """A loss on the potentials of a readout, such as those of `eventsnn.training.voltage_losses`."""

    looks_at: Any
    kind: Any

    def value_and_grad(
        self, values: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample and its derivative with respect to `values`."""

    def predictions(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The class of each sample."""


def target_of(loss: Any) -> str:
    """What a loss looks at: "times" of first spikes, "potentials" of a readout, or spike "counts".

    On a time grid also the "membrane" potentials in every step, and "rates", spikes per step.
    """
    return getattr(loss, "looks_at", "times")


def loss_of(
    loss: Any, outputs: NDArray[np.float64], labels: NDArray[np.int64], tau_syn: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loss of each sample and its derivative with respect to what it looks at; tau_syn: the unit of spike times."""
    arguments = (tau_syn,) if target_of(loss) == "times" else ()
    found: tuple[NDArray[np.float64], NDArray[np.float64]] = loss.value_and_grad(outputs, labels, *arguments)
    return found


def require_loss_fits(where: str, name: str, neuron: CurrentBased, loss: Any) -> None:
    """Raise unless the loss looks at something that the output `name` has."""
    if target_of(loss) in ("membrane", "rates"):
        raise ValidationError(f"{where}.loss: {loss!r} looks at the steps of a time grid: give clock=Clock(...)")
    can_spike = isinstance(neuron, LIF)
    if (target_of(loss) == "potentials") == can_spike:
        wanted = (
            "on first spike times or spike counts" if can_spike else "on potentials, such as MaxVoltageCrossEntropy"
        )
        raise ValidationError(
            f"{where}.loss: population {name!r} is {neuron!r}, so the loss must be {wanted}; got {loss!r}"
        )


def require_time_loss(where: str, loss: Any) -> None:
    """Raise unless first-spike gradients can take the loss."""
    if target_of(loss) != "times":
        raise ValidationError(
            f"{where}.loss: first-spike gradients need a loss on first spike times, got {loss!r}; for others use "
            "EventProp, loss_and_grad(..., method='eventprop') or Trainer(network.as_network(), ...), or a time grid, "
            "clock=Clock(...)"
        )


class ChainGradient:
    """Forward, loss and backward of one block; has its own buffers, so blocks can run side by side.

    Parameters
    ----------
    network, loss : see `require_chain`
    d_weights : one array per layer, of the shape of its weights; added to
    t_max : nothing later has an effect
    """

    def __init__(
        self,
        network: Sequential,
        d_weights: list[NDArray[np.floating]],
        loss: TimeLoss | VoltageLoss,
        t_max: float = np.inf,
        *,
        keep_trace: bool = True,
    ) -> None:
        require_chain(network, loss)
        self.network, self.loss, self.d_weights = network, loss, d_weights
        self.runners = make_runners(network, t_max, keep_trace=keep_trace)
        self.tau_syn = network.layers[-1].neuron.tau_syn
        self.readout: ReadoutRunner | WindowReadout | None = None
        if target_of(loss) == "potentials":
            last = network.layers[-1]
            times = getattr(loss, "times", None)
            options: Any = {"kind": getattr(loss, "kind", None), "times": times}
            if is_windowed(last.connection):
                self.readout = WindowReadout(last, t_max, **options)
            else:
                self.readout = ReadoutRunner(last, last.connection.weight, t_max, **options)
        self._only_first = [layer.fires_once for layer in network.layers]

    def outputs(self, events: InputEvents, first_sample: int = 0) -> NDArray[np.float64]:
        """What the loss takes: values of the readout, or first spike times; valid until the next call."""
        for runner in self.runners:
            events = runner.forward(events, first_sample)
        if self.readout is not None:
            return self.readout.forward(events, first_sample)
        if self._only_first[-1]:
            return self.runners[-1].record.time
        first = np.full((events.offsets.size - 1, self.runners[-1].n_post), np.inf)
        first_spikes(events, first, np.zeros(first.shape, np.int64))
        return first

    def run(
        self,
        events: InputEvents,
        labels: NDArray[np.int64],
        loss: Any,
        *,
        hidden_hinge: list[tuple[NDArray[np.bool_], float]] | None = None,
        output_hinge: float = 0.0,
        max_norm: float = np.inf,
        min_slope: float = 0.0,
        first_sample: int = 0,
    ) -> BlockOutcome:
        """Add the block's weight gradients to `d_weights`; see `first_spike.BlockGradient.run`.

        The sample bound `max_norm` is not for EventProp: the trainer refuses it.
        """
        values = self.outputs(events, first_sample)
        silent_counts = []
        for runner in self.runners:
            count_spikes(runner.output, runner.height)
            runner.pushed[:] = runner.height == 0.0  # for now all that are silent
            silent_counts.append(runner.pushed.sum(axis=0))
        if self.readout is not None:
            losses, d_values = loss.value_and_grad(values, labels)
            predictions = loss.predictions(values)
            silent_counts.append(np.zeros(self.readout.n_post, np.int64))
            d_readout = self.readout.backward(d_values, self.d_weights[-1])
            assert d_readout is not None  # wanted
            d_events = d_readout
        else:
            losses, d_first = loss.value_and_grad(values, labels, self.tau_syn)
            predictions = np.empty(labels.size, np.int64)
            earliest_output(values, predictions)
            d_events = self._of_first_spikes(d_first)
        n_raised = 0
        for k in range(len(self.runners) - 1, -1, -1):
            runner = self.runners[k]
            strength = 0.0
            is_output = k == len(self.network.layers) - 1
            if not is_output and hidden_hinge is not None and hidden_hinge[k][0].any():
                strength = hidden_hinge[k][1]
                np.logical_and(runner.pushed, hidden_hinge[k][0], out=runner.pushed)
            elif is_output and output_hinge > 0.0 and silent_counts[k].any():
                strength = output_hinge
                runner.pushed[:] = False
                rows = np.arange(labels.size)
                runner.pushed[rows, labels] = np.isinf(values[rows, labels])
            d_events, raised = self._layer_backward(k, d_events, losses, strength, min_slope)
            n_raised += raised
        return BlockOutcome(losses, predictions, silent_counts, 0, None, n_raised)

    def _of_first_spikes(self, d_first: NDArray[np.float64]) -> NDArray[np.float64]:
        """dL/dT of every output spike: only the first of a neuron matters to the loss."""
        out = self.runners[-1].output
        first, places = np.full(d_first.shape, np.inf), np.zeros(d_first.shape, np.int64)
        first_spikes(out, first, places)
        d_events = np.zeros(out.times.size)
        fired = np.isfinite(first)
        d_events[places[fired]] = d_first[fired]
        return d_events

    def _layer_backward(
        self, k: int, d_events: NDArray[np.float64], losses: NDArray[np.float64], strength: float, min_slope: float
    ) -> tuple[NDArray[np.float64], int]:
        """Gradients of layer k from dL/dT of its spikes and the hinge on silent neurons; dL/dt of its input events."""
        runner, n_raised = self.runners[k], 0
        want_times = k > 0
        d_before = np.zeros(0)
        height = runner.height
        height[:] = 0.0
        if self._only_first[k]:
            # one spike per neuron: the closed form, which takes the hinge as well
            out = runner.output
            samples = np.repeat(np.arange(out.offsets.size - 1), np.diff(out.offsets))
            d_first = np.zeros_like(height)
            d_first[samples, out.neurons] = d_events
            spike_heights(d_first, runner.record, min_slope * runner.slope_unit, height)
        else:
            d_before, n_raised = runner.backward_spikes(
                d_events, self.d_weights[k], min_slope=min_slope, want_times=want_times
            )
        if strength > 0.0:
            add_hinge(runner.pushed, runner.peaks(runner.pushed), runner.theta, strength, height, losses)
        if self._only_first[k] or strength > 0.0:
            d_more = runner.backward_events(height, self.d_weights[k], want_times=want_times)
            d_before = d_more if self._only_first[k] else d_before + d_more
        return d_before, n_raised


def require_chain(network: Any, loss: Any) -> None:
    """Raise unless EventProp can train this chain with this loss."""
    if not isinstance(network, Sequential):
        raise ValidationError(
            f"needs a Sequential, got {type(network).__name__}; gradients of any other network come from "
            "eventsnn.eventprop"
        )
    last = network.layers[-1]
    require_loss_fits("Trainer", last.name, last.neuron, loss)
    if target_of(loss) == "counts":
        raise ValidationError(
            "Trainer.loss: losses on spike counts are not for a Sequential; give network.as_network()"
        )
    for layer in network.layers:
        if layer.connection.has_delay:
            raise ValidationError(
                f"Trainer: the connection to population {layer.name!r} has delays, which are not trained layer by "
                "layer; give network.as_network()"
            )
        if not isinstance(layer.neuron, LIF):
            continue
        if not layer.neuron.starts_below_threshold:
            raise ValidationError(
                f"Trainer: neurons must start below threshold: population {layer.name!r} has "
                f"v_leak={layer.neuron.v_leak} and v_threshold={layer.neuron.v_threshold}; give network.as_network()"
            )
        if layer.neuron.max_spikes != 1 and not is_uniform(layer.neuron):
            raise ValidationError(
                f"Trainer: population {layer.name!r} fires more than once and has a bias current, a refractory time "
                "or parameters per neuron, which are not trained layer by layer; give network.as_network()"
            )
