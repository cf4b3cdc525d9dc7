import numpy as np
import pytest

from eventsnn.conversion import ANN, AvgPool, BatchNorm, Convolution, Flatten, Linear, ReLU, round_weights
from eventsnn.errors import ValidationError


def small(rng, dtype=np.float64):
    scale = np.exp(rng.normal(size=6))  # outputs of different size, as folded batch norm leaves them
    return ANN(
        [
            Convolution((rng.normal(size=(3, 3, 2, 6)) * scale).astype(dtype), bias=rng.normal(size=6)),
            BatchNorm(rng.normal(size=6), rng.normal(size=6), rng.normal(size=6), rng.random(6) + 0.5),
            ReLU(),
            AvgPool(2),
            Flatten(),
            Linear(rng.normal(size=(54, 5)).astype(dtype)),
        ],
        (8, 8, 2),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steps", [3.0, 32, 100])
def test_round_weights_rounds_every_output_on_its_own_grid(steps, dtype):
    ann = small(np.random.default_rng(0), dtype)
    rounded = round_weights(ann, steps)
    for before, after in zip(ann.layers, rounded.layers, strict=True):
        if not isinstance(before, (Convolution, Linear)):
            assert after is before
            continue
        assert after.weight.dtype == before.weight.dtype
        assert after.bias is before.bias or (after.bias == before.bias).all()
        for k in range(before.weight.shape[-1]):
            weight = before.weight[..., k].astype(float)
            wanted = np.sqrt((weight**2).mean()) / steps
            # the only power of two within a factor of sqrt(2), except for ties that no drawn number hits
            [step] = [2.0**e for e in range(-20, 5) if wanted / 2**0.5 < 2.0**e < wanted * 2**0.5]
            found = after.weight[..., k].astype(float)
            assert (found / step % 1 == 0).all()
            assert np.abs(found - weight).max() <= step / 2
    assert rounded.input_shape == ann.input_shape


def test_round_weights_is_exact_in_float16_and_again():
    ann = round_weights(small(np.random.default_rng(1)), 64)
    for layer in ann.layers:
        if isinstance(layer, (Convolution, Linear)):
            np.testing.assert_array_equal(layer.weight.astype(np.float16), layer.weight)
    weight = ann.layers[-1].weight
    again = round_weights(ANN([Linear(weight)], (54,)), 64).layers[0].weight
    np.testing.assert_array_equal(again, weight)  # the rounded ones have the same root mean square within the grid


def test_round_weights_keeps_zeros():
    weight = np.zeros((4, 2))
    weight[:, 1] = 1.3, -2.2, 0.1, 0.7
    found = round_weights(ANN([Linear(weight)], (4,)), 4).layers[0].weight
    np.testing.assert_array_equal(found[:, 0], 0.0)
    np.testing.assert_array_equal(found[:, 1], [1.25, -2.25, 0.0, 0.75])


def test_round_weights_makes_files_smaller(tmp_path):
    rng = np.random.default_rng(2)
    ann = ANN([Linear(rng.normal(size=(300, 200)).astype(np.float32))], (300,))
    sizes = {}
    for steps in (32, 16, None):
        file = tmp_path / f"{steps}.npz"
        (ann if steps is None else round_weights(ann, steps)).save(file, dtype=np.float16)
        sizes[steps] = 8 * file.stat().st_size / 60_000
    # the bits a weight that the docstring says, and 1 kB of header; compressors differ a little
    assert 6.2 < sizes[16] < 6.8
    assert 7.2 < sizes[32] < 7.9
    assert 13.8 < sizes[None] < 14.8


@pytest.mark.parametrize("steps", [0, -1.0, np.nan, "many"])
def test_round_weights_refuses_bad_steps(steps):
    with pytest.raises(ValidationError, match=r"round_weights.steps_per_deviation: must be a"):
        round_weights(ANN([Linear(np.ones((2, 2)))], (2,)), steps)
