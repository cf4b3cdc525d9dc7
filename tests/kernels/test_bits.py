"""Flags as bits, compiled and as plain Python."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from eventsnn.kernels.bits import flag_words, list_flags
from eventsnn.kernels.jit import kernel


@kernel
def listed(words, neurons):
    return list_flags(words, neurons, 0)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 7, 8, 63, 64, 65, 500, 512])
def test_list_flags_gives_the_places_in_order(n, share):
    rng = np.random.default_rng(n)
    flags, words = flag_words(n)
    flags[:] = rng.random(n) < share
    neurons = np.full(n + 1, -1)
    assert listed(words, neurons) == flags.sum()
    assert np.array_equal(neurons[: flags.sum()], np.flatnonzero(flags))
    assert (neurons[flags.sum() :] == -1).all()


@pytest.mark.parametrize("n_words", [1, 5, 9, 15])
def test_list_flags_takes_any_number_of_words(n_words):
    flags = (np.random.default_rng(0).random(8 * n_words) < 0.3).astype(np.uint8)
    neurons = np.zeros(flags.size, np.int64)
    n = listed(flags.view(np.uint64), neurons)
    assert np.array_equal(neurons[:n], np.flatnonzero(flags))


def test_list_flags_runs_without_the_compiler():
    code = (
        "import numpy as np; from eventsnn.kernels.bits import *; flags, words = flag_words(200); "
        "flags[[0, 5, 63, 64, 130, 199]] = 1; out = np.zeros(9, int); n = list_flags(words, out, 0); "
        "print(out[:n].tolist())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[0, 5, 63, 64, 130, 199]"
