"""W0 against 60-digit mpmath, in units of the last place of the exact value."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from mpmath import e, exp, lambertw, log, mpf, workdps

from eventsnn.kernels.lambert_w import INVERSE_E, INVERSE_E_LOW, branch_root, lambert_w0, lambert_w0_from_gap


def _ulps(value: float, exact: mpf) -> float:
    return float(abs(mpf(value) - exact) / np.spacing(abs(float(exact)))) if exact != 0 else float(value != 0.0)


def _arguments(name: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return {
        "whole range": rng.uniform(-INVERSE_E, 3.0, 2000),
        "dense in the negative part": np.linspace(-INVERSE_E, 0.0, 2001)[1:],
        "around the switch of formulas": -0.3247 + np.linspace(-1e-3, 1e-3, 301),
        "around 1": 1.0 + np.linspace(-1e-3, 1e-3, 301),
        "next to the branch point": -INVERSE_E + 10.0 ** rng.uniform(-16, -1, 1000),
        "huge": 10.0 ** rng.uniform(0, 308, 1000),
        "tiny": rng.choice([-1.0, 1.0], 1000) * 10.0 ** rng.uniform(-307, -1, 1000),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "whole range",
        "dense in the negative part",
        "around the switch of formulas",
        "around 1",
        "next to the branch point",
        "huge",
        "tiny",
    ],
)
def test_lambert_w0_is_within_4_ulp(name):
    with workdps(60):
        worst = max(_ulps(lambert_w0(float(z)), lambertw(mpf(float(z))).real) for z in _arguments(name))
    assert worst <= 4.0  # measured: 2.3


def test_lambert_w0_is_within_4_ulp_on_the_last_floats_before_the_branch_point():
    z = -INVERSE_E
    with workdps(60):
        for _ in range(200):
            z = math.nextafter(z, 0.0)
            assert _ulps(lambert_w0(z), lambertw(mpf(z)).real) <= 4.0


def test_lambert_w0_at_and_below_the_branch_point():
    with workdps(40):
        # The float64 nearest to -1/e lies below -1/e: there W0 is not real, and -1 is what a caller means.
        assert mpf(-INVERSE_E) < -1 / e
        assert abs(mpf(INVERSE_E) + mpf(INVERSE_E_LOW) - 1 / e) < 1e-33
    assert lambert_w0(-INVERSE_E) == -1.0
    assert math.isnan(lambert_w0(math.nextafter(-INVERSE_E, -1.0)))
    assert math.isnan(lambert_w0(-1.0))
    assert math.isnan(lambert_w0(math.nan))


def test_lambert_w0_special_values():
    assert lambert_w0(0.0) == 0.0
    assert math.copysign(1.0, lambert_w0(-0.0)) == -1.0
    assert lambert_w0(math.inf) == math.inf
    assert lambert_w0(5e-324) == 5e-324
    assert abs(lambert_w0(math.e) - 1.0) <= 2.0**-52


def test_lambert_w0_increases():
    z = np.sort(np.concatenate([-INVERSE_E + 10.0 ** np.linspace(-15, 0, 400), np.linspace(-0.36, 5.0, 400)]))
    w = [lambert_w0(float(x)) for x in z]
    assert all(b >= a for a, b in pairwise(w))


def test_lambert_w0_from_gap_is_within_4_ulp():
    rng = np.random.default_rng(1)
    small, middle, large = 10.0 ** rng.uniform(-40, 0, 1500), rng.uniform(0.0, 2.0, 500), 10.0 ** rng.uniform(0, 9, 100)
    with workdps(80):
        for gap in np.concatenate([small, middle, large]):
            exact = lambertw((mpf(float(gap)) - 1) / e).real
            # For z > 0 a little more than `lambert_w0` has: z itself is rounded three times.
            assert _ulps(lambert_w0_from_gap(float(gap)), exact) <= 4.0
    assert lambert_w0_from_gap(0.0) == -1.0
    assert lambert_w0_from_gap(1.0) == 0.0
    assert math.isnan(lambert_w0_from_gap(-1e-300))


def test_branch_root_keeps_relative_precision_down_to_zero():
    rng = np.random.default_rng(2)
    with workdps(120):
        for d in np.concatenate([10.0 ** rng.uniform(-60, math.log10(0.125), 1500), [0.125 - 2.0**-56]]):
            exact = 1 + lambertw(-exp(-1 - mpf(float(d)))).real
            assert _ulps(branch_root(float(d)), exact) <= 4.0  # measured: 2


def test_branch_root_is_right_for_large_arguments():
    rng = np.random.default_rng(3)
    with workdps(60):
        for d in rng.uniform(0.125, 45.0, 1000):
            exact = 1 + lambertw(-exp(-1 - mpf(float(d)))).real
            # 1 + W0: the relative rounding of exp(-1 - d) is amplified by |W0|/(1 + W0)^2 <= 3.3 (measured: 8 ulp).
            assert _ulps(branch_root(float(d)), exact) <= 10.0
    assert branch_root(1e300) == 1.0
    assert branch_root(math.inf) == 1.0
    assert branch_root(0.0) == 0.0
    assert math.isnan(branch_root(-1e-300))
    assert math.isnan(branch_root(math.nan))


def test_branch_root_solves_its_equation():
    with workdps(40):
        for d in (1e-12, 1e-3, 0.1, 1.0, 10.0):
            r = mpf(branch_root(d))
            # A change of r by 1e-15 moves -r - log(1 - r) by r/(1 - r) 1e-15.
            assert abs(-r - log(1 - r) - d) <= 1e-15 * r / (1 - r)
