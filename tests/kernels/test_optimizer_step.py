"""The fused updates against the formulas of the papers, step by step in plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn.kernels.optimizer_step import adam_step, sgd_step


def block_gradients(rng, n, dtype, n_blocks=3):
    return rng.normal(0.0, 1.0, (n_blocks, n)).astype(dtype)


# One operation of the kernel may be fused, numpy's are not: a few roundings per step.
TOLERANCE = {np.float64: 1e-13, np.float32: 2e-5}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_step_follows_the_formula(momentum, dtype):
    rng = np.random.default_rng(0)
    n, low, high = 50, 10, 40
    weight, velocity = rng.normal(size=n).astype(dtype), np.zeros(n, dtype)
    w, u = weight.astype(float), np.zeros(n)
    for _ in range(5):
        gradients = block_gradients(rng, n, dtype)
        g = 0.25 * gradients.astype(float).sum(axis=0)
        before = gradients.copy()
        sgd_step(weight, gradients, velocity, dtype(0.1), dtype(momentum), dtype(0.25), low, high)
        u[low:high] = momentum * u[low:high] + g[low:high]
        w[low:high] -= 0.1 * u[low:high]
        assert not gradients[:, low:high].any()
        assert np.array_equal(gradients[:, :low], before[:, :low])
        assert np.array_equal(gradients[:, high:], before[:, high:])
    assert np.allclose(weight, w, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert not velocity[:low].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_step_follows_the_paper(amsgrad, dtype):
    rng = np.random.default_rng(1)
    n, rate, beta1, beta2, epsilon = 50, 0.01, 0.9, 0.99, 1e-6
    weight = rng.normal(size=n).astype(dtype)
    first, second = np.zeros(n, dtype), np.zeros(n, dtype)
    second_max = np.zeros(n if amsgrad else 0, dtype)
    w, m, v, largest = weight.astype(float), np.zeros(n), np.zeros(n), np.zeros(n)
    for step in range(1, 9):
        gradients = block_gradients(rng, n, dtype) * dtype(3.0 if step < 4 else 0.3)  # so that AMSGrad's maximum holds
        g = 0.5 * gradients.astype(float).sum(axis=0)
        adam_step(
            weight, gradients, first, second, second_max, dtype(rate / (1 - beta1**step)), dtype(beta1), dtype(beta2),
            dtype(1 / math.sqrt(1 - beta2**step)), dtype(epsilon), dtype(0.5), 0, n,
        )  # fmt: skip
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        largest = np.maximum(largest, v)
        v_hat = (largest if amsgrad else v) / (1 - beta2**step)
        w -= rate * (m / (1 - beta1**step)) / (np.sqrt(v_hat) + epsilon)
        assert not gradients.any()
    assert np.allclose(weight, w, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert np.allclose(second, v, rtol=10 * TOLERANCE[dtype])
    if amsgrad:
        assert (second_max > second).any()


def test_adam_step_gives_the_same_bits_in_pieces():
    rng = np.random.default_rng(2)
    n = 101
    start, gradients = rng.normal(size=n).astype(np.float32), block_gradients(rng, n, np.float32)
    results = []
    for bounds in ([0, n], [0, 1, 34, 64, n]):
        weight, first, second = start.copy(), np.zeros(n, np.float32), np.zeros(n, np.float32)
        g = gradients.copy()
        for low, high in zip(bounds[:-1], bounds[1:], strict=True):  # noqa: RUF007
            scalars = (np.float32(x) for x in (0.1, 0.9, 0.999, 31.6, 1e-8, 0.01))
            adam_step(weight, g, first, second, np.empty(0, np.float32), *scalars, low, high)
        results.append((weight, first, second))
    for whole, pieces in zip(*results, strict=True):
        assert np.array_equal(whole, pieces)
