"""Surrogate derivatives sigma(x) of the spike, x = v - v_threshold: a formula each, and the loop over an array.

The loops work in place on one array: where a loop reads one array and writes another, LLVM vectorises it only for
arrays that do not overlap, so the case of one array for both would be slow. Constants come in the array's own type and
no literal is mixed in, which would turn float32 into float64. Formulas of a NaN are not defined.
"""

from __future__ import annotations

from eventsnn.kernels.exponential import exp_decay
from eventsnn.kernels.jit import kernel

# formulas that `fill_row` knows; the others are worked out for a whole chunk beforehand
PREPARED, RELU_DERIVATIVE, SPIKE_AS_GRADIENT, STRAIGHT_THROUGH, BOXCAR, TRIANGULAR, FAST_SIGMOID, ARCTAN = range(8)


@kernel(inline=True)
def relu_derivative(x, zero, one):
    """1 where x >= 0."""
    return one if x >= zero else zero


@kernel
def apply_relu_derivative(values):
    """Replace every x by its `relu_derivative`."""
    zero, one = values.dtype.type(0.0), values.dtype.type(1.0)
    for i in range(values.size):
        values[i] = relu_derivative(values[i], zero, one)


@kernel(inline=True)
def spike_as_gradient(x, zero, one):
    """1 where x > 0: the spike itself."""
    return one if x > zero else zero


@kernel
def apply_spike_as_gradient(values):
    """Replace every x by its `spike_as_gradient`."""
    zero, one = values.dtype.type(0.0), values.dtype.type(1.0)
    for i in range(values.size):
        values[i] = spike_as_gradient(values[i], zero, one)


@kernel
def apply_straight_through(values):
    """1 everywhere."""
    values[:] = values.dtype.type(1.0)


@kernel(inline=True)
def boxcar(x, half_width, height, zero):
    """height where |x| < half_width."""
    return height if abs(x) < half_width else zero


@kernel
def apply_boxcar(values, half_width, height):
    """Replace every x by its `boxcar`."""
    zero = values.dtype.type(0.0)
    for i in range(values.size):
        values[i] = boxcar(values[i], half_width, height, zero)


@kernel(inline=True, fastmath={"contract"})
def triangular(x, width, slope, zero):
    """slope max(0, width - |x|), which is exactly 0 from |x| = width on; the usual form 1 - |x|/width need not be."""
    inside = width - abs(x)
    return zero if inside < zero else slope * inside


@kernel(fastmath={"contract"})
def apply_triangular(values, width, slope):
    """Replace every x by its `triangular`."""
    zero = values.dtype.type(0.0)
    for i in range(values.size):
        values[i] = triangular(values[i], width, slope, zero)


@kernel(inline=True, fastmath={"contract"})
def fast_sigmoid(x, slope, one):
    """1/(1 + slope |x|)^2."""
    root = one + slope * abs(x)
    return one / (root * root)


@kernel(fastmath={"contract"})
def apply_fast_sigmoid(values, slope):
    """Replace every x by its `fast_sigmoid`."""
    one = values.dtype.type(1.0)
    for i in range(values.size):
        values[i] = fast_sigmoid(values[i], slope, one)


@kernel(inline=True, fastmath={"contract"})
def arctan(x, height, rate, one):
    """height/(1 + (rate x)^2)."""
    scaled = rate * x
    return height / (one + scaled * scaled)


@kernel(fastmath={"contract"})
def apply_arctan(values, height, rate):
    """Replace every x by its `arctan`."""
    one = values.dtype.type(1.0)
    for i in range(values.size):
        values[i] = arctan(values[i], height, rate, one)


@kernel(inline=True, fastmath={"contract"})
def sigmoid(x, slope, one):
    """slope s (1 - s), s = 1/(1 + exp(-slope x)); in exp(-slope |x|), which cannot overflow."""
    decay = exp_decay(slope * abs(x))
    root = one + decay
    return slope * decay / (root * root)


@kernel(fastmath={"contract"})
def apply_sigmoid(values, slope):
    """Replace every x by its `sigmoid`."""
    one = values.dtype.type(1.0)
    for i in range(values.size):
        values[i] = sigmoid(values[i], slope, one)


@kernel(inline=True, fastmath={"contract"})
def gaussian(x, height, rate):
    """height exp(-(rate x)^2)."""
    scaled = rate * x
    return height * exp_decay(scaled * scaled)


@kernel(fastmath={"contract"})
def apply_gaussian(values, height, rate):
    """Replace every x by its `gaussian`."""
    for i in range(values.size):
        values[i] = gaussian(values[i], height, rate)


@kernel(inline=True, fastmath={"contract"})
def exponential(x, scale, slope):
    """scale exp(-slope |x|)."""
    return scale * exp_decay(slope * abs(x))


@kernel(fastmath={"contract"})
def apply_exponential(values, scale, slope):
    """Replace every x by its `exponential`."""
    for i in range(values.size):
        values[i] = exponential(values[i], scale, slope)


@kernel(inline=True, fastmath={"contract"})
def multi_gaussian(x, height, rate, shift, side_height, side_rate):
    """A Gaussian at 0 minus one at shift and one at -shift; all as in `gaussian`.

    In |x|, so that it is even to the last bit: a contracted sum of two products is rounded by their order.
    """
    y = abs(x)
    sides = gaussian(y - shift, side_height, side_rate) + gaussian(y + shift, side_height, side_rate)
    return gaussian(y, height, rate) - sides


@kernel(fastmath={"contract"})
def apply_multi_gaussian(values, height, rate, shift, side_height, side_rate):
    """Replace every x by its `multi_gaussian`."""
    for i in range(values.size):
        values[i] = multi_gaussian(values[i], height, rate, shift, side_height, side_rate)


@kernel(inline=True, fastmath={"contract"})
def fill_row(formula, first, second, u, threshold, out):
    """out = sigma(u - threshold) by one of the formulas; first, second : its parameters, as of the loops above."""
    zero, one = out.dtype.type(0.0), out.dtype.type(1.0)
    if formula == RELU_DERIVATIVE:
        for k in range(out.size):
            out[k] = relu_derivative(u[k] - threshold[k], zero, one)
    elif formula == SPIKE_AS_GRADIENT:
        for k in range(out.size):
            out[k] = spike_as_gradient(u[k] - threshold[k], zero, one)
    elif formula == STRAIGHT_THROUGH:
        for k in range(out.size):
            out[k] = one
    elif formula == BOXCAR:
        for k in range(out.size):
            out[k] = boxcar(u[k] - threshold[k], first, second, zero)
    elif formula == TRIANGULAR:
        for k in range(out.size):
            out[k] = triangular(u[k] - threshold[k], first, second, zero)
    elif formula == FAST_SIGMOID:
        for k in range(out.size):
            out[k] = fast_sigmoid(u[k] - threshold[k], first, one)
    else:
        for k in range(out.size):
            out[k] = arctan(u[k] - threshold[k], first, second, one)
