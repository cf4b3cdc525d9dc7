"""The readout of any network: the population of leaky integrators that a loss looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.connections import Sparse
from eventsnn.errors import ValidationError
from eventsnn.graph import Network, Projection
from eventsnn.kernels.constants import InputEvents
from eventsnn.simulation.readouts import ReadoutRunner
from eventsnn.simulation.result import Result
from eventsnn.simulation.windows import fold_matrix, matrix_of

__all__ = ["GraphReadout"]


class GraphReadout:
    """Values of a readout from the spikes of a simulation, and dL/dT of those spikes.

    Parameters
    ----------
    network : Network
    output : name of an `LI` population; `Dense` projections lead to it, with one delay for all or axonal ones, or
        convolutions, whose matrix is written out
    t_max : see `ReadoutRunner`
    loss : says what it takes by its `kind` and `times`

    Raises
    ------
    ValidationError
        Other connections, time constants per neuron, nothing that leads to it.
    """

    def __init__(self, network: Network, output: str, t_max: float, loss: Any) -> None:
        pairs = zip(network.projection_names, network.projections, strict=True)
        self.incoming = [(name, projection) for name, projection in pairs if projection.target == output]
        if not self.incoming:
            raise ValidationError(f"output {output!r}: no projection leads to it")
        for name, projection in self.incoming:
            connection = projection.connection
            if isinstance(connection, Sparse) or connection.delay.shape not in ((), (connection.n_pre, 1)):
                raise ValidationError(
                    f"output {output!r}: its projection {name} must be Dense or a convolution with one delay, or "
                    f"axonal ones of shape (n_pre, 1); got {connection!r}"
                )
            connection.rows()  # a gate has none, and says so
        weight = np.concatenate([matrix_of(projection.connection) for _, projection in self.incoming])
        self._runner = ReadoutRunner(
            network.populations[output].neuron, weight.astype(np.float64), t_max,
            kind=loss.kind, times=getattr(loss, "times", None),
        )  # fmt: skip
        self._d_weight = np.zeros(weight.shape)

    def forward(self, result: Result, first_sample: int = 0) -> NDArray[np.float64]:
        """What the loss takes; see `ReadoutRunner.forward`."""
        samples, neurons, times = [], [], []
        self._parts: list[slice] = []
        first, low = 0, 0
        for _, projection in self.incoming:
            sent, delay = result.spikes[projection.source], _axonal(projection)
            samples.append(sent.samples)
            neurons.append(sent.neurons + first)
            times.append(sent.times + delay[sent.neurons])
            self._parts.append(slice(low, low + sent.n_events))
            first, low = first + projection.connection.n_pre, low + sent.n_events
        sample, neuron, time = np.concatenate(samples), np.concatenate(neurons), np.concatenate(times)
        self._order = np.lexsort((neuron, time, sample))
        self._neurons = neuron
        offsets = np.searchsorted(sample[self._order], np.arange(result.n_samples + 1))
        events = InputEvents(offsets.astype(np.int64), neuron[self._order], time[self._order])
        return self._runner.forward(events, first_sample)

    def backward(
        self,
        d_values: NDArray[np.float64],
        gradients: Mapping[str, NDArray[np.floating]],
        rules: Mapping[str, Callable[[Any], Any]],
    ) -> dict[str, NDArray[np.float64]]:
        """dL/dT of the spikes of the last `forward`, by input and population; adds the gradients of its projections."""
        self._d_weight[:] = 0.0
        in_order = self._runner.backward(d_values, self._d_weight)
        assert in_order is not None  # wanted
        d_arrivals = np.empty_like(in_order)
        d_arrivals[self._order] = in_order
        d_times: dict[str, NDArray[np.float64]] = {}
        first = 0
        for (name, projection), part in zip(self.incoming, self._parts, strict=True):
            own, n_pre = d_arrivals[part], projection.connection.n_pre
            d_times[projection.source] = d_times.get(projection.source, 0.0) + own
            if f"{name}.weight" in gradients:
                gradients[f"{name}.weight"][:] += fold_matrix(
                    projection.connection, self._d_weight[first : first + n_pre]
                )
            if f"{name}.delay" in gradients:
                wanted, rule = gradients[f"{name}.delay"], rules.get(f"{name}.delay")
                by_neuron = np.bincount(self._neurons[part] - first, own, minlength=n_pre)
                found = by_neuron[:, None] if wanted.ndim else by_neuron.sum()
                wanted += found if rule is None else rule(found)
            first += n_pre
        return d_times


def _axonal(projection: Projection) -> NDArray[np.float64]:
    """The delay of each source neuron."""
    connection = projection.connection
    return np.broadcast_to(connection.delay.reshape(-1), connection.n_pre)
