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
