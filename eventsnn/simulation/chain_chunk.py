"""A chunk of samples on its way through the layers of a chain; see `chain_inference.run_chain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.bits import FLAGS_AT_ONCE
from eventsnn.kernels.convolution import convolve_events
from eventsnn.kernels.grid_projection import constant_dense
from eventsnn.kernels.layer_steps import (
    add_rows_of_events,
    fill_windows,
    fire_constant,
    fire_convolution,
    fire_inputs,
    integrate,
)
from eventsnn.simulation.chain_plan import ChainPlan, LayerPlan
from eventsnn.simulation.grid_inputs import GridEvents, GridInput
from eventsnn.simulation.grid_windows import GridPool, in_order

__all__ = ["DENSE_ABOVE", "Chunk", "ChunkOutcome", "Scratch", "Stop"]

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Stop = Callable[[Floats], NDArray[np.bool_]]

#: of weights that are added for all steps before the next, in bytes: half of a second-level cache
_WEIGHT_BYTES = 2**18
#: of windows that are multiplied at once
_PATCH_BYTES = 2**21
#: of the flags of the steps that a pixel behind a convolution takes before the next
_FLAG_BYTES = 2**19
#: share of the inputs that spike above which a matrix product of all is cheaper; measured, see bench_conversion.py
DENSE_ABOVE = 0.5


@dataclass
class ChunkOutcome:
    """See `chain_inference.ChainRun`."""

    outputs: Floats
    n_steps_used: Ints
    n_spikes: Ints
    n_synaptic_events: Ints
    counts: dict[str, NDArray[np.int32]]
    potentials: dict[str, Floats]

    @classmethod
    def joined(cls, parts: Sequence[ChunkOutcome]) -> Self:
        """Several one after the other, at least one."""

        def table(name: str) -> dict[str, Any]:
            tables = [getattr(part, name) for part in parts]
            return {key: np.concatenate([own[key] for own in tables]) for key in tables[0]}

        arrays = {name: np.concatenate([getattr(part, name) for part in parts])
                  for name in ("outputs", "n_steps_used", "n_spikes", "n_synaptic_events")}  # fmt: skip
        return cls(**arrays, counts=table("counts"), potentials=table("potentials"))


class Scratch:
    """Work arrays of a thread by name: fresh ones of megabytes cost more than what is done with them."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array of this shape, of any contents."""
        size = int(np.prod(shape))
        known = self._arrays.get(name)
        if known is None or known.size < size or known.dtype != dtype:
            known = self._arrays[name] = np.empty(size, dtype)
        return known[:size].reshape(shape)

    def flags(self, name: str, n: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """A byte for each of n, zero, and the same as words."""
        fired, words = self.flag_rows(name, 1, n)
        return fired[0], words[0]

    def flag_rows(self, name: str, n_rows: int, n: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Several rows of them."""
        words: NDArray[np.uint64] = self.take(name, (n_rows, -(-n // FLAGS_AT_ONCE) * (FLAGS_AT_ONCE // 8)), np.uint64)
        words[:] = 0
        return words.view(np.uint8)[:, :n], words


class _Pools:
    """Pools of the samples of a chunk, with what maxima remember of them."""

    def __init__(self, pools: list[GridPool], n_samples: int) -> None:
        self.pools = pools
        self.memory = [pool.memory(n_samples) for pool in pools]

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Go on with some of the samples."""
        self.memory = [(counts[chosen], winners[chosen]) for counts, winners in self.memory]

    def send(self, events: GridEvents, n_steps: int, dtype: np.dtype[Any]) -> GridEvents:
        """The events behind all of them."""
        for pool, memory in zip(self.pools, self.memory, strict=True):
            events = pool.send(events, n_steps, dtype, memory)
        return events


class Chunk:
    """Samples low : high, taken through the layers for one window of steps after the other.

    v, pools, drive : of the samples that still run; `running` has their places among all
    """

    def __init__(
        self, plan: ChainPlan, source: GridInput, low: int, high: int, n_steps: int, keep: frozenset[str],
        scratch: Scratch,
    ) -> None:  # fmt: skip
        self.plan, self.n_steps, self.scratch, n = plan, n_steps, scratch, high - low
        self.running = np.arange(n)
        self.v = [np.tile(layer.units.v_init, (n, 1)) for layer in plan.layers]
        self.pools = [_Pools(layer.pools, n) for layer in plan.layers]
        spiking = plan.layers[:-1]
        self.found = ChunkOutcome(
            np.full((n, n_steps, plan.layers[-1].n_post), np.nan, plan.dtype),
            np.zeros(n, np.int64),
            np.zeros((n, len(spiking)), np.int64),
            np.zeros((n, len(plan.layers)), np.int64),
            {layer.name: np.zeros((n, layer.n_post), np.int32) for layer in spiking if "counts" in keep},
            {layer.name: np.zeros((n, layer.n_post), plan.dtype) for layer in spiking if "potentials" in keep},
        )
        self.events = source.block(low, high)
        self.drive = self._constant_drive(n) if self.events.is_constant else None

    def run(self, stop: Stop | None, window: int) -> ChunkOutcome:
        """All windows, until every sample has stopped."""
        first = 0
        while self.running.size and first < self.n_steps:
            last = min(first + window, self.n_steps)
            self._run_window(first, last)
            done = np.full(self.running.size, last == self.n_steps)
            if stop is not None and last < self.n_steps:
                done = np.asarray(stop(self.found.outputs[self.running, :last]), dtype=np.bool_)
            self._let_go(done, last)
            first = last
        return self.found

    def _let_go(self, done: NDArray[np.bool_], n_steps: int) -> None:
        """Write down what is known of the samples that are done, and go on with the others."""
        if not done.any():
            return
        places, others = self.running[done], ~done
        self.found.n_steps_used[places] = n_steps
        for v, layer in zip(self.v, self.plan.layers, strict=True):
            if layer.name in self.found.potentials:
                self.found.potentials[layer.name][places] = v[done]
        self.running = self.running[others]
        self.v = [v[others] for v in self.v]
        self.drive = None if self.drive is None else self.drive[others]
        for pools in self.pools:
            pools.keep(others)

    def _run_window(self, first: int, last: int) -> None:
        n_steps, layers = last - first, self.plan.layers
        events = None if self.drive is not None else self._input_events(first, last)
        for k, layer in enumerate(layers):
            if events is not None:
                events = self.pools[k].send(events, n_steps, self.plan.dtype)
            if layer.is_readout:
                self._read_out(k, layer, events, first, last)
            else:
                events = self._fire(k, layer, events, n_steps)

    # -- what drives the first layer -------------------------------------------------------------------------------

    def _constant_drive(self, n: int) -> Floats:
        """The product of constant inputs and weights, (n, n_post)."""
        layer = self.plan.layers[0]
        events = self.pools[0].send(self.events, 1, self.plan.dtype)
        columns = layer.weight.shape[1]
        if layer.is_convolution:
            x = np.zeros((n, 1, layer.n_post), self.plan.dtype)
            self._convolve(layer, events, x)
            drive = x[:, 0]
        else:
            drive = np.zeros((n, columns), self.plan.dtype)
            constant_dense(events.starts, events.neurons, events.values, layer.weight, 0, columns, 0, drive)
            drive = drive[:, : layer.n_post]
        return drive

    def _input_events(self, first: int, last: int) -> GridEvents:
        """Inputs of the samples that still run in steps first : last."""
        given = self.events
        rows = (self.running[:, None] * self.n_steps + np.arange(first, last)).ravel()
        begins, sizes = given.starts[rows], given.starts[rows + 1] - given.starts[rows]
        starts = np.concatenate(([0], np.cumsum(sizes)))
        chosen = np.arange(starts[-1]) + np.repeat(begins - starts[:-1], sizes)
        values = given.values[chosen] if given.values.size else given.values
        # spikes that were moved to the grid may come unsorted, or several of one neuron in a step
        return in_order(GridEvents(starts, given.neurons[chosen], values), self.plan.dtype, keeps_repeated=False)

    # -- a layer ---------------------------------------------------------------------------------------------------

    def _fire(self, k: int, layer: LayerPlan, events: GridEvents | None, n_steps: int) -> GridEvents:
        """Its spikes, as events of what comes before the next layer's connection."""
        units, following, scratch, n = layer.units, self.plan.layers[k + 1], self.scratch, self.running.size
        real = self.plan.dtype.type
        v = self.v[k].reshape(n, units.n_rows, units.width)
        spikes = np.zeros(n, np.int64)
        counted = layer.name in self.found.counts
        counts = np.zeros((n if counted else 0, layer.n_post), np.int32)
        out_starts = scratch.take(f"starts {k % 2}", (n * n_steps + 1,), np.int64)
        out_neurons = scratch.take(
            f"neurons {k % 2}", (n * n_steps * layer.n_post * following.windows_per_input + 8,), np.int64
        )
        fired, words = scratch.flags("fired", layer.n_post)
        plane = scratch.take("plane", (following.n_pooled,), np.uint8)
        plane_flags, plane_words = scratch.flags("plane flags", following.n_pooled)
        after = (fired, words, following.average, plane, plane_flags, plane_words, out_starts, out_neurons)
        common = (v, units.beta, units.threshold, units.reset)
        out_starts[0] = 0
        if events is None:
            assert self.drive is not None
            drive = self.drive.reshape(n, units.n_rows, units.width)
            fire_constant(drive, units.bias, *common, n_steps, *after, spikes, counts)
        elif layer.is_convolution:
            self._fire_convolution(k, layer, events, n_steps, common, after, spikes, counts)
        else:
            x = self._dense_inputs(k, layer, events, n, n_steps)
            x = x.reshape(n, n_steps, units.n_rows, units.width)
            fire_inputs(x, real(layer.scale), units.bias, *common, *after, spikes, counts)
        self.found.n_spikes[self.running, k] += spikes
        if counted:
            self.found.counts[layer.name][self.running] += counts
        return GridEvents(out_starts, out_neurons, np.empty(0, real))

    def _fire_convolution(
        self, k: int, layer: LayerPlan, events: GridEvents, n_steps: int, common: Any, after: Any, spikes: Ints,
        counts: NDArray[np.int32],
    ) -> None:  # fmt: skip
        """The neurons behind a convolution, one sample after the other, in the way that suits its spikes."""
        units, real = layer.units, self.plan.dtype.type
        v, *rule = common
        *flags, out_starts, out_neurons = after
        added = np.zeros(1, np.int64)
        together = min(n_steps, max(1, _FLAG_BYTES // layer.n_post))
        step_flags = (*self.scratch.flag_rows("fired in steps", together, layer.n_post), *flags[2:])
        _, rows_work, factors = self._window_work(layer)
        places = self.scratch.take("places", (layer.n_pixels + 1, together), np.int64)
        x = self.scratch.take("pixel sums", (together, layer.weight.shape[1]), self.plan.dtype)
        for s, busy in enumerate(self._is_busy(layer, events, n_steps)):
            one = slice(s, s + 1)
            own = (spikes[one], counts[one] if counts.size else counts)
            rows = slice(s * n_steps, (s + 1) * n_steps + 1)
            if not busy:
                added[:] = 0
                fire_convolution(
                    events.starts[rows], events.neurons, events.values, layer.weight, layer.geometry,
                    places, rows_work, factors, x, real(layer.scale), units.bias, v[one], *rule, n_steps, *step_flags,
                    out_starts[rows], out_neurons, *own, added,
                )  # fmt: skip
                self.found.n_synaptic_events[self.running[s], k] += added[0] * layer.fan_out
                continue
            for first, product in self._products(layer, events, s, n_steps, k):
                begin = s * n_steps + first
                fire_inputs(
                    product.reshape(1, -1, units.n_rows, units.width), real(layer.scale), units.bias, v[one], *rule,
                    *flags, out_starts[begin:], out_neurons, *own,
                )  # fmt: skip

    def _products(self, layer: LayerPlan, events: GridEvents, s: int, n_steps: int, k: int) -> Any:
        """First step and products (n, n_windows, n_channels) of some steps of a sample after the other."""
        n_windows, n_taps = layer.n_post // layer.weight.shape[1], layer.weight.shape[0]
        together = max(1, _PATCH_BYTES // (n_windows * n_taps * self.plan.dtype.itemsize))
        for first in range(0, n_steps, together):
            n = min(together, n_steps - first)
            patches = self.scratch.take("patches", (n, n_windows, n_taps), self.plan.dtype)
            patches[:] = 0
            fill_windows(events.starts, events.neurons, events.values, n_steps, s, first, layer.geometry, patches)
            n_added = np.count_nonzero(patches) if events.values.size else int(patches.sum(dtype=np.float64))
            self.found.n_synaptic_events[self.running[s], k] += n_added * layer.fan_out
            yield first, patches.reshape(-1, n_taps) @ layer.weight

    def _read_out(self, k: int, layer: LayerPlan, events: GridEvents | None, first: int, last: int) -> None:
        n, n_steps, units = self.running.size, last - first, layer.units
        scale = self.plan.dtype.type(layer.scale if events is not None else 1.0)
        outputs = np.empty((n, n_steps, layer.n_post), self.plan.dtype)
        if events is None:
            assert self.drive is not None
            x = np.ascontiguousarray(np.broadcast_to(self.drive[:, None], outputs.shape))
        else:
            x = self._dense_inputs(k, layer, events, n, n_steps)
        integrate(x, scale, np.tile(units.bias, units.n_rows), self.v[k], np.tile(units.beta, units.n_rows), outputs)
        self.found.outputs[self.running, first:last] = outputs

    def _dense_inputs(self, k: int, layer: LayerPlan, events: GridEvents, n: int, n_steps: int) -> Floats:
        """What arrives at every neuron in every step, (n, n_steps, n_post or more)."""
        columns = layer.n_post if layer.is_convolution else layer.weight.shape[1]
        x: Floats = self.scratch.take("inputs", (n, n_steps, columns), self.plan.dtype)
        x[:] = 0
        if layer.is_convolution:
            self.found.n_synaptic_events[self.running, k] += self._convolve(layer, events, x)
            return x
        sizes = np.diff(events.starts[::n_steps])
        self.found.n_synaptic_events[self.running, k] += sizes * layer.fan_out
        busy = self._is_busy(layer, events, n_steps)
        for s in np.flatnonzero(busy):
            flags = self._flags_of(layer, events, int(s), n_steps)
            np.matmul(flags, layer.weight, out=x[s])
        together = max(16, _WEIGHT_BYTES // layer.weight[0].nbytes)
        reached = self.scratch.take("reached", (n * n_steps,), np.int64)
        rest = [(0, n)] if not busy.any() else [(s, s + 1) for s in np.flatnonzero(~busy)]
        for low, high in rest:
            add_rows_of_events(
                events.starts[low * n_steps : high * n_steps + 1], events.neurons, events.values, layer.weight,
                together, reached[low * n_steps : high * n_steps], x[low:high].reshape(-1, columns),
            )  # fmt: skip
        return x

    def _flags_of(self, layer: LayerPlan, events: GridEvents, s: int, n_steps: int) -> Floats:
        """What a sample sends in every step, (n_steps, n_pre)."""
        starts = events.starts[s * n_steps : (s + 1) * n_steps + 1]
        steps = np.repeat(np.arange(n_steps), np.diff(starts))
        places = steps * layer.n_pooled + events.neurons[starts[0] : starts[-1]]
        values = events.values[starts[0] : starts[-1]] if events.values.size else None
        flags = np.bincount(places, values, minlength=n_steps * layer.n_pooled)
        return flags.astype(self.plan.dtype).reshape(n_steps, layer.n_pooled)

    def _is_busy(self, layer: LayerPlan, events: GridEvents, n_steps: int) -> NDArray[np.bool_]:
        """By sample, whether so many inputs spike that multiplying all by the weights is cheaper."""
        sizes = np.diff(events.starts[::n_steps])
        limit = np.inf if layer.is_convolution and layer.geometry[-1] != 1 else DENSE_ABOVE
        busy: NDArray[np.bool_] = sizes > limit * n_steps * layer.n_pooled
        return busy

    def _convolve(self, layer: LayerPlan, events: GridEvents, x: Floats) -> Ints:
        """Add a convolution to x (n, n_steps, n_post); returns the additions, (n,)."""
        added = np.zeros(len(x), np.int64)
        convolve_events(
            events.starts, events.neurons, events.values, layer.weight, layer.geometry, 0, 0,
            *self._window_work(layer), x, added,
        )  # fmt: skip
        return added * layer.fan_out

    def _window_work(self, layer: LayerPlan) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """place, rows, factors of `kernels.convolution`."""
        n = layer.largest_window
        place = self.scratch.take("place", (layer.n_pixels + 1,), np.int64)
        return place, self.scratch.take("rows", (n,), np.int64), self.scratch.take("factors", (n,), self.plan.dtype)
