"""What can be drawn of one trained network on one data set, and how; `report` writes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
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
from eventsnn.plotting.history import plot_history
from eventsnn.plotting.spikes import plot_raster, plot_sorted_output_times
from eventsnn.plotting.style import graph_of
from eventsnn.plotting.traces import plot_traces
from eventsnn.plotting.weights import (
    plot_delay_histograms,
    plot_receptive_fields,
    plot_weight_histograms,
    plot_weight_matrices,
)
from eventsnn.plotting.yin_yang import plot_yin_yang_hidden_times, plot_yin_yang_map, plot_yin_yang_output_times
from eventsnn.plotting.yin_yang_plane import FirstTimes, yin_yang_first_times

if TYPE_CHECKING:
    from eventsnn.clock import Clock
    from eventsnn.currents import Currents
    from eventsnn.graph import Network, Population
    from eventsnn.spikes import Spikes

__all__ = ["Draw", "Pictures", "TestedData", "output_of"]

_BLOCK = 1000  # test samples simulated at a time: bounds the memory for hidden spikes
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
        predictions: NDArray[np.int64] | None, n_threads: int,
    ) -> None:  # fmt: skip
        self.t_max, self.clock, self.predictions = t_max, clock, predictions
        self.network, self.dataset, self.history = network, dataset, history
        self.sample, self.n_threads = sample, n_threads
        self.beside: Pictures | None = None  # of another network, when both are drawn on common axes
        self.plane: FirstTimes | None = None
        is_yin_yang = dataset.name == "yin_yang" and clock is None and self.fires
        if is_yin_yang and encoding is not None and isinstance(network, Sequential):
            self.plane = _plane(network, encoding, n_threads)

    def pictures(self) -> list[tuple[str, Draw]]:
        """Stable names and what draws them, cheap ones first."""
        network, name = self.network, self.dataset.name
        pictures: list[tuple[str, Draw]] = []
        if len(self.history) > 0:
            pictures.append(("curve", lambda path: plot_history(self.history, title=name, path=path)))
        pictures += [
            ("confusion_matrix", self.confusion_matrix),
            ("weight_histograms", lambda path: plot_weight_histograms(network, title=name, path=path)),
            ("weight_matrices", lambda path: plot_weight_matrices(network, title=name, path=path)),
        ]
        if any(projection.connection.has_delay for projection in graph_of(network).projections):
            pictures.append(("delay_histograms", lambda path: plot_delay_histograms(network, title=name, path=path)))
        if isinstance(network, Sequential) and _is_image(network.n_inputs):
            pictures.append(("receptive_fields", lambda path: plot_receptive_fields(network, title=name, path=path)))
        if self.fires and self.clock is None:
            pictures.append(("sorted_output_times", self.sorted_output_times))
        pictures += [("raster", self.raster), ("traces", self.traces)]
        if self.plane is not None:
            pictures += [
                ("yin_yang_map", self.yin_yang_map),
                ("yin_yang_output_times", self.yin_yang_output_times),
                ("yin_yang_hidden_times", self.yin_yang_hidden_times),
            ]
        return pictures

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

    @cached_property
    def test_times(self) -> NDArray[np.float64]:
        """First output spike times of the test part."""
        from eventsnn.simulation import simulate

        spikes: Any = self.dataset.test.spikes
        blocks = []
        for start in range(0, spikes.n_samples, _BLOCK):
            block = spikes[start : start + _BLOCK]
            result = simulate(self.network, block, self.t_max, n_threads=self.n_threads)
            blocks.append(result.first_times(self.output))
        return np.concatenate(blocks)

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

    def raster(self, path: Path | None) -> Figure:
        """Of the chosen sample."""
        label = int(self.dataset.test.labels[self.sample])
        names = self.dataset.class_names
        title = f"{self.dataset.name}, test sample {self.sample}, true class {names[label]}"
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
        title = f"{self.dataset.name}, test sample {self.sample}, true class {label}: {self.output} neurons"
        draw: Callable[..., Figure] = plot_traces if self.clock is None else plot_clocked_traces
        return draw(self.one, self.output, neuron_names=names, title=title, path=path)

    def yin_yang_map(self, path: Path | None) -> Figure:
        """Of the whole plane."""
        assert self.plane is not None
        test, names = self.dataset.test, self.dataset.class_names
        return plot_yin_yang_map(
            self.plane, test.values, None if test.values is None else test.labels, name=self.output,
            class_names=names, path=path,
        )  # fmt: skip

    def yin_yang_output_times(self, path: Path | None) -> Figure:
        """Of the whole plane."""
        assert self.plane is not None
        names = self.dataset.class_names
        return plot_yin_yang_output_times(self.plane, self.tau_syn, name=self.output, class_names=names, path=path)

    def yin_yang_hidden_times(self, path: Path | None) -> Figure:
        """Of the whole plane."""
        assert self.plane is not None
        return plot_yin_yang_hidden_times(
            self.plane, self.tau_syn, name=next(iter(graph_of(self.network).populations)), path=path
        )


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
