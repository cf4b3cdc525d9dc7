"""Training step of any network by EventProp: loops, delays, learnable time constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn.errors import ValidationError
from eventsnn.gradients.chain import VoltageLoss, require_loss_fits, target_of
from eventsnn.gradients.eventprop_adjoint import eventprop
from eventsnn.gradients.eventprop_sums import EventPropGradients
from eventsnn.gradients.first_spike import BlockOutcome, TimeLoss
from eventsnn.gradients.graph_readout import GraphReadout
from eventsnn.gradients.loss_derivatives import LossDerivatives
from eventsnn.gradients.spike_count_surrogate import SpikeCountSurrogate
from eventsnn.gradients.spike_margins import margins
from eventsnn.graph import Network
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.time_losses import earliest_output
from eventsnn.neurons import LIF
from eventsnn.simulation.event_driven import simulate
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes

__all__ = ["GraphGradient", "require_graph"]

#: parameters of neurons whose gradients `eventprop` gives only if asked
_OF_NEURONS = ("tau_mem", "tau_syn", "v_leak", "i_bias")


class GraphGradient:
    """Forward, loss and backward of one block of samples, in float64.

    Parameters
    ----------
    network, loss, output, t_max : see `require_graph`
    gradients : by name of a parameter, as in `Network.parameter_names`; added to
    regularizers : `MarginPenalty`, or bounds on the spike counts of all hidden populations
    surrogate : for losses and regularisers on spike counts
    """

    def __init__(
        self,
        network: Network,
        loss: TimeLoss | VoltageLoss,
        output: str,
        t_max: float,
        gradients: Mapping[str, NDArray[np.floating]],
        *,
        regularizers: Sequence[Any] = (),
        surrogate: SpikeCountSurrogate | None = None,
    ) -> None:
        self.loss, self.output, self.t_max, self.gradients = loss, output, t_max, gradients
        self.regularizers, self.surrogate = regularizers, surrogate or SpikeCountSurrogate()
        self.put(network, {})

    def put(self, network: Network, rules: Mapping[str, Callable[[Any], Any]]) -> None:
        """Go on with other values of the parameters.

        rules : by name, the chain rule from the gradient of the parameter to that of what is learned, applied before it
            is added; where there is none, the parameter itself is learned
        """
        self.network, self.rules = network, rules
        self._readout = None
        if target_of(self.loss) == "potentials":
            self._readout = GraphReadout(network, self.output, self.t_max, self.loss)
        # Readouts send nothing: the simulation has less to do without them.
        firing = {name: population for name, population in network.populations.items() if population.can_spike}
        self._hidden = [name for name in firing if name != self.output]
        self._simulated = network
        if firing:
            kept = tuple(projection for projection in network.projections if projection.target in firing)
            self._simulated = Network(network.inputs, firing, kept)

    def outputs(self, events: InputEvents, first_sample: int = 0) -> NDArray[np.float64]:
        """What the loss takes: values of the readout, first spike times or spike counts; valid until the next call."""
        return self.outputs_of(self._simulate(events), first_sample)

    def _simulate(self, events: InputEvents) -> Result:
        n_events, n_inputs = events.offsets[-1], next(iter(self.network.inputs.values()))
        spikes = Spikes._from_offsets(events.offsets, events.neurons[:n_events], events.times[:n_events], n_inputs)
        return simulate(self._simulated, spikes, self.t_max, progress=False)

    def outputs_of(self, result: Result, first_sample: int = 0) -> NDArray[np.float64]:
        """What the loss takes of a simulation."""
        if self._readout is not None:
            return self._readout.forward(result, first_sample)
        if target_of(self.loss) == "counts":
            return result.spikes[self.output].counts().astype(np.float64)
        return result.first_times(self.output)

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
        """Add the block's gradients to `gradients`; see `first_spike.BlockGradient.run`.

        The sample bound `max_norm` is not for EventProp: the trainer refuses it.
        """
        result = self._simulate(events)
        values = self.outputs_of(result, first_sample)
        firing = self._hidden if self._readout is not None else [*self._hidden, self.output]
        silent = {name: result.spikes[name].counts() == 0 for name in firing}
        terms = LossDerivatives()
        d_inputs: dict[str, NDArray[np.float64]] = {}
        if self._readout is not None:
            losses, d_values = loss.value_and_grad(values, labels)
            predictions = loss.predictions(values)
            d_times = self._readout.backward(d_values, self.gradients, self.rules)
            d_inputs = {name: d_times.pop(name) for name in self.network.inputs if name in d_times}
            terms.add(d_times=d_times)
        elif target_of(loss) == "counts":
            losses, d_counts = loss.value_and_grad(values, labels)
            predictions = loss.predictions(values)
            terms.add(**self.surrogate.arguments(result, {self.output: d_counts}))
        else:
            own = result.spikes[self.output]
            losses, d_first = loss.value_and_grad(values, labels, self.network.populations[self.output].neuron.tau_syn)
            predictions = np.empty(labels.size, np.int64)
            earliest_output(values, predictions)
            is_first = own.times == values[own.samples, own.neurons]
            terms.add(d_times={self.output: np.where(is_first, d_first[own.samples, own.neurons], 0.0)})
        losses = losses + self._regularize(result, terms)
        pushed = {}
        if hidden_hinge is not None:
            pushed = {
                name: (silent[name] & wanted, strength)
                for name, (wanted, strength) in zip(self._hidden, hidden_hinge, strict=True)
            }
        if self._readout is None and output_hinge > 0.0:
            right = np.zeros(silent[self.output].shape, dtype=bool)
            right[np.arange(labels.size), labels] = True
            pushed[self.output] = (silent[self.output] & right, output_hinge)
        losses += self._push(result, pushed, terms)
        needs_neurons = any(name.rpartition(".")[2].partition("[")[0] in _OF_NEURONS for name in self.gradients)
        found = eventprop(result, min_slope=min_slope, neuron_parameters=needs_neurons, **terms.arguments())
        self._add(found)
        counts = [silent[name].sum(axis=0) for name in firing]
        if self._readout is not None:
            counts.append(np.zeros(values.shape[-1], np.int64))
        (d_times_in,) = found.input_times.values()
        for direct in d_inputs.values():
            d_times_in = d_times_in + direct
        return BlockOutcome(losses, predictions, counts, 0, d_times_in, found.n_raised)

    def _regularize(self, result: Result, terms: LossDerivatives) -> NDArray[np.float64]:
        """Loss of each sample by the regularisers, whose derivatives are added to `terms`."""
        losses = np.zeros(result.n_samples)
        for regularizer in self.regularizers:
            if target_of(regularizer) != "counts":
                values, d_times, d_v, d_slopes, d_neurons = regularizer.value_and_grad(result)
                losses += values
                terms.add(d_times=d_times, d_v=d_v, d_slopes=d_slopes, d_neurons=d_neurons)
                continue
            for name in self._hidden:
                values, d_counts = regularizer.value_and_grad(result.spikes[name].counts())
                losses += values
                terms.add(**self.surrogate.arguments(result, {name: d_counts}))
        return losses

    def _push(
        self, result: Result, pushed: dict[str, tuple[NDArray[np.bool_], float]], terms: LossDerivatives
    ) -> NDArray[np.float64]:
        """The hinge on the highest potential of silent neurons, as in first-spike layers; its derivative is exact."""
        losses = np.zeros(result.n_samples)
        wanted = {name: own for name, own in pushed.items() if own[1] > 0.0 and own[0].any()}
        if not wanted:
            return losses
        found = margins(result, list(wanted))
        for name, (mask, strength) in wanted.items():
            unit = found.gain_unit[name]
            moving = mask & found.moves(name) & (unit > 0.0)
            samples, neurons = np.nonzero(moving)
            d_peak = np.zeros(moving.shape)
            d_peak[moving] = -strength / unit[neurons]
            losses -= np.bincount(samples, d_peak[moving] * found.gain[name][moving], result.n_samples)
            terms.add(d_v={name: found.voltage_gradient(name, d_peak)})
        return losses

    def _add(self, found: EventPropGradients) -> None:
        """Add what is wanted of it."""
        for name, values in found.by_parameter(self._simulated).items():
            if name in self.gradients:
                wanted = self.gradients[name]
                wanted += self.rules[name](values) if name in self.rules else values


def require_graph(where: str, network: Any, loss: Any, output: str | None, t_max: float) -> str:
    """The name of the output; raise unless EventProp can train this network with a loss on it."""
    if not isinstance(network, Network):
        raise ValidationError(f"{where}: needs a Sequential or a Network, got {type(network).__name__}")
    if len(network.inputs) != 1:
        raise ValidationError(
            f"{where}: needs a network with one input, got {list(network.inputs)}; gradients of any network come from "
            "eventsnn.eventprop"
        )
    if output is None:
        output = list(network.populations)[-1]
    if output not in network.populations:
        raise ValidationError(f"{where}.output: no population {output!r}{hint(output, network.populations)}")
    require_loss_fits(where, output, network.populations[output].neuron, loss)
    for part in network.components() if t_max == np.inf else []:
        neurons = [network.populations[name].neuron for name in part]
        limited = all(isinstance(neuron, LIF) and neuron.max_spikes is not None for neuron in neurons)
        if network.is_recurrent(part) and not limited:
            raise ValidationError(f"{where}.t_max: {' and '.join(part)} could fire for ever; give t_max")
    return output
