"""Converted networks: spikes of the reference, what theory says of their errors, and bad input."""

import numpy as np
import pytest

from eventsnn.conversion import ANN, AvgPool, BatchNorm, Convolution, Dropout, Flatten, Linear, ReLU, convert
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError
from eventsnn.simulation.clock_driven import simulate_clocked
from tests.conversion.small_networks import convolutional, perceptron
from tests.reference import conversion_numpy as reference


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize(
    ("network", "seed", "pool"), [("mlp", 0, None), ("mlp", 1, None), ("conv", 0, "avg"), ("conv", 0, "max")]
)
def test_spikes_and_outputs_are_those_of_the_published_form(network, seed, pool, reset):
    """Weights untouched, spikes of one, thresholds scale / scale before: the same spikes and the same outputs."""
    ann, layers, images = perceptron(seed) if network == "mlp" else convolutional(seed, pool)
    # 1.1: at a drive of exactly the threshold, as the maximum has it, rounding would decide
    snn = convert(ann, images, method="max", channel_wise=False, threshold_scale=1.1, reset=reset)
    thresholds = [layer.published_threshold for layer in snn.report[:-1]]
    wanted = reference.spiking_network(layers, thresholds, images, 25, reset, 0.5 if reset == "subtract" else 0.0)
    found = snn.run(images, 25, keep=("counts",))
    for k, layer in enumerate(snn.network.layers[:-1]):
        np.testing.assert_array_equal(found.counts[layer.name], wanted.spikes[k].sum(axis=1))
    # float64 sums in another order
    np.testing.assert_allclose(found.outputs, wanted.u[-1] * np.prod(thresholds), atol=1e-11)
    np.testing.assert_array_equal(found.n_spikes.sum(axis=1), sum(s.sum(axis=(1, 2)) for s in wanted.spikes))


def single_layer(seed=0):
    """Hidden units one by one as outputs: their rates times scale are the outputs."""
    rng = np.random.default_rng(seed)
    ann = ANN([Linear(rng.normal(size=(5, 30)), rng.normal(size=30)), ReLU(), Linear(np.eye(30))], (5,))
    return ann, rng.random((20, 5))


@pytest.mark.parametrize("charge", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n_steps", [1, 7, 64, 500])
def test_rate_error_of_a_soft_reset_is_at_most_a_scale_by_n_steps(n_steps, charge):
    ann, images = single_layer()
    snn = convert(ann, images, method="max", initial_charge=charge)
    error = np.abs(snn.activations(images, n_steps)["linear1"] - snn.ann_activations(images)["linear1"])
    # the bound, and rounding of n_steps additions
    assert error.max() <= snn.scales[0] / n_steps * (1 + 1e-9)


def test_hard_reset_keeps_an_error_that_more_steps_do_not_take_away():
    ann, images = single_layer()
    errors = {
        reset: np.abs(
            (snn := convert(ann, images, method="max", reset=reset)).activations(images, 2000)["linear1"]
            - snn.ann_activations(images)["linear1"]
        )
        for reset in ("subtract", "zero")
    }
    scale = snn.scales[0]
    assert errors["subtract"].max() <= scale / 2000 * (1 + 1e-9)
    # rates are 1/k: one that should be a little below 1 is 1/2
    assert 0.2 * scale < errors["zero"].max() < 0.501 * scale


def test_error_of_a_deep_network_shrinks_with_the_steps_and_hard_reset_is_worse():
    ann, _, images = perceptron(5, (8, 40, 40, 40, 5))
    wanted = ann.outputs(images)

    def error(n_steps, reset="subtract"):
        return np.abs(convert(ann, images, method="max", reset=reset).outputs(images, n_steps) - wanted).mean()

    # 1/T of 16 times the steps, with room for what is left of the first spikes' order: a tenth
    assert error(512) < error(32) / 10
    assert error(512, "zero") > 20 * error(512)


@pytest.mark.parametrize("network", [perceptron, convolutional])
def test_nothing_is_lost_with_soft_reset(network):
    """Count times scale = potential at the start + input - what is left: to the bit where nothing is rounded."""
    ann, layers, images = network(6, grid=64)  # weights, biases and images are multiples of 1/64
    scales = [1.0, 2.0, 0.5][: len(layers) - 1]
    snn = convert(ann, method=scales)
    n_steps = 32
    result = simulate_clocked(snn.network, Currents(images), n_steps=n_steps)
    sent = n_steps * images
    n_spikes = []
    for k, (layer, name) in enumerate(zip(layers, [own.name for own in snn.network.layers], strict=True)):
        arrived = layer.apply(reference.pooled(layer, sent, [None] * len(layer.pools))) + n_steps * layer.spread(
            layer.bias
        )
        u = np.stack([result.v(name, sample)[-1] for sample in range(len(images))])
        if k == len(layers) - 1:
            np.testing.assert_array_equal(u, arrived)
            break
        left = np.where(u > scales[k], u - scales[k], u)
        sent = result.counts(name) * scales[k]
        np.testing.assert_array_equal(sent, 0.5 * scales[k] + arrived - left)
        n_spikes.append(int(result.counts(name).sum()))
    assert min(n_spikes) > 100


def grouped(rng):
    """Batch normalisation, dropout, groups, and a plane of several pixels before a linear layer."""
    return ANN(
        [
            Convolution(rng.normal(scale=0.4, size=(3, 3, 2, 8)), stride=2), Dropout(0.3), BatchNorm(
                rng.uniform(0.5, 2, 8), rng.normal(scale=0.2, size=8), rng.normal(scale=0.2, size=8),
                rng.uniform(0.5, 2, 8),
            ), ReLU(),
            Convolution(rng.normal(scale=0.4, size=(2, 2, 4, 6)), rng.normal(scale=0.1, size=6), groups=2), ReLU(),
            AvgPool(2, stride=1), Flatten(), Linear(rng.normal(scale=0.4, size=(24, 3))),
        ],
        (9, 9, 2),
    )  # fmt: skip


@pytest.mark.parametrize("channel_wise", [False, True])
@pytest.mark.parametrize("method", ["max", "spike_norm"])
def test_every_kind_of_layer_converges_to_the_ann(method, channel_wise):
    rng = np.random.default_rng(8)
    ann, images = grouped(rng), rng.random((10, 9, 9, 2))
    snn = convert(ann, images, method=method, channel_wise=channel_wise, n_steps=32)
    wanted = ann.outputs(images)
    errors = [np.abs(snn.outputs(images, n_steps) - wanted).max() for n_steps in (40, 640)]
    assert errors[1] < 0.02 * np.abs(wanted).max()
    assert errors[1] < errors[0] / 5  # 1/T: 16 times the steps, with room for the order of the spikes


@pytest.mark.parametrize("method", ["max", "percentile", "spike_norm"])
def test_by_default_convolutions_have_scales_by_channel_and_linear_layers_one(method):
    rng = np.random.default_rng(8)
    layers = [*grouped(rng).layers[:-1], Linear(rng.normal(scale=0.4, size=(24, 5))), ReLU(), Linear(np.eye(5))]
    images = rng.random((10, 9, 9, 2))
    found = [convert(ANN(layers, (9, 9, 2)), images, method=method, n_steps=8, channel_wise=wise).report
             for wise in (None, False, True)]  # fmt: skip
    assert [[np.shape(layer.scale) for layer in report[:3]] for report in found] == [
        [(8,), (6,), ()], [(), (), ()], [(8,), (6,), (5,)]
    ]  # fmt: skip
    assert [" by channel" in layer.method for layer in found[0][:3]] == [True, True, False]
    if method != "spike_norm":  # there a scale depends on the layers before
        assert found[0][2].scale == found[1][2].scale
        assert np.array_equal(found[0][1].scale, found[2][1].scale)


def test_a_float32_network_is_run_in_float32():
    ann, _, images = perceptron()
    found = convert(ann.astype(np.float32), images, calibrate="both", n_steps=8)
    assert found.network.layers[1].connection.dtype == np.float32
    assert found.run(images, 3).outputs.dtype == np.float32
    # a spike that rounding moves by a step changes an output by about a scale / 200
    np.testing.assert_allclose(
        found.outputs(images, 200), convert(ann, images, calibrate="both", n_steps=8).outputs(images, 200), atol=0.1
    )


def test_leaky_units():
    ann, _, images = perceptron()
    snn = convert(ann, images, beta=0.9)
    assert snn.network.layers[0].neuron.beta == 0.9
    assert snn.network.layers[-1].neuron.step_rule(4, 1.0).beta[0] == 1.0  # the output accumulates
    assert (
        snn.activations(images, 100)["linear1"].sum() < convert(ann, images).activations(images, 100)["linear1"].sum()
    )


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "percentil"}, "convert.method: no method 'percentil'; did you mean 'percentile'"),
        ({"method": "spikenorm"}, "did you mean 'spike_norm'"),
        ({"method": [1.0]}, r"convert.method: must be one of .* one scale for each of \['linear1', 'linear2'\]"),
        ({"method": [1.0, 0.0]}, "convert.method: the scale of 'linear2' must be finite and > 0"),
        ({"method": [1.0, np.nan]}, "convert.method: the scale of 'linear2' must be finite and > 0"),
        ({"method": [np.ones(3), 1.0]}, "the scale of 'linear1' must be one number or one for each of its 20 channels"),
        ({"method": 3.0}, "convert.method: must be one of"),
        ({"percentile": 0}, r"convert.percentile: must lie in \(0, 100\], got 0"),
        ({"percentile": 100.1}, "convert.percentile"),
        ({"percentile": np.nan}, "convert.percentile"),
        ({"threshold_scale": 0.0}, "convert.threshold_scale"),
        ({"threshold_scale": [1.0]}, r"convert.threshold_scale: .*one for each of \['linear1', 'linear2'\], got 1"),
        ({"threshold_scale": [1.0, -1.0]}, r"convert.threshold_scale\[1\]"),
        ({"reset": "substract"}, "convert.reset: no reset 'substract'; did you mean 'subtract'"),
        ({"beta": 1.1}, "convert.beta: must lie in 0 .. 1"),
        ({"initial_charge": -0.1}, "convert.initial_charge: must lie in 0 .. 1"),
        ({"initial_charge": "half"}, "convert.initial_charge: must be a finite number"),
        ({"calibrate": "biases"}, "convert.calibrate: no calibration 'biases'; did you mean 'bias'"),
        ({"n_steps": 0}, "convert.n_steps: must be at least 1 step, got 0"),
        ({"n_steps": 2.5}, "convert.n_steps: must be an integer"),
    ],
)
def test_bad_options(options, message):
    ann, _, images = perceptron()
    with pytest.raises(ValidationError, match=message):
        convert(ann, images, **options)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "convert.calibration: method='percentile' needs images"),
        (np.zeros((0, 6)), "convert.calibration: must hold at least one image"),
        (np.zeros((3, 5)), r"convert.calibration: must have shape \(n, 6\), got \(3, 5\)"),
        (np.zeros(6), "convert.calibration: must have shape"),
        (np.full((3, 6), np.nan), "convert.calibration: must be finite"),
        (np.zeros((3, 6), np.uint8), "convert.calibration: has dtype uint8"),
        (np.full((3, 6), "a"), "convert.calibration"),
    ],
)
def test_bad_calibration_images(images, message):
    with pytest.raises(ValidationError, match=message):
        convert(perceptron()[0], images)


def test_given_scales_with_calibration_need_images():
    with pytest.raises(ValidationError, match="calibrate='bias' needs images"):
        convert(perceptron()[0], method=[1.0, 1.0], calibrate="bias")


def test_what_is_no_ann_is_refused():
    with pytest.raises(ValidationError, match="convert.ann: must be an ANN, got list; ann_from_sklearn"):
        convert([], None)


def test_a_network_without_hidden_layer_accumulates():
    ann = ANN([Linear([[1.0], [2.0]], [0.5])], (2,))
    assert convert(ann, [[1.0, 1.0]]).outputs([[1.0, 1.0]], 4) == [[3.5]]


# -- report -----------------------------------------------------------------------------------------------------------


def test_report_says_what_was_chosen():
    ann, _, images = perceptron()
    report = convert(ann, images, threshold_scale=[1.0, 0.5], calibrate="both", n_steps=20).report
    assert [layer.name for layer in report] == ["linear1", "linear2", "output"]
    first, second, output = report
    assert first.method == "percentile 99.9"
    assert second.method == "percentile 99.9, x 0.5"
    assert second.published_threshold == pytest.approx(second.scale / first.scale, rel=1e-15)
    activations = np.maximum(ann.activations(images)[2], 0)
    share = (activations > second.scale).sum() / (activations > 0).sum()
    assert second.saturated_share == pytest.approx(share, rel=1e-12)
    assert second.saturated_share > 0.05
    assert first.bias_correction.shape == (20,)
    assert second.potential_correction.shape == (16,)
    assert (output.scale, output.published_threshold, output.method) == (None, None, "accumulates")
    text = str(report)
    assert "calibrated both at 20 steps" in text
    assert "40 calibration images" in text
    assert text.count("\n") == 4
    by_channel = convert(ann, images, method="spike_norm", n_steps=20, channel_wise=True).report
    assert by_channel[0].method == "spike_norm, 20 steps by channel"
    assert by_channel[0].published_threshold is None
    assert "given" in str(convert(ann, method=[1.0, 2.0]).report)
