"""The principal branch W0 of the Lambert W function, accurate up to and on its branch point.

W0(z) exp(W0(z)) = z for z >= -1/e. Near the branch point W0 = -1 + sqrt(2 (e z + 1)) + ..., so what counts there is the
distance z + 1/e and not z: `lambert_w0` forms it with 1/e in double-double, `lambert_w0_from_gap` takes it, and
`branch_root` takes its logarithm, which is what a spike time is made of.

References: Corless et al. 1996, Adv. Comput. Math. 5:329 (branch point series); Fritsch, Shafer, Crowley 1973,
Commun. ACM 16:123 (the iteration); Goeltz et al. 2021, doi 10.1038/s42256-021-00388-x (spike times with W).
"""

from __future__ import annotations

import math

from eventsnn.kernels.jit import kernel

# 1/e = INVERSE_E + INVERSE_E_LOW; the second part is negative, so -INVERSE_E lies 1.24e-17 below the branch point.
INVERSE_E = 0.36787944117144233
INVERSE_E_LOW = -1.2428753672788363e-17

# c_1 ... c_16 of r(t) = sum c_n t^n, the solution of r dr/dt = t (1 - r). The first one left out adds 2e-17 r at
# t = 1/2.
BRANCH_COEFFICIENTS = (
    1.0,
    -0.3333333333333333,
    0.027777777777777776,
    0.003703703703703704,
    0.0002314814814814815,
    -5.878894767783657e-05,
    -2.553644914756026e-05,
    -4.899078973153047e-06,
    -2.428276122977769e-07,
    1.85406221071516e-07,
    7.542464855411896e-08,
    1.47216272806884e-08,
    5.159887341078076e-10,
    -7.32986413160022e-10,
    -2.921357345635569e-10,
    -5.717312238897994e-11,
)


@kernel
def _branch_series(t: float) -> float:
    """r(t) for 0 <= t = sqrt(2 D) <= 1/2: inverse of D = r^2/2 + r^3/3 + ...; radius of convergence 2 sqrt(pi)."""
    total = 0.0
    for n in range(len(BRANCH_COEFFICIENTS) - 1, -1, -1):
        total = total * t + BRANCH_COEFFICIENTS[n]
    return total * t


@kernel
def _fritsch(z: float, w: float) -> float:
    """One step of Fritsch's iteration towards W(z), order four: the relative error e of w becomes about e^4.

    With n = log(z/w) - w and k = 2 (1 + w)(1 + w + 2n/3):  w + w n (k - n)/((1 + w)(k - 2n)).
    """
    residual = math.log(z / w) - w
    w1 = 1.0 + w
    k = 2.0 * w1 * (w1 + residual * (2.0 / 3.0))
    return w + w * (residual * (k - residual)) / (w1 * (k - 2.0 * residual))


@kernel
def _w0_away_from_branch(z: float) -> float:
    """W0(z) for z >= -0.33. First guess by a rational function (z < 1, 4e-5 off) or Winitzki's formula (1 % off)."""
    if z == 0.0 or not z < math.inf:
        return z
    if z < 1.0:
        above = 0.9999601966 + z * (3.728649236 + z * (3.27303256 + z * 0.2469456756))
        below = 1.0 + z * (4.728797227 + z * (6.499149132 + z * 2.315573353))
        return _fritsch(z, z * above / below)
    log_z = math.log1p(z)
    w = log_z * (1.0 - math.log1p(log_z) / (2.0 + log_z))
    return _fritsch(z, _fritsch(z, w))


@kernel
def branch_root(d: float) -> float:
    """The root r in [0, 1) of -r - log(1 - r) = d, d >= 0; nan for d < 0. It is 1 + W0(-exp(-1 - d)).

    d < 1/8: the series in sqrt(2 d), which keeps full relative precision as d -> 0. d > 40: r rounds to 1.
    """
    if not d >= 0.0:
        return math.nan
    if d < 0.125:
        return _branch_series(math.sqrt(2.0 * d))
    if d > 40.0:
        return 1.0
    return 1.0 + _w0_away_from_branch(-math.exp(-1.0 - d))


@kernel
def lambert_w0(z: float) -> float:
    """W0(z) for z >= -1/e, to 4 ulp (measured: 2.5).

    -1 exactly at the float64 nearest to -1/e (which lies 1.24e-17 below the branch point), nan below it, inf at inf.
    z < -0.3247: from the distance to the branch point, see `lambert_w0_from_gap`. Else by Fritsch's iteration, whose
    residual log(z/w) - w loses no digits for w > -1/2.
    """
    if z < -0.3247:
        if z == -INVERSE_E:
            return -1.0
        return lambert_w0_from_gap(math.e * ((z + INVERSE_E) + INVERSE_E_LOW))
    return _w0_away_from_branch(z)


@kernel
def lambert_w0_from_gap(gap: float) -> float:
    """W0 at z = (gap - 1)/e for a gap = e z + 1 >= 0 that is known to full relative precision; nan for gap < 0.

    gap < 0.118: W0 = -1 + branch_root(-log(1 - gap)). Otherwise z = (gap - 1)/e has lost nothing and serves as well.
    """
    if not gap >= 0.0:
        return math.nan
    if gap < 0.118:
        return branch_root(-math.log1p(-gap)) - 1.0
    return _w0_away_from_branch((gap - 1.0) * INVERSE_E)
