"""Sums of weight rows against NumPy, compiled and as plain Python."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from eventsnn.kernels.jit import kernel
from eventsnn.kernels.weight_rows import add_rows, add_scaled_rows


@kernel
def plain(weight, rows, first, last, offset, column, out):
    add_rows(weight, rows, first, last, offset, column, out)


@kernel
def scaled(weight, rows, factors, first, last, offset, column, out):
    add_scaled_rows(weight, rows, factors, first, last, offset, column, out)


def drawn(dtype, n_columns):
    rng = np.random.default_rng(n_columns)
    weight = rng.normal(size=(40, n_columns)).astype(dtype)
    return weight, rng.integers(0, 40, 23) + 7, rng.normal(size=23).astype(dtype)


# all sums of vectors, whole and parts, and what is left over
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, 4, 7, 10, 12, 16, 23, 47, 64, 120, 128, 135, 251, 300])
def test_rows_are_summed_into_part_of_a_row(dtype, n):
    weight, rows, factors = drawn(dtype, n + 5)
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype == np.float32 else 1e-13}
    for first, last in ((0, 23), (2, 3), (3, 11), (1, 10), (5, 5), (6, 5)):
        for column in (0, 3, 5):
            chosen = weight[rows[first:last] - 7, column : column + n]
            out = np.full(n + 2, 2.0, dtype)
            plain(weight, rows, first, last, 7, column, out[1:-1])
            np.testing.assert_allclose(out[1:-1], 2.0 + chosen.sum(axis=0), **tolerance)
            assert out[0] == out[-1] == 2.0
            out[:] = 2.0
            scaled(weight, rows, factors, first, last, 7, column, out[1:-1])
            np.testing.assert_allclose(out[1:-1], 2.0 + factors[first:last] @ chosen, **tolerance)
            assert out[0] == out[-1] == 2.0


def test_events_may_be_a_column_of_a_table():
    weight, rows, factors = drawn(np.float64, 20)
    table, factor_table, out = (
        np.stack([rows, 0 * rows], axis=1),
        np.stack([factors, factors + 1], axis=1),
        np.zeros(20),
    )
    plain(weight, table[:, 0], 0, 23, 7, 0, out)
    np.testing.assert_allclose(out, weight[rows - 7].sum(axis=0), rtol=0, atol=1e-13)
    out[:] = 0.0
    scaled(weight, table[:, 0], factor_table[:, 0], 0, 23, 7, 0, out)
    np.testing.assert_allclose(out, factors @ weight[rows - 7], rtol=0, atol=1e-13)


def test_sums_of_exact_numbers_are_exact():
    weight, rows, _ = drawn(np.float64, 200)
    weight = np.round(weight * 64) / 64
    out = np.zeros(200)
    plain(weight, rows, 0, 23, 7, 0, out)
    assert np.array_equal(out, weight[rows - 7].sum(axis=0))


def test_rows_are_summed_without_the_compiler():
    code = (
        "import numpy as np; from eventsnn.kernels.weight_rows import *; w = np.arange(12.0).reshape(4, 3); "
        "r, out = np.array([5, 6, 8]), np.ones(2); add_rows(w, r, 0, 2, 5, 1, out); print(out.tolist()); "
        "add_scaled_rows(w, r, np.array([1.0, 2.0, 3.0]), 1, 3, 5, 1, out); print(out.tolist())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["[6.0, 8.0]", "[44.0, 51.0]"]
