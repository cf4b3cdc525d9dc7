"""Parameter updates: one pass that sums the block gradients in block order, updates, and clears them.

Element-wise, so a matrix may be cut into pieces for several threads without changing a bit of the result.
"""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def sgd_step(weight, gradients, velocity, learning_rate, momentum, scale, low, high):
    """velocity = momentum velocity + g; weight -= learning_rate velocity, for elements low : high of flat arrays.

    `gradients` is (n_blocks, n_elements); g is `scale` times their sum; they are set to zero.
    """
    zero = weight.dtype.type(0.0)
    for i in range(low, high):
        g = zero
        for block in range(gradients.shape[0]):
            g += gradients[block, i]
            gradients[block, i] = zero
        velocity[i] = momentum * velocity[i] + scale * g
        weight[i] -= learning_rate * velocity[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def adam_step(weight, gradients, first, second, second_max, rate, beta1, beta2, root_scale, epsilon, scale, low, high):
    """Adam (Kingma & Ba 2015) for elements low : high; AMSGrad (Reddi et al. 2018) if second_max is not empty.

    rate = learning_rate / (1 - beta1^t) and root_scale = 1 / sqrt(1 - beta2^t) carry the bias corrections.
    """
    zero, one = weight.dtype.type(0.0), weight.dtype.type(1.0)
    amsgrad = second_max.size > 0
    for i in range(low, high):
        g = zero
        for block in range(gradients.shape[0]):
            g += gradients[block, i]
            gradients[block, i] = zero
        g *= scale
        first[i] = beta1 * first[i] + (one - beta1) * g
        second[i] = beta2 * second[i] + (one - beta2) * g * g
        largest = second[i]
        if amsgrad:
            largest = max(largest, second_max[i])
            second_max[i] = largest
        weight[i] -= rate * first[i] / (math.sqrt(largest) * root_scale + epsilon)
