"""Surrogate derivatives as written in the papers, one number at a time, in mpmath's precision."""

from mpmath import exp, mpf, npdf, pi


def relu_derivative(x):
    return mpf(1 if x >= 0 else 0)


def spike_as_gradient(x):
    return mpf(1 if x > 0 else 0)


def straight_through(x):
    return mpf(1)


def boxcar(x, width):
    return 1 / mpf(width) if abs(x) < mpf(width) / 2 else mpf(0)


def triangular(x, height, width):
    return mpf(height) * max(mpf(0), 1 - abs(x) / mpf(width))


def fast_sigmoid(x, slope):
    return 1 / (1 + mpf(slope) * abs(x)) ** 2


def arctan(x, alpha):
    return mpf(alpha) / 2 / (1 + (pi / 2 * mpf(alpha) * x) ** 2)


def sigmoid(x, slope):
    s = 1 / (1 + exp(-mpf(slope) * x))
    return mpf(slope) * s * (1 - s)


def gaussian(x, width):
    return npdf(x, 0, mpf(width))


def exponential(x, scale, slope):
    return mpf(scale) * exp(-mpf(slope) * abs(x))


def multi_gaussian(x, width, depth, spread, scale):
    h, s, sigma = mpf(depth), mpf(spread), mpf(width)
    beside = npdf(x, sigma, s * sigma) + npdf(x, -sigma, s * sigma)
    return mpf(scale) * ((1 + h) * npdf(x, 0, sigma) - h * beside)
