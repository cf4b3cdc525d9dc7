"""Difference quotients of the mean loss, in float64 and in high precision: what `check_gradients` compares with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.gradients.first_spike import TimeLoss
from eventsnn.gradients.high_precision import channel_events, first_spike_times
from eventsnn.gradients.high_precision_gates import Gates
from eventsnn.kernels.hinge import add_hinge
from eventsnn.network import Sequential
from eventsnn.simulation.delayed_layers import conditional_runners
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.windows import is_windowed, matrix_of
from eventsnn.spikes import Spikes

__all__ = ["FLOAT64_STEP", "FLOAT64_TOLERANCE", "INPUT_TIMES", "Float64Difference", "HighPrecisionDifference"]
__all__ += ["ROUNDING", "LossDifference", "difference", "high_step"]

INPUT_TIMES = "input_times"
#: A difference (f(x + h) - f(x - h))/2h in float64 is best near h = eps^(1/3), here relative to the size of x.
FLOAT64_STEP = 6e-6
#: What differences in float64 can be asked for, and the rounding of a loss.
FLOAT64_TOLERANCE = 1e-5
ROUNDING = 8.0 * float(np.finfo(float).eps)
#: In `digits` digits the step 10^(-3/8 digits) leaves a quarter of the digits for the truncation: 1e-15 for 40.
HIGH_STEP_SHARE = 0.375

# Offsets in steps, and their coefficients: central, and one-sided of the same order for a spike at time 0.
CENTRAL = ((1, 0.5), (-1, -0.5))
ONE_SIDED = ((0, -1.5), (1, 2.0), (2, -0.5))

Signature = list[NDArray[np.int64]]


def high_step(digits: int) -> float:
    """The relative step that fits so many digits; never so small that it is 0 in float64."""
    return float(10.0 ** -min(HIGH_STEP_SHARE * digits, 100.0))


def difference(value_at: Callable[[float], tuple[Any, bool]], h: float, one_sided: bool) -> tuple[Any, bool]:
    """h times the derivative, from values at some moves, and whether one of them says that something has changed."""
    total: Any = 0.0
    changed = False
    for offset, coefficient in ONE_SIDED if one_sided else CENTRAL:
        value, differs = value_at(offset * h)
        total = total + coefficient * value
        changed |= bool(differs)
    return total, changed


class LossDifference(ABC):
    """Losses of the samples after one entry has moved, and the signature that tells whether the loss has a kink there.

    Signature: per layer, (n_samples, n_neurons), 1 + the number of input spikes before a neuron's spike, 0 if silent.
    """

    precision: str
    default_step: float

    def __init__(self, network: Sequential, spikes: Spikes, labels: NDArray[np.int64], loss: TimeLoss) -> None:
        self.network, self.spikes, self.labels, self.loss = network, spikes, labels, loss
        self.first_times = spikes.first_times()
        self.tau_syn = network.layers[-1].neuron.tau_syn
        self._own: dict[int | None, Signature] = {}
        #: unit of the step
        self.scales = {INPUT_TIMES: float(np.min(network.layers[0].neuron.tau_syn))}
        for layer in network.layers:
            self.scales[f"{layer.name}.weight"] = float(np.abs(layer.connection.weight).max()) or 1.0
            self.scales[f"{layer.name}.delay"] = float(np.min(layer.neuron.tau_syn))
        self._delays = {f"{layer.name}.delay": layer.connection.delay for layer in network.layers}

    @abstractmethod
    def losses(self, name: str, index: tuple[int, ...], move: float) -> tuple[NDArray[Any], Signature]:
        """Losses and signature of the samples that the entry touches, after adding `move` to it."""

    def derivative(self, name: str, index: tuple[int, ...], relative_step: float) -> tuple[float, str, bool]:
        """Difference quotient of the mean loss, its precision, and whether the step met a jump or a kink."""
        h = relative_step * self.scales[name]
        from_zero = self.first_times if name == INPUT_TIMES else self._delays.get(name)
        one_sided = from_zero is not None and bool(from_zero[index] < h)
        touched = index[0] if name == INPUT_TIMES else None
        if touched not in self._own:
            self._own[touched] = self.losses(name, index, 0.0)[1]
        own = self._own[touched]

        def losses_at(move: float) -> tuple[NDArray[Any], bool]:
            losses, signature = self.losses(name, index, move)
            return losses, any((a != b).any() for a, b in zip(own, signature, strict=True))

        # per sample: the difference is taken before the sum rounds
        total, changed = difference(losses_at, h, one_sided)
        return float(total.sum() / (h * self.labels.size)), self.precision, changed


class Float64Difference(LossDifference):
    """With the simulation kernels."""

    precision = "float64"
    default_step = FLOAT64_STEP

    def __init__(
        self, network: Sequential, spikes: Spikes, labels: NDArray[np.int64], loss: TimeLoss, strength: float
    ) -> None:
        super().__init__(network.astype(np.float64), spikes, labels, loss)  # a copy: its parameters move
        self.strength = strength
        self.moving = self.network.parameters()
        for layer in self.network.layers:
            delay = np.array(layer.connection.delay)
            object.__setattr__(getattr(layer.connection, "connection", layer.connection), "delay", delay)  # a `Pooled`
            self.moving[f"{layer.name}.delay"] = delay
        self.runners = conditional_runners(self.network)  # also delays that are 0 move

    def losses(self, name: str, index: tuple[int, ...], move: float) -> tuple[NDArray[Any], Signature]:
        """See `LossDifference.losses`."""
        if name == INPUT_TIMES:
            times = self.first_times[index[0] : index[0] + 1].copy()
            times[0, index[1]] += move
            return self._run(Spikes.from_first_times(times), self.labels[index[0] : index[0] + 1])
        array = self.moving[name]
        before = array[index]
        array[index] += move
        try:
            return self._run(self.spikes, self.labels)
        finally:
            array[index] = before

    def _run(self, spikes: Spikes, labels: NDArray[np.int64]) -> tuple[NDArray[Any], Signature]:
        events = input_events(spikes)
        for runner in self.runners:
            events = runner.forward(events)
        times = self.runners[-1].record.time
        losses, _ = self.loss.value_and_grad(times, labels, self.tau_syn)
        silent = [np.isinf(runner.record.time) for runner in self.runners]
        if self.strength > 0:
            right = np.zeros_like(silent[-1])
            right[np.arange(labels.size), labels] = True
            for runner, pushed in zip(self.runners, [*silent[:-1], silent[-1] & right], strict=True):
                add_hinge(pushed, runner.peaks(pushed), runner.theta, self.strength, runner.height, losses)
        signature = []
        for runner, quiet in zip(self.runners, silent, strict=True):
            # A silent neuron under the hinge has the inputs before its highest peak on record.
            counts = 1 + runner.n_causal()
            counts[np.isinf(runner.record.time)] = 0
            signature.append(np.where(quiet, -counts, counts))
        for runner in self.runners:
            signature += runner.winners()
        return losses, signature


class HighPrecisionDifference(LossDifference):
    """With `high_precision.first_spike_times`, in `digits` decimal digits."""

    precision = "high"

    def __init__(
        self, network: Sequential, spikes: Spikes, labels: NDArray[np.int64], loss: TimeLoss, digits: int
    ) -> None:
        from mpmath import mp

        super().__init__(network, spikes, labels, loss)
        self.mp, self.digits = mp, digits
        self.default_step = high_step(digits)
        self.exp = np.frompyfunc(mp.exp, 1, 1)
        self.log = np.frompyfunc(mp.log, 1, 1)
        self.names = [layer.name for layer in network.layers]
        self.connections = [layer.connection for layer in network.layers]
        self.weights = [matrix_of(own).astype(object) for own in self.connections]
        self.delays = [layer.connection.delay.astype(object) for layer in network.layers]
        passed = [getattr(own, "gates", ()) for own in self.connections]  # of a `Pooled`
        self.gates = [Gates(own) if own else None for own in passed]
        maps = [layer.channel_map if layer.channels else None for layer in network.layers]
        self.channels = [None if own is None else (own.sources.tolist(), own.bias_times.tolist()) for own in maps]
        names = ("tau_mem", "tau_syn", "v_threshold", "v_leak", "i_bias")
        self.lif = [{n: layer.neuron.per_neuron(n, layer.n_neurons) for n in names} for layer in network.layers]
        self.inputs = [(list(s.times.tolist()), s.neurons.tolist()) for s in spikes]
        self.base = [self._layers(0, *inputs) for inputs in self.inputs]

    def derivative(self, name: str, index: tuple[int, ...], relative_step: float) -> tuple[float, str, bool]:
        """See `LossDifference.derivative`."""
        with self.mp.workdps(self.digits):  # for the difference itself as well
            return super().derivative(name, index, relative_step)

    def losses(self, name: str, index: tuple[int, ...], move: float) -> tuple[NDArray[Any], Signature]:
        """See `LossDifference.losses`."""
        if name == INPUT_TIMES:
            sample, neuron = index
            times, neurons = self.inputs[sample]
            moved = [self.mp.mpf(t) + move if n == neuron else t for t, n in zip(times, neurons, strict=True)]
            inputs = {sample: (moved, neurons)}
            layers = {sample: self._layers(0, moved, neurons) if move else self.base[sample]}
        else:
            inputs = dict(enumerate(self.inputs))
            owner, _, kind = name.rpartition(".")
            layers = {s: self._moved(s, self.names.index(owner), kind, index, move) for s in inputs}
        output = np.stack([found[-1] for found in layers.values()])
        labels = self.labels[list(layers)]
        losses = self.loss.value(output, labels, self.tau_syn, exp=self.exp, log=self.log)
        return losses, self._signature(inputs, layers)

    def _layers(self, start: int, times: Sequence[Any], neurons: Sequence[int]) -> list[NDArray[Any]]:
        """First spike times of the layers from `start` on, driven by the given events."""
        return first_spike_times(
            self.weights[start:], self.lif[start:], times, neurons, self.digits,
            delays=self.delays[start:], channels=self.channels[start:], gates=self.gates[start:],
        )  # fmt: skip

    def _moved(self, sample: int, k: int, kind: str, index: tuple[int, ...], move: float) -> list[NDArray[Any]]:
        """All layers after a weight or delay of layer k moved: only its neurons and later layers are computed anew."""
        base = self.base[sample]
        if not move:
            return base
        times, neurons = self.inputs[sample] if k == 0 else (base[k - 1].tolist(), range(base[k - 1].size))
        arrays = {"weight": self.weights[k], "delay": self.delays[k]}
        moved = arrays[kind] = arrays[kind].copy()
        posts: Any = slice(None)  # an axonal delay, or one for all, concerns every neuron of the layer
        if kind == "weight" and is_windowed(self.connections[k]):
            one = np.zeros(self.connections[k].weight.shape)
            one[index] = 1.0
            factors = matrix_of(self.connections[k].with_values(weight=one))
            for place in np.argwhere(factors):
                moved[*place] = self.mp.mpf(moved[*place]) + float(factors[*place]) * self.mp.mpf(move)
            posts = np.flatnonzero(factors.any(axis=0))
        else:
            moved[index] = self.mp.mpf(moved[index]) + move
            if moved.ndim == 2 and moved.shape[1] > 1:
                posts = slice(index[1], index[1] + 1)
        weight, delay = arrays["weight"][:, posts], arrays["delay"]
        delay = delay[:, posts] if delay.ndim == 2 and delay.shape[1] > 1 else delay
        own = {name: values[posts] for name, values in self.lif[k].items()}
        layer = base[k].copy()
        (layer[posts],) = first_spike_times(
            [weight], [own], times, neurons, self.digits, delays=[delay], channels=[self.channels[k]],
            gates=[self.gates[k]],
        )  # fmt: skip
        later = self._layers(k + 1, layer.tolist(), range(layer.size)) if k + 1 < len(base) else []
        return [*base[:k], layer, *later]

    def _signature(self, inputs: dict[int, Any], layers: dict[int, list[NDArray[Any]]]) -> Signature:
        rows: list[list[list[int]]] = [[] for _ in self.names]
        winners: list[list[list[int]]] = [[] for _ in self.names]
        for sample, found in layers.items():
            events = list(zip(*inputs[sample], strict=True))
            for k, times in enumerate(found):
                silent = times == np.inf
                channels, delays = self.channels[k], np.broadcast_to(self.delays[k], self.weights[k].shape)
                events = events if channels is None else channel_events(self.mp, events, *channels)
                gates = self.gates[k]
                if gates is not None:
                    events = gates(events)
                    winners[k].append(gates.winners)
                counts = (1 + sum(t + delays[row, n] < time for t, row in events) for n, time in enumerate(times))
                rows[k].append([0 if s else n for s, n in zip(silent, counts, strict=True)])
                events = [(time, n) for n, time in enumerate(times) if not silent[n]]
        return [np.array(layer, dtype=np.int64) for layer in (*rows, *(own for own in winners if own))]
