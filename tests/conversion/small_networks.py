"""Small networks twice: as an `ANN`, and as the layers of the reference."""

from itertools import pairwise

import numpy as np

from eventsnn.conversion import ANN, AvgPool, Convolution, Flatten, Linear, MaxPool, ReLU
from tests.reference import conversion_numpy as reference


def rounded(values, grid):
    return values if grid is None else np.round(values * grid) / grid


def drawn(rng, grid, *shape):
    """Weights of that shape and biases."""
    weight = rng.normal(scale=(2 / np.prod(shape[:-1])) ** 0.5, size=shape)
    return rounded(weight, grid), rounded(rng.normal(scale=0.1, size=shape[-1]), grid)


def perceptron(seed=0, sizes=(6, 20, 16, 4), grid=None):
    """(ANN, layers of the reference, images in 0 .. 1); with `grid` all numbers are multiples of 1/grid."""
    rng = np.random.default_rng(seed)
    layers, own = [], []
    for n_in, n_out in pairwise(sizes):
        weight, bias = drawn(rng, grid, n_in, n_out)
        own.append(reference.Layer(weight, bias))
        layers += [Linear(weight, bias), ReLU()]
    return ANN(layers[:-1], sizes[:1]), own, rounded(rng.random((40, sizes[0])), grid)


def convolutional(seed=0, pool="avg", grid=None):
    """A 9 x 9 image of two channels: convolution, pool, convolution, pool, two linear layers."""
    rng = np.random.default_rng(seed)
    shapes = ((3, 3, 2, 5), (3, 3, 5, 6), (6, 12), (12, 3))
    first, second, third, fourth = (drawn(rng, grid, *shape) for shape in shapes)
    pools = {"avg": AvgPool(2), "max": MaxPool(2)}[pool]
    ann = ANN(
        [
            Convolution(*first, padding=1), ReLU(), pools,  # 9 x 9 -> 4 x 4, the last row and column cut off
            Convolution(*second, stride=2, padding=1), ReLU(), pools,  # 2 x 2 -> 1 x 1
            Flatten(), Linear(*third), ReLU(), Linear(*fourth),
        ],
        (9, 9, 2),
    )  # fmt: skip
    layers = [
        reference.Layer(*first, shape=(9, 9, 2), padding=1),
        reference.Layer(*second, shape=(9, 9, 5), stride=2, padding=1, pools=[(pool, 2)]),
        reference.Layer(*third, shape=(2, 2, 6), pools=[(pool, 2)]),
        reference.Layer(*fourth),
    ]
    return ann, layers, rounded(rng.random((12, 9 * 9 * 2)), grid)
