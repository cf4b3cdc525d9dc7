"""First-spike layers whose spikes are not those of the model that the gradient is taken of, and spikes with jitter."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.euler_forward import euler_forward, events_of_first_spikes
from eventsnn.kernels.observed_slopes import observed_slopes
from eventsnn.network import Layer
from eventsnn.simulation.delayed_layers import DelayedRunner, LayerConditions
from eventsnn.simulation.layers import neuron_constants

__all__ = ["HardwareRunner", "TimeGrid"]

_NO_DELAYS = np.empty((0, 0))


class TimeGrid(NamedTuple):
    """Steps of a forward pass by Euler's method."""

    dt: float
    n_steps: int


class HardwareRunner(DelayedRunner):
    """As `DelayedRunner`, for first-spike neurons without bias currents.

    Parameters
    ----------
    grid : find the spikes by Euler's method on this grid, in place of the exact ones
    tau_ratio : the backward pass is that of neurons with tau_mem = tau_ratio tau_syn; None: their own time constants

    Notes
    -----
    With either of them the gradient is taken at the spikes found, as `observed_slopes` says.
    """

    def __init__(
        self, layer: Layer, t_end: float = np.inf, *, grid: TimeGrid | None = None, tau_ratio: float | None = None
    ) -> None:
        if grid is not None:
            t_end = min(t_end, grid.dt * grid.n_steps)
        neuron, model = layer.neuron, layer.neuron
        if tau_ratio is not None:
            model = replace(neuron, tau_mem=tau_ratio * np.asarray(neuron.tau_syn))
        super().__init__(replace(layer, neuron=model), t_end)
        self._grid = grid
        self._real = DelayedRunner(layer, t_end) if grid is None and tau_ratio is not None else None
        self._real_neurons = neuron_constants(neuron, self.n_post, t_end)
        self._emitted: NDArray[np.float64] | None = None
        self._turned: NDArray[np.bool_] | None = None

    @property
    def emitted(self) -> NDArray[np.float64]:
        """See `LayerRunner.emitted`."""
        return self._record.time if self._emitted is None else self._emitted

    def of_emitted(self, d_emitted: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `LayerRunner.of_emitted`: a time reflected at 0 moves against the neuron's own."""
        return d_emitted if self._turned is None else np.where(self._turned, -d_emitted, d_emitted)

    def forward(
        self, events: InputEvents, first_sample: int = 0, conditions: LayerConditions | None = None
    ) -> InputEvents:
        """See `LayerRunner.forward`."""
        if self._grid is None and self._real is None:
            found = super().forward(events, first_sample, conditions)
        else:
            found = self._observe(events, first_sample, conditions)
        self._emitted = self._turned = None
        if conditions is None or conditions.spike_jitter is None:
            return found
        moved = self._record.time + conditions.spike_jitter
        self._emitted, self._turned = np.abs(moved), moved < 0.0
        events_of_first_spikes(self._emitted, self._out)
        return self.output

    def _observe(self, events: InputEvents, first_sample: int, conditions: LayerConditions | None) -> InputEvents:
        """Spikes of the real neurons, or of the grid, and the model's record of them."""
        arrived = self._receive(events, conditions, neuron_wise=True)
        times = self._record.time
        if self._real is not None:
            self._real.forward(events, first_sample, conditions)
            times[:] = self._real.record.time
        elif self._grid is not None:
            status, sample = euler_forward(
                self._real_neurons, self.weight, self._matrix if self._per_neuron else _NO_DELAYS, self._threshold,
                self._jitter, arrived, *self._grid, times,
            )  # fmt: skip
            self._require_finite(status, first_sample + sample)
        events_of_first_spikes(times, self._out)
        observed_slopes(
            self._neurons, self._by_pre, self.weight, self._matrix, self._jitter, arrived, self._record, self._last
        )
        return self.output
