import numpy as np
import pytest

from eventsnn.conversion import ANN, AvgPool, BatchNorm, Convolution, Dropout, Flatten, Linear, MaxPool, ReLU, blocks_of
from eventsnn.errors import ValidationError
from tests.conversion.test_ann import norm, small_cnn


def linear(n_in, n_out, seed=0):
    draw = np.random.default_rng(seed)
    return Linear(draw.normal(size=(n_in, n_out)), draw.normal(size=n_out))


def test_blocks_name_their_layers_and_say_where_their_activations_are():
    draw = np.random.default_rng(3)
    ann = small_cnn(draw)
    blocks = blocks_of(ann)
    assert [(b.name, b.pools, b.input_shape, b.pooled_shape, b.output_shape, b.has_relu) for b in blocks] == [
        ("conv1", (), (8, 8, 3), (8, 8, 3), (8, 8, 4), True),
        ("conv2", (MaxPool(2),), (8, 8, 4), (4, 4, 4), (3, 2, 6), True),
        ("linear1", (AvgPool(2, stride=1),), (3, 2, 6), (12,), (8,), True),
        ("output", (), (8,), (8,), (5,), False),
    ]
    assert all(b.bias.shape == (b.layer.weight.shape[-1],) for b in blocks)
    activations = ann.folded().activations(draw.normal(size=(5, 8, 8, 3)))
    for block in blocks:
        found = activations[block.relu_index]
        assert found.shape == (5, *block.output_shape)
        assert (found.min() == 0) == block.has_relu


def test_blocks_compute_what_the_network_computes():
    draw = np.random.default_rng(4)
    ann = small_cnn(draw)
    x = draw.normal(size=(3, 8, 8, 3))
    values = x
    for block in blocks_of(ann):
        layers = [*block.pools, *([Flatten()] if isinstance(block.layer, Linear) and values.ndim == 4 else [])]
        layers += [block.layer, *([ReLU()] if block.has_relu else [])]
        values = ANN(layers, block.input_shape).activations(values)[-1]
    np.testing.assert_allclose(values, ann.outputs(x), rtol=1e-11)  # float64, folded: another order of products


def test_relu_after_the_max_pool_moves_before_it():
    draw = np.random.default_rng(5)
    layers = [Convolution(draw.normal(size=(3, 3, 1, 2))), MaxPool(2), Flatten(), ReLU(), ReLU(), linear(18, 3)]
    ann = ANN(layers, (8, 8, 1))
    x = draw.normal(size=(4, 8, 8, 1))
    assert [type(layer) for layer in ann.folded().layers] == [Convolution, ReLU, MaxPool, Flatten, Linear]
    assert (ann.folded().outputs(x) == ann.outputs(x)).all()
    assert [block.pools for block in blocks_of(ann)] == [(), (MaxPool(2),)]


def test_relu_after_flatten_stays():
    layers = [Convolution(np.ones((2, 2, 1, 2))), Flatten(), ReLU(), linear(18, 3)]
    assert [block.relu_index for block in blocks_of(ANN(layers, (4, 4, 1)))] == [2, 3]


def image(*layers):
    return ANN([Convolution(np.ones((3, 3, 1, 2))), *layers], (8, 8, 1))


@pytest.mark.parametrize(
    ("ann", "message"),
    [
        (ANN([ReLU(), linear(3, 2)], (3,)), r"ReLU\(\) has no layer with weights directly before it"),
        (ANN([linear(3, 2), linear(2, 2)], (3,)), r"Linear\(3 -> 2\) is followed by Linear\(2 -> 2\), not by a ReLU"),
        (image(AvgPool(2), ReLU(), Flatten(), linear(18, 2)), r"followed by AvgPool\(2x2\), not by a ReLU"),
        (image(MaxPool(2), Flatten(), linear(18, 2)), r"followed by MaxPool\(2x2\), not by a ReLU"),
        (ANN([linear(3, 2), ReLU()], (3,)), r"ReLU\(\) is the end, .*append Flatten\(\) and Linear\(np.eye\(2\)\)"),
        (image(ReLU(), AvgPool(6)), r"AvgPool\(6x6\) is the end"),
        (ANN([Dropout(), Flatten()], (3,)), r"is the end"),
    ],
)
def test_blocks_refuse_what_no_spiking_network_stands_for(ann, message):
    with pytest.raises(ValidationError, match=message):
        blocks_of(ann)


# -- folding ------------------------------------------------------------------------------------------------------


def cases():
    """Layers behind an input of (6, 6, 4), each with a BatchNorm that some neighbour can take."""
    draw = np.random.default_rng(6)
    weight = draw.normal(size=(3, 3, 4, 6))
    grouped = draw.normal(size=(2, 2, 2, 6))
    convolution = Convolution(weight, draw.normal(size=6))
    padded = Convolution(draw.normal(size=(3, 3, 6, 1)), padding=1)
    head = [Flatten(), linear(96, 3, 1)]
    centred = BatchNorm(draw.uniform(1, 2, 6), [0] * 6, [0] * 6, draw.uniform(1, 2, 6))
    plane = draw.normal(size=(4, 6))
    per_channel = BatchNorm(*(np.tile(v, 16) for v in (plane[0], plane[1], plane[2], plane[3] ** 2)))
    return {
        "before a convolution": [norm(4, draw), Convolution(weight), *head],
        "before groups": [norm(4, draw), Convolution(grouped, groups=2, stride=2), Flatten(), linear(54, 3)],
        "after groups": [Convolution(grouped, groups=2, stride=2), norm(6, draw), Flatten(), linear(54, 3)],
        "before padding, no offset": [convolution, ReLU(), centred, padded],
        "across an average": [convolution, ReLU(), norm(6, draw), AvgPool(2), Flatten(), linear(24, 3)],
        "across padding, no offset": [convolution, ReLU(), centred, AvgPool(2, 2, 1), Flatten(), linear(54, 3)],
        "across a maximum": [convolution, ReLU(), norm(6, draw, True), MaxPool(2), Flatten(), linear(24, 3)],
        "back across a maximum": [convolution, MaxPool(2), norm(6, draw, True), ReLU(), Flatten(), linear(24, 3)],
        "back across an average": [convolution, AvgPool(2), norm(6, draw), Flatten()],
        "forward where back fails": [convolution, MaxPool(2), norm(6, draw), Flatten(), linear(24, 3)],
        "after flatten, per channel": [convolution, Flatten(), per_channel],
        "after flatten, per unit": [convolution, ReLU(), Flatten(), norm(96, draw), linear(96, 3)],
        "after flatten, per unit, no ReLU": [convolution, Flatten(), norm(96, draw), linear(96, 3)],
        "two": [convolution, ReLU(), norm(6, draw), norm(6, draw), *head],
        "two after one layer": [convolution, norm(6, draw), norm(6, draw), ReLU(), *head],
        "dropout between": [convolution, Dropout(), norm(6, draw), ReLU(), *head],
        "after a linear layer": [Flatten(), linear(144, 7), norm(7, draw), ReLU(), norm(7, draw), linear(7, 3)],
    }


@pytest.mark.parametrize("case", cases())
def test_folded_is_exact(case):
    ann = ANN(cases()[case], (6, 6, 4))
    x = np.random.default_rng(7).normal(size=(10, 6, 6, 4))
    folded = ann.folded()
    assert not any(isinstance(layer, (BatchNorm, Dropout)) for layer in folded.layers)
    expected = ann.outputs(x)
    # float64: sums of some hundred products in another order, against the largest of the outputs
    np.testing.assert_allclose(folded.outputs(x), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    single = ann.astype(np.float32).folded().outputs(x)
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-6 * np.abs(expected).max())  # measured: 2e-7


def test_folded_keeps_the_widest_type():
    draw = np.random.default_rng(8)
    ann = ANN([Linear(draw.normal(size=(9, 7)).astype(np.float32)), norm(7, draw)], (9,))
    x = draw.normal(size=(5, 9))
    folded = ann.folded()
    assert folded.dtype == ann.dtype == np.float64
    np.testing.assert_allclose(folded.outputs(x), ann.outputs(x), rtol=0, atol=1e-13)  # sums of 9 numbers around 1


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [norm(4, np.random.default_rng(0)), Convolution(np.ones((3, 3, 4, 2)), padding=1)],
            r"ANN.layers\[0\] BatchNorm\(4\): cannot be folded exactly, Convolution\(.*\) after it pads with zeros",
        ),
        (
            [Dropout(), norm(4, np.random.default_rng(0)), ReLU(), Flatten(), linear(144, 2)],
            r"ANN.layers\[1\] BatchNorm\(4\): cannot be folded exactly, ReLU\(\) stands between it",
        ),
        (
            [norm(4, np.random.default_rng(0)), MaxPool(2), Flatten(), linear(36, 2)],
            r"MaxPool\(2x2\) stands between it",
        ),
        (
            [norm(4, np.random.default_rng(0)), AvgPool(3, padding=1, stride=1), Flatten(), linear(144, 2)],
            r"AvgPool\(3x3, stride 1x1, padding 1x1\) stands between it",
        ),
        ([ReLU(), norm(4, np.random.default_rng(0))], "no layer with weights stands before or after it"),
    ],
)
def test_folded_refuses_what_is_not_exact(layers, message):
    with pytest.raises(ValidationError, match=message):
        ANN(layers, (6, 6, 4)).folded()
