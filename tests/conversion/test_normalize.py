"""Scales: percentiles that are exact however the images come in, SpikeNorm against the reference."""

import numpy as np
import pytest

from eventsnn.conversion import ANN, Linear, ReLU, calibrate, convert, normalize
from eventsnn.errors import ValidationError
from tests.conversion.small_networks import convolutional, perceptron
from tests.reference import conversion_numpy as reference

BOTH = [perceptron, convolutional]


def positive(activations):
    return activations[activations > 0]


def hidden_activations(ann, images):
    """Of every layer with a ReLU, (n, n_positions, n_channels)."""
    folded = ann.folded()
    found = folded.activations(images)
    relus = [k for k, layer in enumerate(folded.layers) if isinstance(layer, ReLU)]
    return [found[k].reshape(len(images), -1, found[k].shape[-1]) for k in relus]


@pytest.mark.parametrize("batch_numbers", [1, 3000, 2**25])
@pytest.mark.parametrize("percentile", [50.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("network", BOTH)
def test_percentile_of_a_layer_is_that_of_all_its_positive_activations(network, percentile, batch_numbers, monkeypatch):
    monkeypatch.setattr(normalize, "_BATCH_NUMBERS", batch_numbers)
    ann, _, images = network()
    found = convert(ann, images, percentile=percentile, channel_wise=False).scales
    wanted = [np.percentile(positive(a), percentile) for a in hidden_activations(ann, images)]
    # batches of other sizes: BLAS adds in another order, 1e-16 of the largest activation
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize("batch_numbers", [1, 2**25])
@pytest.mark.parametrize("network", BOTH)
def test_percentile_by_channel(network, batch_numbers, monkeypatch):
    monkeypatch.setattr(normalize, "_BATCH_NUMBERS", batch_numbers)
    ann, _, images = network()
    scales = convert(ann, images, percentile=90, channel_wise=True).scales
    n_compared = 0
    for found, activations in zip(scales, hidden_activations(ann, images), strict=True):
        for channel, scale in enumerate(found):
            values = positive(activations[..., channel])
            if values.size:
                # as above
                assert scale == pytest.approx(np.percentile(values, 90), rel=1e-13)
                n_compared += 1
    assert n_compared > 15


@pytest.mark.parametrize("network", BOTH)
def test_max_is_the_percentile_100(network):
    ann, _, images = network()
    found = [
        convert(ann, images, channel_wise=False, **options).scales
        for options in ({"method": "max"}, {"percentile": 100})
    ]
    assert found[0] == found[1]


def test_percentile_keeps_that_share_only():
    largest = normalize._Largest(1, 11)
    values = np.random.default_rng(0).normal(size=(100, 1, 50))
    for part in values:
        largest.add(part)
        assert largest._kept.shape == (1, 11)
    kept = np.sort(largest._kept[0])
    np.testing.assert_array_equal(kept, np.sort(values.ravel())[-11:])


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize(("charge", "factor"), [(0.0, 1.0), (0.5, 1.0), (0.5, 0.7)])
@pytest.mark.parametrize("seed", range(3))
def test_spike_norm_equals_the_reference(seed, charge, factor, reset):
    ann, layers, images = perceptron(seed)
    snn = convert(
        ann, images, method="spike_norm", n_steps=30, initial_charge=charge, threshold_scale=factor, reset=reset
    )
    wanted = reference.spike_norm(layers, images, 30, reset, charge, factor)
    # sums of tens of float64 terms in another order, and the reference divides by scales where eventsnn multiplies
    np.testing.assert_allclose([layer.published_threshold for layer in snn.report[:-1]], wanted, rtol=1e-12)
    np.testing.assert_allclose(snn.scales, np.cumprod(wanted), rtol=1e-12)


@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("batch_numbers", [1, 2**25])
def test_spike_norm_of_convolutions_and_pools_equals_the_reference(pool, batch_numbers, monkeypatch):
    monkeypatch.setattr(normalize, "_BATCH_NUMBERS", batch_numbers)
    ann, layers, images = convolutional(1, pool)
    snn = convert(ann, images, method="spike_norm", n_steps=20, channel_wise=False)
    wanted = reference.spike_norm(layers, images, 20, charge=0.5)
    # as above
    np.testing.assert_allclose([layer.published_threshold for layer in snn.report[:-1]], wanted, rtol=1e-12)


def test_spike_norm_by_channel_is_the_maximum_of_each():
    ann, layers, images = perceptron(2)
    first, second = convert(ann, images, method="spike_norm", n_steps=25, channel_wise=True, initial_charge=0).scales
    drive = (images @ layers[0].weight + layers[0].bias).max(axis=0)
    np.testing.assert_allclose(first, np.where(drive > 0, drive, drive.max()), rtol=1e-13)  # rounding of BLAS
    # the reference with a scale per unit: weights times it, thresholds that are all 1
    scaled = [
        reference.Layer(layers[0].weight / first, layers[0].bias / first),
        reference.Layer(layers[1].weight * first[:, None], layers[1].bias),
    ]
    drive = reference.spiking_network(scaled, [1.0], images, 25).drive[-1].max(axis=(0, 1))
    np.testing.assert_allclose(second, np.where(drive > 0, drive, drive.max()), rtol=1e-12)


def test_a_silent_channel_has_the_largest_scale_of_its_layer():
    ann = ANN([Linear([[1.0, -1.0, 3.0]]), ReLU(), Linear(np.ones((3, 1)))], (1,))
    snn = convert(ann, [[0.5], [1.0]], method="max", channel_wise=True)
    np.testing.assert_array_equal(snn.scales[0], [1.0, 3.0, 3.0])
    assert snn.report[0].n_silent == 1


@pytest.mark.parametrize("method", ["max", "percentile", "spike_norm"])
@pytest.mark.parametrize("channel_wise", [False, True])
def test_a_dead_layer_is_named(method, channel_wise):
    layers = [Linear(np.ones((2, 3))), ReLU(), Linear(-np.ones((3, 4)), [-0.1] * 4), ReLU(), Linear(np.ones((4, 2)))]
    with pytest.raises(ValidationError, match="layer 'linear2' .*is dead: its activation is 0 for all 5 calibration"):
        convert(ANN(layers, (2,)), np.ones((5, 2)), method=method, channel_wise=channel_wise)


def test_threshold_scale_is_one_factor_or_one_per_layer():
    ann, _, images = perceptron()
    plain = np.array(convert(ann, images).scales)
    np.testing.assert_array_equal(convert(ann, images, threshold_scale=0.5).scales, 0.5 * plain)
    np.testing.assert_array_equal(convert(ann, images, threshold_scale=[0.5, 2.0]).scales, [0.5, 2.0] * plain)


def test_given_scales_need_no_images():
    ann, _, images = perceptron()
    chosen = convert(ann, images).scales
    given = convert(ann, method=chosen)
    assert given.scales == chosen
    assert given.report[0].saturated_share is None
    per_unit = convert(ann, method=[np.arange(1.0, 21), 3.0])
    np.testing.assert_array_equal(per_unit.network.layers[0].neuron.v_threshold, np.arange(1.0, 21))
    assert per_unit.network.layers[1].neuron.v_threshold == 3.0


def test_memory_does_not_grow_with_the_images(monkeypatch):
    """No run of the network gives more numbers at a time than a batch may have, however many images there are."""
    ann, _, images = convolutional()
    images = np.tile(images, (8, 1))
    limit = 20_000
    sizes = []

    def recorded(module, name):
        function = getattr(module, name)

        def call(chain, inputs, n_steps, **options):
            sizes.append(inputs.n_samples * n_steps * max(layer.n_neurons for layer in chain.layers))
            return function(chain, inputs, n_steps, **options)

        monkeypatch.setattr(module, name, call)

    monkeypatch.setattr(normalize, "_BATCH_NUMBERS", limit)
    recorded(normalize, "potentials")
    recorded(calibrate, "potentials")
    recorded(calibrate, "spike_counts")
    convert(ann, images, method="spike_norm", calibrate="both", n_steps=10)
    assert len(sizes) > 50
    assert max(sizes) <= limit
