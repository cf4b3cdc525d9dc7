import numpy as np
import pytest

from eventsnn.conversion import (
    ANN,
    AvgPool,
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    Linear,
    MaxPool,
    ReLU,
)
from eventsnn.errors import ValidationError
from tests.reference import ann_numpy


def rng():
    return np.random.default_rng(20)


def norm(n, draw, positive=False):
    scale = draw.uniform(0.5, 1.5, n) * (1 if positive else draw.choice([-1, 1], n))
    return BatchNorm(scale, draw.normal(size=n), draw.normal(size=n), draw.uniform(0.2, 2, n), epsilon=1e-3)


def small_cnn(draw, dtype=np.float64):
    """Every kind of layer, BatchNorm after and before layers with weights."""
    layers = [
        Convolution(draw.normal(size=(3, 3, 3, 4)), draw.normal(size=4), padding=1),
        norm(4, draw),
        ReLU(),
        MaxPool(2),
        Convolution(draw.normal(size=(2, 3, 2, 6)), stride=(1, 2), padding=(0, 1), groups=2),
        Dropout(),
        norm(6, draw),
        ReLU(),
        AvgPool(2, stride=1),
        norm(6, draw),
        Flatten(),
        Linear(draw.normal(size=(12, 8)), draw.normal(size=8)),
        ReLU(),
        Linear(draw.normal(size=(8, 5))),
    ]
    return ANN(layers, (8, 8, 3)).astype(dtype)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), ((2, 1), (0, 2)), (3, 1)])
def test_convolution_is_the_definition(stride, padding, groups):
    draw = rng()
    x = draw.normal(size=(3, 7, 6, 4))
    layer = Convolution(draw.normal(size=(3, 2, 4 // groups, 6)), draw.normal(size=6), stride, padding, groups)
    expected = ann_numpy.convolution(x, layer.weight, layer.bias, layer.stride, layer.padding, groups)
    ann = ANN([layer], (7, 6, 4))
    assert ann.shapes == [expected.shape[1:]]
    # sums of 24 products of numbers around 1, in another order
    np.testing.assert_allclose(ann.outputs(x), expected.reshape(3, -1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["mean", "max"])
@pytest.mark.parametrize(("size", "stride", "padding"), [(2, None, 0), ((3, 2), (2, 3), (1, 0)), (3, 1, 2)])
def test_pool_is_the_definition(size, stride, padding, kind):
    x = rng().normal(size=(2, 7, 6, 3))
    layer = (AvgPool if kind == "mean" else MaxPool)(size, stride, padding)
    expected = ann_numpy.pool(x, layer.size, layer.step, layer.padding, kind)
    ann = ANN([layer], (7, 6, 3))
    assert ann.shapes == [expected.shape[1:]]
    np.testing.assert_allclose(ann.outputs(x), expected.reshape(2, -1), rtol=0, atol=1e-15)  # sums of up to 9 numbers


def test_batch_norm_is_the_definition():
    draw = rng()
    layer = norm(5, draw)
    x = draw.normal(size=(4, 5))
    expected = ann_numpy.batch_norm(x, layer.scale, layer.shift, layer.mean, layer.variance, layer.epsilon)
    np.testing.assert_allclose(ANN([layer], (5,)).outputs(x), expected, rtol=1e-14, atol=1e-14)  # factored otherwise


def test_flatten_keeps_channel_last_order():
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    assert (ANN([Flatten()], (2, 3, 4)).outputs(x) == np.arange(24.0)).all()


def test_outputs_take_flat_samples_and_do_not_depend_on_the_batch_size():
    draw = rng()
    ann = small_cnn(draw)
    x = draw.normal(size=(7, 8, 8, 3))
    out = ann.outputs(x)
    assert out.shape == (7, 5)
    # BLAS may add in another order for another number of rows
    np.testing.assert_allclose(ann.outputs(x.reshape(7, -1), batch_size=2), out, rtol=1e-12)
    np.testing.assert_allclose(ann.activations(x)[-1], out, rtol=1e-12)
    assert ann.outputs(x[:0]).shape == (0, 5)
    assert [values.shape for values in ann.activations(x[:0])] == [(0, *shape) for shape in ann.shapes]


def test_outputs_do_not_depend_on_the_blocks(monkeypatch):
    draw = rng()
    ann = small_cnn(draw)
    x = draw.normal(size=(7, 8, 8, 3))
    out = ann.outputs(x)
    monkeypatch.setattr("eventsnn.conversion.ann._BLOCK_VALUES", 5 * 8 * 8 * 4)  # five samples and two
    monkeypatch.setattr("eventsnn.conversion.ann_forward._PATCH_VALUES", 2 * 8 * 8 * 27)  # two samples
    np.testing.assert_allclose(ann.outputs(x), out, rtol=1e-12)  # BLAS may add in another order


def test_outputs_leave_the_input_alone():
    x = rng().normal(size=(2, 4))
    before = x.copy()
    ANN([Dropout(), ReLU(), Linear(np.eye(4))], (4,)).outputs(x)
    assert (x == before).all()


def test_folded_keeps_the_function():
    draw = rng()
    ann = small_cnn(draw)
    x = draw.normal(size=(20, 8, 8, 3))
    folded = ann.folded()
    assert not any(isinstance(layer, (BatchNorm, Dropout)) for layer in folded.layers)
    out = ann.outputs(x)
    scale = np.abs(out).max()
    np.testing.assert_allclose(folded.outputs(x), out, rtol=0, atol=1e-12 * scale)  # float64: rounding only
    single = ann.astype(np.float32)
    assert single.folded().dtype == np.float32
    # the same in float32: some hundred roundings of 6e-8
    np.testing.assert_allclose(single.folded().outputs(x), single.outputs(x), rtol=0, atol=1e-6 * scale)


def test_dtype_follows_the_weights():
    assert ANN([Linear(np.eye(3, dtype=np.float16))], (3,)).dtype == np.float32
    ann = ANN([Linear(np.eye(3, dtype=np.float32)), Linear(np.eye(3))], (3,))
    assert ann.dtype == np.float64
    assert ann.astype(np.float32).outputs([[1, 2, 3]]).dtype == np.float32


def test_accuracy_counts_the_largest_output():
    ann = ANN([Linear(np.eye(3))], (3,))
    assert ann.accuracy([[1.0, 0, 0], [0, 1, 0], [0, 2, 1], [3, 0, 3]], [0, 1, 2, 0]) == 0.75


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: Linear(np.ones(3)), r"Linear.weight: must have shape \(n_in, n_out\), none of them 0, got \(3,\)"),
        (lambda: Linear(np.ones((0, 3))), "Linear.weight: must have shape"),
        (lambda: Linear([[1.0, np.nan]]), r"Linear.weight: must be finite, got nan at \[0, 1\]"),
        (lambda: Linear([["a"]]), "Linear.weight: must hold real numbers"),
        (lambda: Linear(np.eye(2), [np.inf, 0]), r"Linear.bias: must be finite, got inf at \[0\]"),
        (lambda: Linear(np.eye(2), [1.0]), r"Linear.bias: must have one value per output, shape \(2,\), got \(1,\)"),
        (lambda: Convolution(np.ones((3, 3, 4))), r"Convolution.weight: must have shape \(kernel_height"),
        (lambda: Convolution(np.full((1, 1, 1, 1), np.nan)), r"must be finite, got nan at \[0, 0, 0, 0\]"),
        (lambda: Convolution(np.ones((3, 3, 4, 4)), groups=3), "divides the 4 output channels, got 3"),
        (lambda: Convolution(np.ones((3, 3, 4, 4)), stride=0), "Convolution.stride: must be an integer >= 1 or two"),
        (lambda: Convolution(np.ones((3, 3, 4, 4)), padding=(1, -1)), "Convolution.padding: must be an integer >= 0"),
        (lambda: BatchNorm([1], [1], [1, 2], [1]), "BatchNorm.mean: must have as many values as scale, 1, got 2"),
        (lambda: BatchNorm([1, 1], [0, 0], [0, 0], [1, -1]), r"BatchNorm.variance: .* got -1 at \[1\]"),
        (lambda: BatchNorm([1], [0], [0], [0], epsilon=0), "must be >= 0, and > 0 together with epsilon"),
        (lambda: BatchNorm([1], [0], [0], [1], epsilon=-1), "BatchNorm.epsilon: must be a finite number and >= 0"),
        (lambda: AvgPool(0), "AvgPool.size: must be an integer >= 1"),
        (lambda: MaxPool((2, 2, 2)), "MaxPool.size: must be an integer >= 1 or two of them"),
        (lambda: MaxPool(2, stride=1.5), "MaxPool.stride"),
        (lambda: MaxPool(2, padding=2), r"MaxPool.padding: must be smaller than the window \(2, 2\)"),
        (lambda: Dropout(1.0), "Dropout.rate: must be below 1"),
    ],
)
def test_layers_refuse_bad_parameters(layer, message):
    with pytest.raises(ValidationError, match=message):
        layer()


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([], (3,), r"ANN.layers: must be a sequence of at least one layer, got \[\]"),
        (Linear(np.eye(3)), (3,), "must be a sequence of at least one layer, got Linear"),
        ([Linear(np.eye(3)), "relu"], (3,), r"ANN.layers\[1\]: must be a layer .* got 'relu'"),
        ([Linear(np.eye(3))], (3, 3), "ANN.input_shape: must be"),
        ([Linear(np.eye(3))], 3, "ANN.input_shape: must be"),
        (
            [Linear(np.eye(3)), ReLU(), Linear(np.eye(4))],
            (3,),
            r"ANN.layers\[2\] Linear: its weights take 4 inputs.* but get \(3,\), from layer 1 \(ReLU\(\)\)",
        ),
        ([Linear(np.eye(4))], (3,), "from the input_shape; the shapes of the layers must chain"),
        ([Linear(np.eye(12))], (2, 2, 3), r"put Flatten\(\) before it"),
        ([Convolution(np.ones((1, 1, 4, 1)))], (2, 2, 3), r"ANN.layers\[0\] Convolution: its weights take 4 channels"),
        ([Convolution(np.ones((3, 1, 3, 1)))], (2, 2, 3), "a window of 3 x 1 does not fit into a plane of 2 x 2"),
        ([MaxPool(2)], (4,), r"MaxPool: needs an input of shape \(height, width, channels\), gets \(4,\)"),
        ([norm(4, rng())], (2, 2, 3), "BatchNorm: has 4 channels, but gets 3"),
    ],
)
def test_layers_must_chain(layers, shape, message):
    with pytest.raises(ValidationError, match=message):
        ANN(layers, shape)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((2, 5)), r"ANN.x: must have shape \(n, 4, 4, 3\) or \(n, 48\), got \(2, 5\)"),
        (np.ones((2, 3, 4, 4)), r"channel-last here: x.transpose\(0, 2, 3, 1\)"),
        (np.ones((4, 4, 3)), "ANN.x: must have shape"),
        (np.ones((2, 48), np.uint8), "has dtype uint8; scale pixels"),
        (np.ones((2, 48), complex), "must hold real numbers"),
        (np.full((2, 4, 4, 3), np.nan), r"ANN.x: must be finite, got nan at \[0, 0, 0, 0\]"),
    ],
)
def test_outputs_refuse_bad_samples(x, message):
    with pytest.raises(ValidationError, match=message):
        ANN([Flatten()], (4, 4, 3)).outputs(x)


def test_other_arguments_are_checked():
    ann = ANN([Linear(np.eye(2))], (2,))
    with pytest.raises(ValidationError, match="ANN.batch_size: must be an integer >= 1, got 0"):
        ann.outputs([[1.0, 2.0]], batch_size=0)
    with pytest.raises(ValidationError, match="needs one label per sample and at least one sample, got 2 labels and 1"):
        ann.accuracy([[1.0, 2.0]], [0, 1])
    with pytest.raises(ValidationError, match="must lie in 0 .. 1"):
        ann.accuracy([[1.0, 2.0]], [2])
    with pytest.raises(ValidationError, match="takes float32 or float64, got float16"):
        ann.astype(np.float16)


def test_gray_images_need_no_channel_axis():
    ann = ANN([Flatten()], (2, 2, 1))
    assert ann.outputs(np.ones((5, 2, 2))).shape == (5, 4)
