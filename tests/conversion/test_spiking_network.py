"""Runs of converted networks: prefixes, inputs, scales, files."""

import re

import numpy as np
import pytest

from eventsnn.clocked_neurons import IF
from eventsnn.conversion import ANN, Linear, SpikingNetwork, convert
from eventsnn.conversion.inputs import encoded
from eventsnn.errors import DataError, ValidationError
from eventsnn.network import Sequential
from tests.conversion.small_networks import convolutional, perceptron


def converted(seed=0, **options):
    ann, _, images = perceptron(seed)
    return convert(ann, images, **options), images


def labels_of(snn, images):
    """Of the ANN, some of them wrong."""
    labels = snn.ann.predict(images)
    labels[::7] = (labels[::7] + 1) % snn.ann.n_outputs
    return labels


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_what_it_says_after_k_steps_is_what_a_run_of_k_steps_says(reset):
    ann, _, images = perceptron(grid=64)  # sums without rounding: equal to the bit in whatever order
    snn = convert(ann, method=[2.0, 2.0], reset=reset)
    labels = labels_of(snn, images)
    scales = (1.0, 0.5)
    found = snn.accuracy_over_time(images, labels, 40, scales=scales)
    whole = snn.run(images, 40).outputs
    for k in (1, 2, 3, 17, 40):
        np.testing.assert_array_equal(snn.run(images, k).outputs, whole[:, :k])
        for row, scale in enumerate(scales):
            assert found.at(k)[row] == snn.with_scale(scale).accuracy(images, labels, k)
    assert len(np.unique(found.accuracy)) > 2
    assert found.ann_accuracy == (labels == snn.ann.predict(images)).mean()
    np.testing.assert_array_equal(found.loss(40), found.ann_accuracy - found.accuracy[:, 39])


def test_accuracy_over_time_counts_spikes_and_synaptic_events_per_image():
    snn, images = converted()
    found = snn.accuracy_over_time(images, labels_of(snn, images), 30, scales=(1.0, 0.5))
    counts = snn.run(images, 30, keep=("counts",)).counts
    wanted = [counts[name].sum(axis=1).mean() for name in ("linear1", "linear2")]
    np.testing.assert_allclose(found.n_spikes[0], wanted, rtol=1e-13)  # a sum divided, or a mean
    np.testing.assert_allclose(found.n_synaptic_events[0], [0, wanted[0] * 16, wanted[1] * 4], rtol=1e-13)
    assert (found.n_spikes[1] > found.n_spikes[0]).all()
    assert found.layers == ("linear1", "linear2", "output")
    assert [own.snn_acs for own in found.energy] == list(found.n_synaptic_events.sum(axis=1))
    assert found.energy[0].snn_macs == 6 * 20
    assert found.energy[0].ann_macs == 6 * 20 + 20 * 16 + 16 * 4
    text = str(found)
    assert f"the ANN has {100 * found.ann_accuracy:.2f}" in text
    assert re.search(r"scale 0\.5 ", text)
    assert text.splitlines()[1].split() == ["steps", "1", "2", "4", "8", "16", "30", "spikes/image"]


def test_with_poisson_input_the_spikes_of_the_input_count_as_synaptic_events():
    snn, images = converted()
    found = snn.accuracy_over_time(images, labels_of(snn, images), 50, input="poisson", rng=np.random.default_rng(3))
    n_input = encoded("poisson", images, 50, np.random.default_rng(3)).n_events / len(images)
    np.testing.assert_allclose(found.n_synaptic_events[0, 0], 20 * n_input, rtol=1e-13)  # a sum divided
    assert found.energy[0].snn_macs == 0


def test_batches_change_nothing(monkeypatch):
    snn, images = converted()
    labels = labels_of(snn, images)
    whole, over = snn.run(images, 20, keep=("counts",)), snn.accuracy_over_time(images, labels, 20)
    monkeypatch.setattr("eventsnn.conversion.spiking_network._BATCH", 7)
    parts = snn.run(images, 20, keep=("counts",))
    np.testing.assert_array_equal(parts.outputs, whole.outputs)
    np.testing.assert_array_equal(parts.counts["linear2"], whole.counts["linear2"])
    np.testing.assert_array_equal(parts.n_spikes, whole.n_spikes)
    np.testing.assert_array_equal(parts.n_synaptic_events, whole.n_synaptic_events)
    np.testing.assert_array_equal(snn.accuracy_over_time(images, labels, 20).accuracy, over.accuracy)


def test_activations_come_close_to_those_of_the_ann():
    snn, images = converted(method="max")
    found, wanted = snn.activations(images, 1000), snn.ann_activations(images)
    assert list(found) == list(wanted) == ["linear1", "linear2", "output"]
    for name, values in found.items():
        # first layer: a scale / 1000 at most; behind it 20 such errors and the order of the spikes, some times that
        np.testing.assert_allclose(values, wanted[name], atol=10 * max(snn.scales) / 1000)


# -- input ------------------------------------------------------------------------------------------------------------


def test_poisson_input_comes_close_and_is_that_of_its_rng():
    snn, images = converted(method="max")
    found = snn.outputs(images, 4000, input="poisson", rng=np.random.default_rng(0))
    # a value's rate has a standard deviation of 0.5/sqrt(4000) = 0.008 at most; through gains of about 1: ten of them
    np.testing.assert_allclose(found, snn.ann.outputs(images), atol=0.08)
    again = snn.outputs(images, 4000, input="poisson", rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found, again)
    assert np.any(found != snn.outputs(images, 4000, input="poisson", rng=np.random.default_rng(1)))


def test_latency_input_sends_the_whole_image_by_its_end():
    values = np.array([[1.0, 0.5, 0.25, 0.01, 0.0], [0.0, 0.9, 0.06, 0.05, 0.03]])
    spikes = encoded("latency", values, 10, None)
    np.testing.assert_array_equal(spikes.counts(), [[10, 5, 2, 0, 0], [0, 9, 1, 1, 0]])
    for neuron, first in ((0, 0), (1, 5), (2, 8)):
        own = spikes.times[(spikes.samples == 0) & (spikes.neurons == neuron)]
        np.testing.assert_array_equal(own, np.arange(first, 10))
    weight = np.arange(10.0).reshape(5, 2)
    linear = convert(ANN([Linear(weight, [0.5, -0.5])], (5,)), values)
    found = linear.outputs(values, 10, input="latency")
    np.testing.assert_allclose(found, spikes.counts() / 10 @ weight + [0.5, -0.5], rtol=1e-13)  # sums by step


def test_latency_input_decides_mostly_as_the_ann_does():
    snn, images = converted(method="max")
    # units that bright inputs drove before dark ones held them back have spikes too many, however many steps there are
    assert (snn.predict(images, 200, input="latency") == snn.ann.predict(images)).mean() > 0.8


@pytest.mark.parametrize("kind", ["poisson", "latency"])
@pytest.mark.parametrize("value", [-0.25, 1.5])
def test_values_that_spikes_cannot_stand_for_are_refused(kind, value):
    snn, images = converted()
    images = images.copy()
    images[3, 2] = value
    rng = np.random.default_rng(0) if kind == "poisson" else None
    with pytest.raises(
        ValidationError, match=f"input='{kind}' needs values in 0 .. 1, got {value} at image 3, value 2"
    ):
        snn.run(images, 10, input=kind, rng=rng)
    assert snn.run(images, 10).outputs.shape == (40, 10, 4)  # a current may be negative


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 0}, "n_steps: must be at least 1 step, got 0"),
        ({"n_steps": -1}, "n_steps: must be an integer >= 0"),
        ({"input": "constnat"}, "no input 'constnat'; did you mean 'constant'"),
        ({"input": "poisson"}, "rng: input='poisson' draws spikes and needs a numpy.random.Generator"),
        ({"input": "poisson", "rng": 3}, "got int"),
        ({"rng": np.random.default_rng(0)}, "rng: input='constant' draws nothing"),
        ({"images": np.zeros((2, 7))}, r"images: must have shape \(n, 6\), got \(2, 7\)"),
        ({"images": np.zeros((0, 6))}, "images: must hold at least one image"),
        ({"images": np.full((2, 6), np.nan)}, "images: must be finite"),
    ],
)
def test_bad_arguments_of_a_run(change, message):
    snn, images = converted()
    arguments = {"images": images, "n_steps": 5} | change
    with pytest.raises(ValidationError, match=rf"SpikingNetwork.run\.{message}|{message}"):
        snn.run(**arguments)
    arguments["labels"] = np.zeros(len(arguments["images"]), int)
    with pytest.raises(ValidationError, match=message):
        snn.accuracy_over_time(**arguments)


def test_bad_labels_and_scales():
    snn, images = converted()
    with pytest.raises(ValidationError, match=r"accuracy_over_time\.labels: needs one label per image, got 3 for 40"):
        snn.accuracy_over_time(images, [0, 1, 2], 5)
    with pytest.raises(ValidationError, match=r"labels: entry 39 is 4, must lie in 0 .. 3"):
        snn.accuracy(images, [0] * 39 + [4], 5)
    with pytest.raises(ValidationError, match="scales: must hold at least one factor"):
        snn.accuracy_over_time(images, [0] * 40, 5, scales=())
    with pytest.raises(ValidationError, match="scales: must be a finite number and > 0"):
        snn.accuracy_over_time(images, [0] * 40, 5, scales=(1.0, 0.0))
    with pytest.raises(ValidationError, match="with_scale.factor: must be a finite number and > 0"):
        snn.with_scale(-1)
    with pytest.raises(ValidationError, match=r"at.n_steps: must lie in 1 .. 5, got 6"):
        snn.accuracy_over_time(images, [0] * 40, 5).at(6)


# -- other networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel_wise", [False, True])
def test_with_scale_is_the_conversion_with_that_scale(channel_wise):
    snn, images = converted(channel_wise=channel_wise)
    found, wanted = snn.with_scale(0.5), converted(channel_wise=channel_wise, threshold_scale=0.5)[0]
    # a power of two: no rounding
    np.testing.assert_array_equal(found.run(images, 20).outputs, wanted.run(images, 20).outputs)
    for a, b, plain in zip(found.report, wanted.report, snn.report, strict=True):
        np.testing.assert_array_equal(np.asarray(a.scale, float), np.asarray(b.scale, float))
        assert a.published_threshold == b.published_threshold
        assert a.method == b.method
        assert a.saturated_share is None or a.saturated_share == plain.saturated_share
    assert snn.with_scale(1.0).network is snn.network


def test_with_network_takes_a_chain_of_the_same_form_only():
    snn, images = converted()
    weights = {name: 0.5 * weight for name, weight in snn.network.parameters().items()}
    other = snn.with_network(snn.network.with_parameters(weights))
    assert np.any(other.outputs(images, 10) != snn.outputs(images, 10))
    layers = snn.network.layers
    renamed = Sequential([part for own in layers for part in (own.connection, own.neuron)], ["a", "b", "c"])
    shorter = Sequential([layers[0].connection, IF()], ["linear1"])
    for wrong in (renamed, shorter, None):
        with pytest.raises(ValidationError, match="with_network: must be a chain of the same layers"):
            snn.with_network(wrong)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (perceptron, {"calibrate": "both", "n_steps": 8}),
        (perceptron, {"reset": "zero", "beta": 0.9, "method": "spike_norm"}),
        (convolutional, {"channel_wise": True}),
    ],
)
def test_save_and_load_give_the_same_bits(network, options, tmp_path):
    ann, _, images = network()
    snn = convert(ann, images, **options)
    trained = {name: weight * 1.01 for name, weight in snn.network.parameters().items()}
    snn = snn.with_network(snn.network.with_parameters(trained))
    snn.save(tmp_path / "snn.npz")
    loaded = SpikingNetwork.load(tmp_path / "snn.npz")
    np.testing.assert_array_equal(loaded.run(images, 15).outputs, snn.run(images, 15).outputs)
    np.testing.assert_array_equal(loaded.ann.outputs(images), ann.outputs(images))
    assert str(loaded.report) == str(snn.report)
    assert repr(loaded) == repr(snn)


def test_load_refuses_what_is_damaged_or_something_else(tmp_path):
    snn, _ = converted()
    path = tmp_path / "snn.npz"
    snn.ann.save(path)
    with pytest.raises(DataError, match="holds a 'ANN', not a 'SpikingNetwork'"):
        SpikingNetwork.load(path)
    snn.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="truncated"):
        SpikingNetwork.load(path)
    path.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataError, match="pickle"):
        SpikingNetwork.load(path)


def test_load_refuses_parts_that_do_not_fit(tmp_path):
    from eventsnn.conversion.model_file import write_model
    from eventsnn.conversion.spiking_state import state_of

    snn, _ = converted()
    for change in ("weight", "layer", "neuron"):
        state = state_of(snn.ann, snn.network, snn.report)
        if change == "weight":
            state["network"][0]["weight"] = np.zeros((2, 2))
        elif change == "layer":
            state["network"].pop()
        else:
            state["network"][0]["kind"] = "LIF"
        write_model(tmp_path / "snn.npz", "SpikingNetwork", state)
        with pytest.raises(DataError, match="damaged"):
            SpikingNetwork.load(tmp_path / "snn.npz")
