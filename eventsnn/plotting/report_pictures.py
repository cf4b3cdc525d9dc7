"""What can be drawn of one trained network on one data set, and how; `report` writes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eventsnn._validation import number
from eventsnn.decoding import decode_first_spike
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.plotting.classification import plot_confusion_matrix
from eventsnn.plotting.clocked_traces import plot_clocked_traces
from eventsnn.plotting.delays import plot_delay_histograms, plot_delay_matrices
from eventsnn.plotting.euler import plot_euler_comparison
from eventsnn.plotting.history import plot_history
from eventsnn.plotting.learned_spike import plot_learned_spike
from eventsnn.plotting.parameters import plot_parameters
from eventsnn.plotting.spike_times import plot_spike_time_histograms, plot_time_differences
from eventsnn.plotting.spikes import plot_raster, plot_sorted_output_times
from eventsnn.plotting.style import drives_of, graph_of
from eventsnn.plotting.traces import plot_traces
from eventsnn.plotting.weights import (
    plot_receptive_fields,
    plot_weight_histograms,
    plot_weight_matrices,
)
from eventsnn.plotting.yin_yang import (
    plot_yin_yang_hidden_times,
    plot_yin_yang_map,
    plot_yin_yang_output_times,
    plot_yin_yang_time_differences,
)
from eventsnn.plotting.yin_yang_plane import FirstTimes, yin_yang_first_times

if TYPE_CHECKING:
    from eventsnn.clock import Clock
    from eventsnn.currents import Currents
    from eventsnn.graph import Network, Population
    from eventsnn.spikes import Spikes
    from eventsnn.training.monitor import ParameterMonitor

__all__ = ["Draw", "Pictures", "TestedData", "output_of"]

_BLOCK = 1000  # test samples simulated at a time: bounds the memory for hidden spikes
_HIDDEN_SAMPLES = 2000  # of which hidden spikes are kept, to the next full block: bounds the memory as well
_EULER_NEURONS = 4
_MIN_PIXELS = 64  # inputs from which a square input is taken for an image

#: draws a picture, and writes it where a path is given
Draw = Callable[[Path | None], Figure]


class LabelledSpikes(Protocol):
    """What is used of a `datasets.Split`."""

    @property
    def spikes(self) -> Spikes | Currents:
        """The inputs."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The true classes."""

    @property
    def values(self) -> NDArray[np.floating] | None:
        """What was encoded."""

    def __len__(self) -> int: ...


class TestedData(Protocol):
    """What is used of a `datasets.Dataset`; importing that would turn the arrow round."""

    @property
    def name(self) -> str:
        """Of the data set."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of all classes."""

    @property
    def test(self) -> LabelledSpikes:
        """The test part."""


class Pictures:
    """What the pictures of one network share; simulations run when first needed."""

    def __init__(
        self, network: Sequential | Network, dataset: TestedData, history: Sequence[Any],
        encoding: Mapping[str, Any] | None, sample: int, t_max: float, clock: Clock | None,
        predictions: NDArray[np.int64] | None, n_threads: int, monitor: ParameterMonitor | None = None,
        target_time: float | None = None, output_times: NDArray[np.float64] | None = None, noisy: bool = False,
    ) -> None:  # fmt: skip
        self.t_max, self.clock, self.predictions = t_max, clock, predictions
        self.network, self.dataset, self.history = network, dataset, history
        self.sample, self.n_threads = sample, n_threads
        self.monitor, self.target_time, self.output_times = monitor, target_time, output_times
        self.aside = " (without noise)" if noisy else ""  # after the titles of what is simulated here
        self.beside: Pictures | None = None  # of another network, when both are drawn on common axes
        self.plane: FirstTimes | None = None
        is_yin_yang = dataset.name == "yin_yang" and clock is None and self.fires
        if is_yin_yang and encoding is not None and isinstance(network, Sequential):
            self.plane = _plane(network, encoding, n_threads)

    def pictures(self) -> list[tuple[str, Draw]]:
        """Stable names and what draws them, in the order of the summary."""
        return [
            *self._of_training(),
            *self._of_the_test(),
            *self._of_the_plane(),
            *self._of_a_sample(),
            *self._of_parameters(),
        ]

    def _of_training(self) -> Iterator[tuple[str, Draw]]:
        title, monitor, network = self.dataset.name, self.monitor, self.network
        if len(self.history) > 0:
            yield "curve", lambda path: plot_history(self.history, title=title, path=path)
        if monitor is not None and self.clock is None and isinstance(network, Sequential) and self._learns_one_spike:
            yield "learned_spike", self.learned_spike

    def _of_the_test(self) -> Iterator[tuple[str, Draw]]:
        yield "confusion_matrix", self.confusion_matrix
        if self.fires and self.clock is None:
            yield "sorted_output_times", self.sorted_output_times
            yield "spike_time_histograms", self.spike_time_histograms
            if output_of(self.network)[1].n_neurons > 1:
                yield "time_differences", self.time_differences

    def _of_the_plane(self) -> Iterator[tuple[str, Draw]]:
        if self.plane is None:
            return
        yield "yin_yang_map", self.yin_yang_map
        yield "yin_yang_output_times", self.yin_yang_output_times
        yield "yin_yang_time_differences", self.yin_yang_time_differences
        for name in self.hidden:
            yield f"yin_yang_{name}_times", partial(self.yin_yang_hidden_times, name)

    def _of_a_sample(self) -> Iterator[tuple[str, Draw]]:
        yield "raster", self.raster
        yield "traces", self.traces
        if isinstance(self.network, Sequential) and self.clock is None and self.fires:
            yield "euler", self.euler

    def _of_parameters(self) -> Iterator[tuple[str, Draw]]:
        network, title = self.network, self.dataset.name
        yield "weight_histograms", lambda path: plot_weight_histograms(network, title=title, path=path)
        yield "weight_matrices", lambda path: plot_weight_matrices(network, title=title, path=path)
        delayed = [connection.delay.size for _, _, connection in drives_of(network) if connection.has_delay]
        if delayed:
            yield "delay_histograms", lambda path: plot_delay_histograms(network, title=title, path=path)
        if max(delayed, default=1) > 1:
            yield "delay_matrices", lambda path: plot_delay_matrices(network, title=title, path=path)
        if isinstance(network, Sequential) and _is_image(network.n_inputs):
            yield "receptive_fields", lambda path: plot_receptive_fields(network, title=title, path=path)
        if self.monitor is not None and self.monitor.epochs.size > 1:
            yield "parameters", self.parameters

    @property
    def _learns_one_spike(self) -> bool:
        """Whether there is one output neuron, and all that drives it is recorded."""
        assert self.monitor is not None
        monitor = self.monitor
        complete = all(monitor.course(name).is_complete for name in monitor.names)
        return output_of(self.network)[1].n_neurons == 1 and self.fires and complete and monitor.epochs.size > 1

    @property
    def output(self) -> str:
        """Name of the output population."""
        return output_of(self.network)[0]

    @property
    def fires(self) -> bool:
        """Whether the output has spikes to show."""
        return output_of(self.network)[1].can_spike

    @property
    def tau_syn(self) -> float:
        """Unit of times, of the last population; its median where the neurons differ."""
        return float(np.median(output_of(self.network)[1].neuron.tau_syn))

    @property
    def hidden(self) -> list[str]:
        """Names of the populations that fire, without the output."""
        populations = graph_of(self.network).populations
        return [name for name, own in populations.items() if own.can_spike and name != self.output]

    @property
    def test_times(self) -> NDArray[np.float64]:
        """First output spike times of the test part."""
        return self._test_part[self.output] if self.output_times is None else self.output_times

    @cached_property
    def _test_part(self) -> dict[str, NDArray[np.float64]]:
        """First spike times: of the output in all of the test part, of hidden neurons in its first samples.

        Where the output's times are given, only of those first samples.
        """
        from eventsnn.simulation import simulate

        spikes: Any = self.dataset.test.spikes
        parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*self.hidden, self.output)}
        end = spikes.n_samples if self.output_times is None else min(spikes.n_samples, _HIDDEN_SAMPLES)
        for start in range(0, end, _BLOCK):
            block = spikes[start : start + _BLOCK]
            result = simulate(self.network, block, self.t_max, n_threads=self.n_threads)
            for name, own in parts.items():
                if name == self.output or start < _HIDDEN_SAMPLES:
                    own.append(result.first_times(name))
        return {name: np.concatenate(own) for name, own in parts.items()}

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """Class found for every test sample, -1 where no output fired."""
        return decode_first_spike(self.test_times) if self.predictions is None else self.predictions

    @cached_property
    def one(self) -> Any:
        """The chosen sample alone."""
        from eventsnn.simulation import simulate
        from eventsnn.simulation.clock_driven import simulate_clocked

        inputs: Any = self.dataset.test.spikes[self.sample]
        if self.clock is not None:
            return simulate_clocked(self.network, inputs, dt=self.clock.dt, n_steps=self.clock.n_steps)
        return simulate(self.network, inputs, self.t_max)

    def confusion_matrix(self, path: Path | None) -> Figure:
        """Of the test part."""
        test = self.dataset.test
        names, title = self.dataset.class_names, self.dataset.name
        return plot_confusion_matrix(test.labels, self.classes, names, title=title, path=path)

    def sorted_output_times(self, path: Path | None) -> Figure:
        """Of the test part."""
        names = self.dataset.class_names
        title = f"{self.dataset.name}: first output spikes of {len(self.dataset.test)} test samples"
        return plot_sorted_output_times(
            self.test_times, self.dataset.test.labels, names, self.tau_syn, t_range=self.t_range, title=title, path=path
        )  # fmt: skip

    @property
    def t_range(self) -> tuple[float, float] | None:
        """First and last output spike of both networks; None for one alone, whose axes need no other."""
        if self.beside is None:
            return None
        times = np.concatenate((self.test_times, self.beside.test_times))
        finite = times[np.isfinite(times)]
        return (float(finite.min()), float(finite.max())) if finite.size else None

    def spike_time_histograms(self, path: Path | None) -> Figure:
        """Of the first samples of the test part."""
        times = {name: self._test_part[name] for name in self.hidden} | {self.output: self.test_times}
        n = min(len(own) for own in times.values())
        aside = f"{self.aside[:-1]} in hidden neurons)" if self.aside and self.hidden else ""
        title = f"{self.dataset.name}: first spikes of {n} test samples{aside}"
        return plot_spike_time_histograms(
            {name: own[:n] for name, own in times.items()}, self.dataset.test.labels[:n], self.classes[:n],
            self.tau_syn, title=title, path=path,
        )  # fmt: skip

    def time_differences(self, path: Path | None) -> Figure:
        """Of the test part."""
        title = f"{self.dataset.name}: first output spikes of {len(self.dataset.test)} test samples"
        return plot_time_differences(
            self.test_times, self.dataset.test.labels, self.tau_syn, title=title, path=path
        )  # fmt: skip

    def raster(self, path: Path | None) -> Figure:
        """Of the chosen sample."""
        label = int(self.dataset.test.labels[self.sample])
        names = self.dataset.class_names
        title = f"{self.dataset.name}, test sample {self.sample}, true class {names[label]}{self.aside}"
        if self.fires:
            return plot_raster(self.one, label=label, class_names=names, title=title, path=path)
        graph = graph_of(self.network)
        inputs = [name for name in graph.inputs if name in self.one.spikes]  # currents have no spikes to draw
        firing = [*inputs, *(name for name, own in graph.populations.items() if own.can_spike)]  # nor has a readout
        return plot_raster(self.one, names=firing, title=title, path=path)

    def traces(self, path: Path | None) -> Figure:
        """Of the output neurons in the chosen sample."""
        names = self.dataset.class_names
        label = names[int(self.dataset.test.labels[self.sample])]
        title = f"{self.dataset.name}, test sample {self.sample}, true class {label}: {self.output} neurons{self.aside}"
        draw: Callable[..., Figure] = plot_traces if self.clock is None else plot_clocked_traces
        return draw(self.one, self.output, neuron_names=names, title=title, path=path)

    def euler(self, path: Path | None) -> Figure:
        """Of the chosen sample: the output of its class and those that fire first."""
        names = self.dataset.class_names
        label = int(self.dataset.test.labels[self.sample])
        first = self.one.first_times(self.output)[0].copy()
        first[label] = -1.0
        chosen = np.sort(np.argsort(first, kind="stable")[:_EULER_NEURONS])
        sample = f"{self.dataset.name}, test sample {self.sample}, true class {names[label]}"
        title = f"{sample}: exact and by Euler's method{self.aside}"
        return plot_euler_comparison(self.one, neurons=chosen, neuron_names=names, title=title, path=path)

    def learned_spike(self, path: Path | None) -> Figure:
        """Of the chosen sample."""
        network, monitor = self.network, self.monitor
        assert isinstance(network, Sequential)
        assert monitor is not None
        inputs: Any = self.dataset.test.spikes[self.sample]
        title = f"{self.dataset.name}: learning one spike time"
        return plot_learned_spike(monitor, network, inputs, self.target_time, title=title, path=path)

    def parameters(self, path: Path | None) -> Figure:
        """Over the epochs."""
        assert self.monitor is not None
        in_tau_syn = isinstance(self.network, Sequential) and self.clock is None
        tau_syn = self.tau_syn if in_tau_syn else None
        return plot_parameters(
            self.monitor, tau_syn, title=f"{self.dataset.name}: parameters over the epochs", path=path
        )

    def yin_yang_map(self, path: Path | None) -> Figure:
        """Of the whole plane."""
        assert self.plane is not None
        test, names = self.dataset.test, self.dataset.class_names
        return plot_yin_yang_map(
            self.plane, test.values, None if test.values is None else test.labels, name=self.output,
            class_names=names, title=f"classification map{self.aside}", path=path,
        )  # fmt: skip

    def yin_yang_output_times(self, path: Path | None) -> Figure:
        """Of the whole plane."""
        assert self.plane is not None
        names = self.dataset.class_names
        title = f"first spike of the output neurons (grey: silent){self.aside}"
        return plot_yin_yang_output_times(
            self.plane, self.tau_syn, name=self.output, class_names=names, title=title, path=path
        )  # fmt: skip

    def yin_yang_time_differences(self, path: Path | None) -> Figure:
        """Of the whole plane."""
        assert self.plane is not None
        title = f"second output spike - first output spike{self.aside}"
        return plot_yin_yang_time_differences(self.plane, self.tau_syn, name=self.output, title=title, path=path)

    def yin_yang_hidden_times(self, name: str, path: Path | None) -> Figure:
        """Of one hidden population over the whole plane."""
        assert self.plane is not None
        return plot_yin_yang_hidden_times(self.plane, self.tau_syn, name=name, path=path)


def output_of(network: Sequential | Network) -> tuple[str, Population]:
    """Name and population of the output, the last one."""
    return list(graph_of(network).populations.items())[-1]


def _is_image(n_inputs: int) -> bool:
    return n_inputs >= _MIN_PIXELS and math.isqrt(n_inputs) ** 2 == n_inputs


def _plane(network: Sequential, encoding: Mapping[str, Any], n_threads: int) -> FirstTimes:
    where = "write_report.encoding"
    missing = [key for key in ("t_early", "t_late") if key not in encoding]
    if missing:
        raise ValidationError(f"{where}: {' and '.join(missing)} missing, got {sorted(encoding)}")
    bias = encoding.get("bias_time")
    return yin_yang_first_times(
        network,
        t_early=number(f"{where}.t_early", encoding["t_early"], at_least=0),
        t_late=number(f"{where}.t_late", encoding["t_late"], at_least=0),
        bias_time=None if bias is None else number(f"{where}.bias_time", bias, at_least=0),
        n_threads=n_threads,
    )
