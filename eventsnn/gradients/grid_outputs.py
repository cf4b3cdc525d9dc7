"""What a loss looks at in the output of a clock-driven network, and the way back from its derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn.clock import Clock
from eventsnn.decoding import busiest, decode_first_spike
from eventsnn.errors import ValidationError
from eventsnn.gradients.chain import target_of
from eventsnn.graph import Network
from eventsnn.kernels.grid_events import first_steps
from eventsnn.simulation.grid_inputs import GridEvents

__all__ = ["GridOutputs", "output_of", "require_grid_loss"]

Floats = NDArray[np.float64]


class GridOutputs:
    """The output of one chunk of samples.

    Parameters
    ----------
    events : spikes of the output population; only looked at where `lists_output`
    counts : how many of every output, (n_samples, n_outputs)
    u : its potentials, (n_samples, n_steps, n_outputs)
    """

    def __init__(self, clock: Clock, events: GridEvents, counts: Floats, u: NDArray[np.floating]) -> None:
        self.clock, self.events, self.counts, self.u = clock, events, counts, u

    @staticmethod
    def lists_output(clock: Clock) -> bool:
        """Whether the spikes themselves are looked at, or only how many there are."""
        return clock.needs_output_spikes and clock.decode != "rate"

    def values(self, loss: Any) -> Floats:
        """What the loss takes."""
        target = target_of(loss)
        if target == "counts":
            return self.counts
        if target == "rates":
            rates: Floats = self.counts / self.u.shape[1]
            return rates
        if target == "membrane":
            found: Any = self.u
        elif loss.kind == "max":
            found = self.u.max(axis=1)
        elif loss.kind == "integral":
            found = self.clock.dt * self.u.sum(axis=1, dtype=np.float64)
        else:
            found = self.u[:, self._steps(loss)]
        values: Floats = found.astype(np.float64)
        return values

    def derivatives(self, loss: Any, d_values: Floats) -> tuple[Floats | None, Floats | None]:
        """dL/d(counts), (n_samples, n_outputs), or dL/du, (n_samples, n_steps, n_outputs)."""
        target = target_of(loss)
        if target == "counts":
            return d_values, None
        if target == "rates":
            return np.divide(d_values, self.u.shape[1]), None
        if target == "membrane":
            return None, d_values
        d_u = np.zeros(self.u.shape)
        if loss.kind == "max":
            np.put_along_axis(d_u, self.u.argmax(axis=1)[:, None], d_values[:, None], axis=1)
        elif loss.kind == "integral":
            d_u += self.clock.dt * d_values[:, None]
        else:
            for k, step in enumerate(self._steps(loss)):  # one time may stand there twice
                d_u[:, step] += d_values[:, k]
        return None, d_u

    def classes(self) -> NDArray[np.int64]:
        """Class of every sample, as `Clock.decode` says; -1 where no output fired and that is what it goes by."""
        if not self.clock.needs_output_spikes:
            chosen: NDArray[np.int64] = self.shown().argmax(axis=1)
            return chosen
        if self.clock.decode == "rate":
            return busiest(self.counts)
        first = np.full((self.u.shape[0], self.u.shape[2]), np.inf)
        first_steps(self.events.starts, self.events.neurons, self.u.shape[1], first)
        return decode_first_spike(first)

    def shown(self) -> NDArray[np.floating]:
        """What the class is read from, per output, as `Clock.decode` says: a potential; counts for rate and latency."""
        if self.clock.decode == "membrane":
            highest: NDArray[np.floating] = self.u.max(axis=1)
            return highest
        if self.clock.decode == "mean_membrane":
            mean: Floats = self.u.mean(axis=1, dtype=np.float64)
            return mean
        if self.clock.decode == "last_membrane":
            last: NDArray[np.floating] = self.u[:, -1]
            return last
        return self.counts

    def _steps(self, loss: Any) -> NDArray[np.int64]:
        steps: NDArray[np.int64] = np.rint(np.asarray(loss.times) / self.clock.dt).astype(np.int64)
        return steps


def output_of(where: str, graph: Network, output: str | None) -> str:
    """The population that the loss looks at: the one named, or the last."""
    name = list(graph.populations)[-1] if output is None else output
    if name not in graph.populations:
        raise ValidationError(f"{where}.output: no population {name!r}{hint(name, graph.populations)}")
    return name


def require_grid_loss(where: str, loss: Any, clock: Clock, name: str, can_spike: bool) -> None:
    """Raise unless the loss, and the decoding, look at something that the output `name` has."""
    target = target_of(loss)
    if target not in ("counts", "rates", "membrane", "potentials"):
        raise ValidationError(
            f"{where}.loss: {loss!r} looks at spike times, which on a grid have no derivative; use a loss on spike "
            "counts, rates or membrane potentials"
        )
    if target in ("counts", "rates") and not can_spike:
        raise ValidationError(f"{where}.loss: {loss!r} looks at spikes, but {name!r} never fires: its threshold is inf")
    if clock.needs_output_spikes and not can_spike:
        raise ValidationError(
            f"{where}.clock: decode={clock.decode!r} needs output spikes, but {name!r} never fires; use "
            "decode='membrane', 'mean_membrane' or 'last_membrane'"
        )
    if getattr(loss, "kind", None) == "at" and np.rint(max(loss.times) / clock.dt) >= clock.n_steps:
        raise ValidationError(
            f"{where}.loss: looks at t = {max(loss.times):g}, beyond the last step, {(clock.n_steps - 1) * clock.dt:g}"
        )
