"""Parameter updates: one pass that sums the block gradients in block order, updates, and clears them.

Element-wise, so a matrix may be cut into pieces for several threads without changing a bit of the result.
"""

from __future__ import annotations

import math

from eventsnn.kernels.jit import kernel


@kernel(fastmath={"contract"})
def _sum_and_clear(gradients, low, high, total):
    """Add all block gradients to the first one's place, `total`, in block order, and clear the others."""
    zero = gradients.dtype.type(0.0)
    for block in range(1, gradients.shape[0]):
        part = gradients[block, low:high]
        for i in range(total.size):
            total[i] += part[i]
            part[i] = zero


@kernel(fastmath={"contract"})
def sgd_step(weight, gradients, velocity, learning_rate, momentum, scale, low, high):
    """velocity = momentum velocity + g; weight -= learning_rate velocity, for elements low : high of flat arrays.

    `gradients` is (n_blocks, n_elements); g is `scale` times their sum; they are set to zero.
    """
    g = gradients[0, low:high]
    _sum_and_clear(gradients, low, high, g)
    w, u = weight[low:high], velocity[low:high]
    zero = weight.dtype.type(0.0)
    for i in range(g.size):
        u[i] = momentum * u[i] + scale * g[i]
        w[i] -= learning_rate * u[i]
        g[i] = zero


@kernel(fastmath={"contract"})
def adam_step(weight, gradients, first, second, second_max, rate, beta1, beta2, root_scale, epsilon, scale, low, high):
    """Adam (Kingma & Ba 2015) for elements low : high; AMSGrad (Reddi et al. 2018) if second_max is not empty.

    rate = learning_rate / (1 - beta1^t) and root_scale = 1 / sqrt(1 - beta2^t) carry the bias corrections.
    """
    g = gradients[0, low:high]
    _sum_and_clear(gradients, low, high, g)
    w, m, v = weight[low:high], first[low:high], second[low:high]
    zero, one = weight.dtype.type(0.0), weight.dtype.type(1.0)
    keep1, keep2 = one - beta1, one - beta2
    for i in range(g.size):
        gradient = g[i] * scale
        m[i] = beta1 * m[i] + keep1 * gradient
        v[i] = beta2 * v[i] + keep2 * gradient * gradient
        g[i] = zero
    if second_max.size > 0:
        largest = second_max[low:high]
        for i in range(v.size):
            largest[i] = v[i] if v[i] > largest[i] else largest[i]
        v = largest
    for i in range(w.size):
        w[i] -= rate * m[i] / (math.sqrt(v[i]) * root_scale + epsilon)
