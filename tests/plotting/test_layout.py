"""Nothing is cut off and titles do not overlap, for ordinary and awkward content of every picture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.text import Text

from eventsnn import LIF, Currents, Dense, Leaky, ParameterMonitor, Sequential, Spikes, simulate_clocked, surrogate_of
from eventsnn import plotting as p
from eventsnn import simulate as exact_simulate
from tests.plotting.fake import make_graph_result, make_network, simulate

RNG = np.random.default_rng(0)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def result(sizes, n_spikes=None):
    times = RNG.uniform(1e-3, 1e-2, size=(1, sizes[0]))
    if n_spikes is not None:
        times[:, n_spikes:] = np.inf
    return simulate(make_network(sizes, mean=[1.5, 0.5], std=[1.0, 1.0]), Spikes.from_first_times(times))


def clocked(sizes):
    parts = []
    for n_pre, n_post in itertools.pairwise(sizes):
        parts += [Dense.normal(n_pre, n_post, mean=0.0, std=2.0 / np.sqrt(n_pre), rng=RNG), Leaky(0.95)]
    return simulate_clocked(Sequential(parts), Currents(RNG.uniform(size=(1, sizes[0]))), n_steps=25)


def plane(n_hidden):
    def first_times(values):
        hidden = np.tile(values[:, :1], n_hidden)
        hidden[:, 1::2] = np.where(values[:, 1:] > 0.5, np.inf, 1.0)
        return {"output": np.column_stack((values, values.sum(axis=1))), "hidden": hidden}

    return first_times


def history(n):
    return [{"epoch": k, "train_loss": 1e-3 / k, "train_accuracy": 0.5, "valid_loss": 20.0 / k} for k in range(1, n)]


def layers(*sizes, silent=0.3):
    times = {f"hidden{k + 1}": RNG.gamma(9, 1, (300, n)) for k, n in enumerate(sizes)}
    return {name: np.where(RNG.uniform(size=own.shape) < silent, np.inf, own) for name, own in times.items()}


def monitor(n_epochs, *sizes):
    record = ParameterMonitor()
    for epoch in range(n_epochs):
        record.record(epoch, make_network(sizes, seed=epoch))
    return record


def delayed(*sizes):
    parts = []
    for n_pre, n_post in itertools.pairwise(sizes):
        parts += [Dense(np.ones((n_pre, n_post)), 1e-3 * RNG.gamma(9, 1, (n_pre, n_post))), LIF(10e-3, 5e-3)]
    return Sequential(parts)


def exact(sizes, n_inputs=None):
    times = RNG.uniform(1e-3, 1e-2, size=(1, sizes[0]))
    times[:, n_inputs:] = times[:, n_inputs:] if n_inputs is None else np.inf
    return exact_simulate(make_network(sizes, mean=[1.5, 0.5], std=[1.0, 1.0]), Spikes.from_first_times(times))


def activations(n_layers, n=3000):
    return {f"conv{k}": np.maximum(RNG.normal(0, 10.0 ** (k % 5 - 2), n), 0) for k in range(n_layers)}


def labels(n_classes):
    return RNG.integers(0, n_classes, 300)


PICTURES = {
    "history": lambda: p.plot_history(history(500), title="mnist_16x16"),
    "history_2": lambda: p.plot_history(history(3)),
    "confusion_3": lambda: p.plot_confusion_matrix(labels(3), labels(3), ["horizontal", "vertical", "diagonal"]),
    "confusion_10": lambda: p.plot_confusion_matrix(labels(10), labels(10) - 1, NAMES, title="images"),
    "confusion_1": lambda: p.plot_confusion_matrix([0], [-1]),
    "histograms": lambda: p.plot_weight_histograms(make_network([64, 100, 10]), title="mnist"),
    "histograms_1": lambda: p.plot_weight_histograms(make_network([1, 1])),
    "matrices": lambda: p.plot_weight_matrices(make_network([784, 350, 10]), title="mnist"),
    "matrices_3": lambda: p.plot_weight_matrices(make_network([5, 30, 30, 3]), title="yin_yang"),
    "matrices_1": lambda: p.plot_weight_matrices(make_network([1, 1])),
    "fields": lambda: p.plot_receptive_fields(make_network([64, 350, 10]), title="mnist"),
    "fields_1": lambda: p.plot_receptive_fields(make_network([64, 1, 10]), title="mnist"),
    "sorted_3": lambda: p.plot_sorted_output_times(RNG.gamma(9, 1, (300, 3)), labels(3), title="yin_yang"),
    "sorted_4": lambda: p.plot_sorted_output_times(RNG.gamma(9, 99, (300, 4)), labels(3), NAMES[:4], title="images"),
    "sorted_10": lambda: p.plot_sorted_output_times(RNG.gamma(9, 1, (300, 10)), labels(10), NAMES, title="images"),
    "sorted_1": lambda: p.plot_sorted_output_times([[np.inf]], [0]),
    "spike_times": lambda: p.plot_spike_time_histograms(layers(120, 3), labels(3), title="yin_yang"),
    "spike_times_deep": lambda: p.plot_spike_time_histograms(layers(9, 9, 9, 9, 10), labels(10), labels(10) - 1),
    "spike_times_1": lambda: p.plot_spike_time_histograms({"output": [[np.inf]]}, [0]),
    "differences": lambda: p.plot_time_differences(layers(3)["hidden1"], labels(3), title="yin_yang"),
    "differences_1": lambda: p.plot_time_differences([[np.inf, np.inf]], [0]),
    "differences_2": lambda: p.plot_time_differences([[1e3, np.inf]] * 20_000, [0, 1] * 10_000, 1e-3),
    "plane_differences": lambda: p.plot_yin_yang_time_differences(plane(1)),
    "euler_3": lambda: p.plot_euler_comparison(exact([5, 30, 3]), neuron_names=["yin", "yang", "dot"]),
    "euler_10": lambda: p.plot_euler_comparison(exact([20, 30, 10]), steps=(0.2, 0.1, 0.05), neuron_names=NAMES),
    "euler_silent": lambda: p.plot_euler_comparison(exact([5, 30, 1], 0), title="silent"),
    "parameters": lambda: p.plot_parameters(monitor(30, 784, 350, 10), title="mnist"),
    "parameters_1": lambda: p.plot_parameters(monitor(1, 3, 1)),
    "parameters_deep": lambda: p.plot_parameters(monitor(3, 20, 9, 9, 9, 9, 9, 9, 3), 5e-3, title="deep"),
    "delays": lambda: p.plot_delay_histograms(delayed(4, 30, 3), title="yin_yang"),
    "delay_matrices": lambda: p.plot_delay_matrices(delayed(4, 30, 3), title="yin_yang"),
    "delay_matrices_large": lambda: p.plot_delay_matrices(delayed(784, 350, 10), title="mnist"),
    "learned_spike": lambda: p.plot_learned_spike(
        monitor(40, 1, 1), make_network([1, 1]), Spikes.from_first_times([[1e-3]]), 5e-3, title="single_in_single_out"
    ),
    "accuracy_over_time": lambda: p.plot_accuracy_over_time(
        np.sort(RNG.uniform(size=(5, 250))), 0.9, scales=(0.4, 0.6, 0.8, 1.0, 1.2), title="vgg16, percentile 99.9"
    ),
    "accuracy_over_time_1": lambda: p.plot_accuracy_over_time([0.5], 0.9),
    "layer_rates": lambda: p.plot_layer_rates({f"conv{k}": RNG.beta(1, 9, 99) for k in range(15)}, title="vgg16"),
    "layer_rates_1": lambda: p.plot_layer_rates({"linear1": [0.0]}),
    "activations": lambda: p.plot_activations(own := activations(15), own, title="vgg16"),
    "activations_few": lambda: p.plot_activations(own := activations(3, 20), own),
    "raster": lambda: p.plot_raster(result([784, 350, 10]), label=3, class_names=NAMES),
    "raster_silent": lambda: p.plot_raster(result([3, 1, 2], 0), label=0, class_names=["different", "equal"]),
    "traces": lambda: p.plot_traces(result([20, 30, 10]), "output", neuron_names=NAMES),
    "traces_silent": lambda: p.plot_traces(result([20, 30, 3], 0), "output"),
    "traces_1": lambda: p.plot_traces(result([5, 30, 3]), "hidden", neurons=[7], unit="ms"),
    "traces_clocked": lambda: p.plot_clocked_traces(
        clocked([20, 30, 10]), "output", neuron_names=NAMES, title="images"
    ),
    "traces_clocked_1": lambda: p.plot_clocked_traces(clocked([5, 30, 3]), "hidden", neurons=[7], unit="ms"),
    "raster_clocked": lambda: p.plot_raster(clocked([784, 350, 10]), label=3, class_names=NAMES),
    "raster_graph": lambda: p.plot_raster(make_graph_result(), 1, rate_bin=5e-3),
    "raster_graph_inf": lambda: p.plot_raster(make_graph_result(np.inf), names=["noise"], title="noise"),
    "raster_graph_large": lambda: p.plot_raster(make_graph_result(n_exc=3000), rate_bin=2e-3, unit="s"),
    "traces_graph": lambda: p.plot_traces(make_graph_result(), "exc"),
    "traces_graph_1": lambda: p.plot_traces(make_graph_result(), "exc", 1, [4], t_start=0.05, t_end=0.1),
    "traces_graph_silent": lambda: p.plot_traces(make_graph_result(rate=0.0), "out"),
    "intervals": lambda: p.plot_intervals(make_graph_result(), "exc", 1),
    "intervals_long": lambda: p.plot_intervals(make_graph_result(), "drive", title="drive", unit="s"),
    "intervals_none": lambda: p.plot_intervals(make_graph_result(), "out"),
    "surrogates": lambda: p.plot_surrogates(title="surrogate derivatives"),
    "surrogates_1": lambda: p.plot_surrogates([surrogate_of("arctan")], x_range=(-100.0, 3.0), relative=True),
    "map": lambda: p.plot_yin_yang_map(plane(2), RNG.uniform(0.2, 0.8, (300, 2)), labels(3)),
    "output_times": lambda: p.plot_yin_yang_output_times(plane(2)),
    "hidden_times": lambda: p.plot_yin_yang_hidden_times(plane(120)),
    "hidden_times_1": lambda: p.plot_yin_yang_hidden_times(plane(1)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_text_is_neither_cut_nor_covered(name):
    figure = PICTURES[name]()
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()

    def box(text):
        return text.get_window_extent(renderer)

    def shown(text):
        return text.get_visible() and text.get_text().strip() and (text.axes is None or text.axes.get_visible())

    texts = [text for text in figure.findobj(Text) if shown(text)]
    # Tick labels outside the limits of their axis exist but are not drawn.
    ticks = {label for ax in figure.axes for label in (*ax.get_xticklabels(), *ax.get_yticklabels())}
    for text in texts:
        if text in ticks:
            continue
        x0, y0, x1, y1 = box(text).extents
        inside = x0 >= -0.5 and y0 >= -0.5 and x1 <= width + 0.5 and y1 <= height + 0.5
        assert inside, f"{text.get_text()!r} at {box(text).extents} is cut, the figure is {width} x {height}"
    heads = [text for text in texts if text not in ticks and text.get_rotation() == 0]
    heads = [text for text in heads if all(text not in ax.texts for ax in figure.axes)]
    for one, other in itertools.combinations(heads, 2):
        a, b = box(one), box(other)
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, f"{one.get_text()!r} and {other.get_text()!r} overlap"
