"""`simulate_if`: chains of integrate-and-fire units in continuous time, exactly: the limit of ever shorter steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import hint
from eventsnn._validation import float_array, number
from eventsnn.clocked_neurons import IF
from eventsnn.convolution import Conv2d
from eventsnn.currents import Currents
from eventsnn.errors import SimulationError, ValidationError
from eventsnn.kernels.constants import STATUS_BUFFER_FULL, STATUS_NOT_FINITE, InputEvents
from eventsnn.kernels.if_exact import if_layer, if_readout
from eventsnn.network import Layer, Sequential
from eventsnn.pooling import AvgPool2d, MaxPool2d, Pooled
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.windows import Arrivals
from eventsnn.spikes import Spikes

__all__ = ["IFRun", "simulate_if"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class IFRun:
    """What `simulate_if` found; float64 throughout.

    Attributes
    ----------
    outputs : (n_samples, n_times, n_outputs), potentials of the readout at `times`, with what arrives then
    times : (n_times,)
    t_max : length of the run
    counts : by name of a layer that fires, (n_samples, n_neurons) int64, spikes up to and at t_max
    potentials : likewise, v at t_max: what is left
    received : likewise, the sum of all inputs up to t_max, currents and biases times t_max among them. With a soft
        reset ``v_init + received == counts * v_threshold + potentials``, to rounding
    n_synaptic_events : (n_samples, n_layers), additions of a weight at the inputs of every layer, the readout too
    spikes : by name, if asked for; times in steps
    """

    outputs: Floats
    times: Floats
    t_max: float
    counts: dict[str, NDArray[np.int64]]
    potentials: dict[str, Floats]
    received: dict[str, Floats]
    n_synaptic_events: NDArray[np.int64]
    spikes: dict[str, Spikes]
    _thresholds: dict[str, Floats]

    @property
    def n_spikes(self) -> NDArray[np.int64]:
        """(n_samples, n_layers), of all layers that fire."""
        columns = [own.sum(axis=1) for own in self.counts.values()]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.outputs), 0), np.int64)

    def rates(self, name: str) -> Floats:
        """Spikes per step of a layer, (n_samples, n_neurons)."""
        if name not in self.counts:
            raise ValidationError(f"IFRun.rates: no layer {name!r} that fires{hint(name, self.counts)}")
        found: Floats = self.counts[name] / self.t_max
        return found

    def rate_errors(self, activations: Mapping[str, ArrayLike]) -> dict[str, Floats]:
        """Rate times threshold minus activation, by layer: (n_samples, n_neurons).

        Of a converted network with soft reset, whose spikes stand for v_threshold of an activation each. Of this error
        (v_init - potentials)/t_max is the layer's own; received/t_max less the pre-activation came with its inputs.

        Parameters
        ----------
        activations : by name of a layer that fires, (n_samples, n_neurons) or planes of so many

        Raises
        ------
        ValidationError
            An unknown layer, or activations of another size.
        """
        found = {}
        for name, given in activations.items():
            rates = self.rates(name)
            own = np.asarray(given, dtype=np.float64)
            if own.shape[:1] != rates.shape[:1] or own.size != rates.size:
                raise ValidationError(
                    f"IFRun.rate_errors: activations[{name!r}]: must hold {rates.shape[0]} x {rates.shape[1]} values, "
                    f"got shape {own.shape}"
                )
            found[name] = rates * self._thresholds[name] - own.reshape(rates.shape)
        return found


def simulate_if(
    network: Sequential,
    inputs: Currents | Spikes,
    *,
    t_max: float,
    times: ArrayLike | None = None,
    n_threads: int = 1,
    keep: Iterable[str] = (),
    max_events: int = 50_000_000,
) -> IFRun:
    """Run a chain of `IF` units in continuous time, exactly, layer by layer.

    Parameters
    ----------
    network : Sequential of `Dense` (one delay for all), `Conv2d` or `AvgPool2d`, behind pools or not, and `IF`; the
        last layer is a readout, ``IF(v_threshold=inf)``. Weights of float32 are taken in float64.
    inputs : constant `Currents`, or `Spikes` whose unit of time is one step
    t_max : end of the run in steps, > 0
    times : (n_times,) when the readout is looked at, ascending, 0 .. t_max; default t_max alone
    n_threads : threads over blocks of samples; does not change a single bit of the result
    keep : "spikes", if wanted
    max_events : safety stop, spikes of one layer in one sample

    Returns
    -------
    IFRun

    Raises
    ------
    ValidationError
        Other neurons or connections, no reset, currents that change, numbers out of range.
    SimulationError
        A potential is not finite, or `max_events` was reached.

    Notes
    -----
    dv/dt = bias + W x for constant currents x, and each arriving spike adds its weight to v at once. A unit fires where
    v reaches v_threshold, and at once where arrivals take it there or beyond: with reset "subtract" as often as it
    takes, all at one time; with "zero" once. All that arrives at one time is added up first; spikes take no time from
    layer to layer, but for a delay.

    It is the limit of `simulate_clocked` for ever shorter steps, with biases and currents in proportion to their length
    and weights as they are. A clocked unit fires once in a step at most; here there is no such cap, and rates may be
    above one per step.

    Cost: two additions and a test per synaptic event, a division per spike.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import IF, Currents, Dense, Sequential, simulate_if
    >>> net = Sequential([Dense([[1.0]]), IF(v_threshold=1.0), Dense([[1.0]]), IF(v_threshold=np.inf)])
    >>> run = simulate_if(net, Currents([[0.375]]), t_max=6.0, times=[2.5, 3.0, 6.0], keep=["spikes"])
    >>> run.spikes["hidden"].times
    array([2.66666667, 5.33333333])
    >>> run.outputs[0, :, 0], run.counts["hidden"], run.potentials["hidden"]
    (array([0., 1., 2.]), array([[2]]), array([[0.25]]))
    """
    layers = _checked_layers(network)
    t_max = number("simulate_if: t_max", t_max, above=0.0)
    at = _checked_times(times, t_max)
    wanted = frozenset([keep] if isinstance(keep, str) else keep)
    if wanted - {"spikes"}:
        raise ValidationError(f"simulate_if: keep takes 'spikes', got {sorted(wanted)}")
    if isinstance(max_events, bool) or not isinstance(max_events, int) or max_events < 1:
        raise ValidationError(f"simulate_if: max_events must be an integer >= 1, got {max_events!r}")
    drift = _checked_inputs(network, inputs)
    silent = InputEvents(np.zeros(2, np.int64), np.empty(0, np.int64), np.empty(0))

    def work(block: tuple[int, int]) -> list[_Sample]:
        units = [_Units(layer, is_readout=layer is layers[-1]) for layer in layers]
        found = []
        for b in range(*block):
            events, sample = silent, _Sample()
            if isinstance(inputs, Spikes):
                low, high = inputs.offsets[b : b + 2]
                events = InputEvents(np.array([0, high - low]), inputs.neurons[low:high], inputs.times[low:high])
            for k, own in enumerate(units):
                line = drift[b] if k == 0 and drift is not None else None
                events = own.run(events, line, t_max, at, b, max_events, sample)
                if "spikes" in wanted and k < len(units) - 1:
                    sample.spikes.append(events)
            found.append(sample)
        return found

    with BlockPool(n_threads) as pool:
        samples = [sample for block in pool.map(work, sample_blocks(inputs.n_samples)) for sample in block]
    return _collect(layers, samples, inputs.n_samples, at, t_max, bool(wanted))


class _Sample:
    """What one sample gives, layer by layer."""

    def __init__(self) -> None:
        self.outputs: Floats = np.empty(0)
        self.counts: list[NDArray[np.int64]] = []
        self.potentials: list[Floats] = []
        self.received: list[Floats] = []
        self.n_synaptic_events: list[int] = []
        self.spikes: list[InputEvents] = []


class _Units:
    """The units of a layer, window by window; its buffers serve one sample at a time."""

    def __init__(self, layer: Layer, *, is_readout: bool) -> None:
        self.name, self.n_neurons, self._is_readout = layer.name, layer.n_neurons, is_readout
        self._arrivals = Arrivals(layer.name, layer.connection, may_count=True)
        self._weight = np.ascontiguousarray(self._arrivals.matrix(), np.float64)
        shape = (self._arrivals.n_windows, self._weight.shape[1])
        rule = layer.neuron.step_rule(layer.n_neurons, 1.0)
        self._start, self._bias, self._threshold = (
            np.ascontiguousarray(own, np.float64).reshape(shape) for own in (rule.v_start, rule.drive, rule.threshold)
        )
        inner = getattr(layer.connection, "connection", layer.connection)
        groups = inner.groups if isinstance(inner, Conv2d) else 1
        self._fan_out = self._weight.shape[1] // groups
        self._subtracts = layer.neuron.reset == "subtract"
        self._times, self._neurons = np.empty(1024), np.empty(1024, np.int64)

    def run(
        self, events: InputEvents, drift: Floats | None, t_max: float, at: Floats, b: int, max_events: int,
        sample: _Sample,
    ) -> InputEvents:  # fmt: skip
        """The layer's spikes from those before it; what `IFRun` shows goes into `sample`."""
        arriving = self._arrivals.take(events)
        sample.n_synaptic_events.append(int((arriving.times <= t_max).sum()) * self._fan_out)
        line = self._bias if drift is None else self._bias + drift.reshape(self._bias.shape)
        if self._is_readout:
            sample.outputs = np.empty((at.size, *line.shape))
            if_readout(
                self._weight, arriving.offsets, arriving.neurons, arriving.times, self._start, line, at, sample.outputs
            )
            if not np.isfinite(sample.outputs).all():
                self._not_finite(b)
            return events
        while True:
            c, received, counts = self._start.copy(), np.zeros_like(line), np.zeros(line.shape, np.int64)
            times, neurons = self._times[:max_events], self._neurons[:max_events]
            status, n = if_layer(  # the number of spikes, or of the window where it stopped
                self._weight, arriving.offsets, arriving.neurons, arriving.times, c, received, line, self._threshold,
                self._subtracts, t_max, counts, times, neurons,
            )  # fmt: skip
            if status != STATUS_BUFFER_FULL:
                break
            if times.size == max_events:
                raise SimulationError(
                    f"simulate_if: layer {self.name!r} reached max_events={max_events} in sample {b}; are its "
                    "thresholds far too small? A larger max_events goes on"
                )
            # as many spikes per window as so far, and twice the room at least
            room = max(2 * times.size, int(1.25 * times.size * len(line) / (n + 1)))
            self._times, self._neurons = np.empty(room), np.empty(room, np.int64)
        if status == STATUS_NOT_FINITE:
            self._not_finite(b)
        sample.counts.append(counts.reshape(-1))
        sample.potentials.append((c + line * t_max).reshape(-1))
        sample.received.append((received + line * t_max).reshape(-1))
        return InputEvents(np.array([0, n]), neurons[:n].copy(), times[:n].copy())

    def _not_finite(self, b: int) -> None:
        raise SimulationError(
            f"simulate_if: layer {self.name!r}, sample {b}: a potential is not finite; are the weights or inputs too "
            "large?"
        )


def _collect(
    layers: tuple[Layer, ...], samples: list[_Sample], n_samples: int, at: Floats, t_max: float, keeps_spikes: bool
) -> IFRun:
    """The samples as one result."""
    firing = layers[:-1]

    def table(what: str, dtype: Any) -> dict[str, Any]:
        return {
            layer.name: np.array([getattr(own, what)[k] for own in samples], dtype).reshape(n_samples, layer.n_neurons)
            for k, layer in enumerate(firing)
        }

    spikes = {}
    for k, layer in enumerate(firing if keeps_spikes else ()):
        parts = [own.spikes[k] for own in samples]
        offsets = np.concatenate(([0], np.cumsum([own.times.size for own in parts], dtype=np.int64)))
        neurons = np.concatenate([np.empty(0, np.int64), *(own.neurons for own in parts)])
        times = np.concatenate([np.empty(0), *(own.times for own in parts)])
        spikes[layer.name] = Spikes._from_offsets(offsets, neurons, times, layer.n_neurons)
    return IFRun(
        np.array([own.outputs for own in samples]).reshape(n_samples, at.size, layers[-1].n_neurons),
        at, t_max, table("counts", np.int64), table("potentials", np.float64), table("received", np.float64),
        np.array([own.n_synaptic_events for own in samples], np.int64).reshape(n_samples, len(layers)), spikes,
        {layer.name: layer.neuron.per_neuron("v_threshold", layer.n_neurons) for layer in firing},
    )  # fmt: skip


# -- checks, and the drift that constant currents make ---------------------------------------------------------------


def _checked_layers(network: Any) -> tuple[Layer, ...]:
    if not isinstance(network, Sequential):
        raise ValidationError(f"simulate_if: expected a Sequential, got {type(network).__name__}")
    for layer in network.layers:
        where, is_last = f"simulate_if: layer {layer.name!r}", layer is network.layers[-1]
        if not isinstance(layer.neuron, IF):
            raise ValidationError(
                f"{where}: must be IF, whose potential is a straight line between events, got {layer.neuron!r}; "
                "simulate_clocked takes other units, simulate takes LIF"
            )
        if layer.can_spike == is_last:
            what = "the last layer must be a readout, IF(v_threshold=inf)" if is_last else "never fires"
            raise ValidationError(f"{where}: {what}")
        if layer.neuron.reset == "none" and not is_last:
            raise ValidationError(f"{where}: reset='none' would fire without end; use 'subtract' or 'zero'")
        if layer.channels or layer.connection.delay.ndim:
            raise ValidationError(
                f"{where}: Repeat, BiasSpikes and delays that differ are not for IF units; give one delay for all"
            )
    return network.layers


def _checked_times(times: ArrayLike | None, t_max: float) -> Floats:
    at = np.array([t_max]) if times is None else float_array("simulate_if: times", times).astype(np.float64)
    if at.ndim != 1 or at.size == 0 or not ((at >= 0.0) & (at <= t_max)).all() or (np.diff(at) < 0).any():
        raise ValidationError(f"simulate_if: times: must be ascending numbers, 0 .. t_max = {t_max:g}, got {times!r}")
    return at


def _checked_inputs(network: Sequential, inputs: Any) -> Floats | None:
    """The drift of the first layer, (n_samples, n_neurons); None for spikes."""
    if not isinstance(inputs, (Currents, Spikes)):
        raise ValidationError(f"simulate_if: inputs: must be Currents or Spikes, got {type(inputs).__name__}")
    if inputs.n_neurons != network.n_inputs:
        raise ValidationError(
            f"simulate_if: inputs have {inputs.n_neurons} channels, but the network has {network.n_inputs}"
        )
    if isinstance(inputs, Spikes):
        return None
    if not inputs.is_constant:
        raise ValidationError(
            "simulate_if: inputs: Currents must be constant, (n_samples, n_neurons); those of steps are for "
            "simulate_clocked"
        )
    connection: Any = network.layers[0].connection
    values = inputs.values.astype(np.float64)
    if isinstance(connection, Pooled):
        for pool in connection.pools:
            values = _pooled(pool, values)
        connection = connection.connection
    if isinstance(connection, AvgPool2d):
        return _pooled(connection, values)
    if isinstance(connection, Conv2d):
        patches = _patches(connection, values)
        matrix = Arrivals(network.layers[0].name, connection).matrix().astype(np.float64)
        return (np.moveaxis(patches, 3, 5).reshape(*patches.shape[:3], -1) @ matrix).reshape(len(values), -1)
    return np.asarray(values @ connection.weight.astype(np.float64))


def _patches(part: Conv2d | AvgPool2d | MaxPool2d, values: Floats, outside: float = 0.0) -> Floats:
    """The pixels of every window, (n_samples, windows y, windows x, channels, size y, size x)."""
    windows = part.windows
    planes = np.pad(
        values.reshape(-1, *windows.plane),
        [(0, 0), *((n, n) for n in windows.padding), (0, 0)],
        constant_values=outside,
    )
    patches = np.lib.stride_tricks.sliding_window_view(planes, windows.size, axis=(1, 2))
    return np.asarray(patches[:, :: windows.stride[0], :: windows.stride[1]])


def _pooled(pool: AvgPool2d | MaxPool2d, values: Floats) -> Floats:
    """Mean or maximum of constant currents."""
    if isinstance(pool, MaxPool2d):
        return np.asarray(_patches(pool, values, -np.inf).max(axis=(4, 5)).reshape(len(values), -1))
    return np.asarray(_patches(pool, values).mean(axis=(4, 5)).reshape(len(values), -1))
