"""Training step of any network by EventProp: loops, delays, learnable time constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn.errors import ValidationError
from eventsnn.gradients.chain import VoltageLoss, is_voltage_loss
from eventsnn.gradients.eventprop_adjoint import eventprop
from eventsnn.gradients.eventprop_sums import EventPropGradients
from eventsnn.gradients.first_spike import BlockOutcome, TimeLoss
from eventsnn.gradients.graph_readout import GraphReadout
from eventsnn.graph import Network
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.time_losses import earliest_output
from eventsnn.neurons import LIF
from eventsnn.simulation.event_driven import simulate
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes

__all__ = ["GraphGradient", "require_graph"]


class GraphGradient:
    """Forward, loss and backward of one block of samples, in float64.

    Parameters
    ----------
    network, loss, output, t_max : see `require_graph`
    gradients : by name of a parameter, as in `Network.parameter_names`; added to
    """

    def __init__(
        self,
        network: Network,
        loss: TimeLoss | VoltageLoss,
        output: str,
        t_max: float,
        gradients: Mapping[str, NDArray[np.floating]],
    ) -> None:
        require_graph(network, loss, output, t_max)
        self.loss, self.output, self.t_max, self.gradients = loss, output, t_max, gradients
        self.put(network, {})

    def put(self, network: Network, scales: Mapping[str, NDArray[np.float64]]) -> None:
        """Go on with other values of the parameters.

        scales : by name, what a gradient is multiplied by before it is added: the derivative of the parameter with
            respect to what is learned; 1 where there is none
        """
        self.network, self.scales = network, scales
        self._readout = GraphReadout(network, self.output, self.t_max, self.loss) if self._on_potentials else None
        # Readouts send nothing: the simulation has less to do without them.
        firing = {name: population for name, population in network.populations.items() if population.can_spike}
        kept = tuple(projection for projection in network.projections if projection.target in firing)
        self._firing = Network(network.inputs, firing, kept)

    @property
    def _on_potentials(self) -> bool:
        return is_voltage_loss(self.loss)

    def outputs(self, events: InputEvents, first_sample: int = 0) -> NDArray[np.float64]:
        """What the loss takes: values of the readout, or first spike times; valid until the next call."""
        return self._forward(events, first_sample)[1]

    def _forward(self, events: InputEvents, first_sample: int) -> tuple[Result, NDArray[np.float64]]:
        n_events, n_inputs = events.offsets[-1], next(iter(self.network.inputs.values()))
        spikes = Spikes._from_offsets(events.offsets, events.neurons[:n_events], events.times[:n_events], n_inputs)
        result = simulate(self._firing, spikes, self.t_max, progress=False)
        if self._readout is not None:
            return result, self._readout.forward(result, first_sample)
        return result, result.first_times(self.output)

    def run(
        self,
        events: InputEvents,
        labels: NDArray[np.int64],
        loss: Any,
        *,
        min_slope: float = 0.0,
        first_sample: int = 0,
        **_: Any,
    ) -> BlockOutcome:
        """Add the block's gradients to `gradients`; see `first_spike.BlockGradient.run`."""
        result, values = self._forward(events, first_sample)
        if self._readout is not None:
            losses, d_values = loss.value_and_grad(values, labels)
            predictions = loss.predictions(values)
            d_times = self._readout.backward(d_values, self.gradients, self.scales)
        else:
            own = result.spikes[self.output]
            losses, d_first = loss.value_and_grad(values, labels, self.network.populations[self.output].neuron.tau_syn)
            predictions = np.empty(labels.size, np.int64)
            earliest_output(values, predictions)
            is_first = own.times == values[own.samples, own.neurons]
            d_times = {self.output: np.where(is_first, d_first[own.samples, own.neurons], 0.0)}
        needs_neurons = any(name.partition(".")[2].startswith("tau") for name in self.gradients)
        found = eventprop(result, d_times, min_slope=min_slope, neuron_parameters=needs_neurons)
        self._add(found)
        counts = [(result.spikes[name].counts() == 0).sum(axis=0) for name in self._firing.populations]
        return BlockOutcome(losses, predictions, counts, 0, None, found.n_raised)

    def _add(self, found: EventPropGradients) -> None:
        """Add what is wanted of it."""
        for name, values in found.by_parameter(self._firing).items():
            if name in self.gradients:
                wanted = self.gradients[name]
                wanted += values * self.scales.get(name, 1.0)


def require_graph(network: Network, loss: Any, output: str, t_max: float) -> None:
    """Raise unless EventProp can train this network with a loss on this population."""
    if len(network.inputs) != 1:
        raise ValidationError(
            f"Trainer: needs a network with one input, got {list(network.inputs)}; gradients of any network come from "
            "eventsnn.eventprop"
        )
    if output not in network.populations:
        raise ValidationError(f"Trainer.output: no population {output!r}{hint(output, network.populations)}")
    population = network.populations[output]
    if is_voltage_loss(loss) == population.can_spike:
        wanted = "on first spike times" if population.can_spike else "on potentials, such as MaxVoltageCrossEntropy"
        raise ValidationError(
            f"Trainer.loss: population {output!r} is {population.neuron!r}, so the loss must be {wanted}; got {loss!r}"
        )
    if t_max == np.inf:
        endless = [
            name
            for name, own in network.populations.items()
            if isinstance(own.neuron, LIF) and own.neuron.max_spikes is None and network.is_recurrent((name,))
        ]
        if endless:
            raise ValidationError(
                f"Trainer.t_max: population {endless[0]!r} drives itself and could fire for ever; give t_max"
            )
