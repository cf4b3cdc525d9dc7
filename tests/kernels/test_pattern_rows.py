"""Sums of rows that bits pick, against NumPy, compiled and as plain Python."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from eventsnn.kernels.jit import kernel
from eventsnn.kernels.pattern_rows import LANES, add_patterns, add_rows_of_patterns, sums_of_four


@kernel
def summed(table, patterns, out):
    add_patterns(table, patterns, out)


@kernel
def by_row(table, patterns, out):
    add_rows_of_patterns(table, patterns, out)


@kernel
def of_four(table, rows, first, low, high):
    sums_of_four(table, rows, first, low, high)


def picked(table, patterns):
    """The two rows of every byte, (n, 2, LANES)."""
    tables = table.reshape(-1, 2, 16, LANES)
    return np.stack([own[[0, 1], [byte % 16, byte // 16]] for own, byte in zip(tables, patterns, strict=True)])


@pytest.mark.parametrize("n_columns", [1, 10, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rows_of_all_bytes_are_summed(dtype, n_columns):
    rng = np.random.default_rng(n_columns)
    patterns = np.array([0, 255, 16, 15, 240, 37, 200, 99], np.uint8)
    table = rng.integers(-50, 50, (32 * 8, LANES)).astype(dtype) / 8  # sums are exact
    out = np.full(LANES + 4, 2.0, dtype)
    summed(table, patterns, out[2 : 2 + n_columns])
    expected = picked(table, patterns).sum(axis=(0, 1))[:n_columns]
    np.testing.assert_array_equal(out[2 : 2 + n_columns], 2.0 + expected)
    assert (np.delete(out, np.arange(2, 2 + n_columns)) == 2.0).all()
    summed(table, patterns[:0], out[2:5])
    np.testing.assert_array_equal(out[2 : 2 + n_columns], 2.0 + expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_byte_has_a_row_of_its_own(dtype):
    table, patterns = np.random.default_rng(0).normal(size=(32, LANES)).astype(dtype), np.arange(256, dtype=np.uint8)
    out = np.full((256, LANES), 2.0, dtype)
    by_row(table, patterns, out)
    expected = 2.0 + picked(np.tile(table, (256, 1)), patterns).sum(axis=1)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("first", "low", "high"), [(0, 0, 16), (2, 7, 17), (5, 2, 3), (7, 0, 16), (20, 0, 16)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_all_sets_of_four_rows(dtype, first, low, high):
    rng = np.random.default_rng(0)
    rows = rng.integers(-50, 50, (8, 17)).astype(dtype) / 8
    table = np.full((18, LANES), 7.0, dtype)
    of_four(table[1:17], rows, first, low, high)
    chosen = np.zeros((4, LANES))
    chosen[: max(8 - first, 0), : high - low] = rows[first : first + 4, low:high]
    for i in range(16):
        np.testing.assert_array_equal(table[1 + i], chosen[[b for b in range(4) if i >> b & 1]].sum(axis=0))
    assert (table[[0, 17]] == 7.0).all()


def test_rows_that_are_not_contiguous_are_refused():
    with pytest.raises(Exception, match="C-contiguous"):
        by_row(np.zeros((32, 32))[:, ::2], np.zeros(2, np.uint8), np.zeros((2, LANES)))


def test_the_same_without_the_compiler():
    code = (
        "import numpy as np; from eventsnn.kernels.pattern_rows import *; t = np.arange(1024.0).reshape(64, 16); "
        "p, out = np.array([16, 33], np.uint8), np.ones((2, 16)); add_rows_of_patterns(t[:32], p, out); "
        "print(out[:, 0].tolist()); out = np.ones(3); add_patterns(t, p, out); print(out.tolist()); "
        "t = np.ones((16, 16)); sums_of_four(t, np.arange(1.0, 9.0).reshape(4, 2), 0, 0, 2); "
        "print(t[[0, 5, 15], :3].tolist())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    # rows 0 and 16 + 1, rows 1 and 16 + 2; then the second byte's 32 rows later
    assert found.stdout.split("\n")[:3] == [
        "[273.0, 305.0]", "[1601.0, 1605.0, 1609.0]", "[[0.0, 0.0, 0.0], [6.0, 8.0, 0.0], [16.0, 20.0, 0.0]]",
    ]  # fmt: skip
