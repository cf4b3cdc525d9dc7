"""The step rule of neurons on a time grid, forward and backward: see `clocked_neurons.StepRule`.

Both run over a block of samples, one sample after the other, all steps of it. Forward overwrites the inputs x with the
potentials before the reset, u; the reset is worked out anew from u where it is needed, so nothing else is kept.
Backward goes through them row by row with everything else in the nearest cache. Loops over neurons are contiguous and
without branch.
"""

from __future__ import annotations

from eventsnn.kernels.bits import list_flags
from eventsnn.kernels.grid_projection import add_rows, same_window
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.surrogates import PREPARED, RELU_DERIVATIVE, STRAIGHT_THROUGH, TRIANGULAR, fill_row

# reset rules; "subtract" in the next step is one of its own
NONE, ZERO, SUBTRACT, SUBTRACT_LATER = 0, 1, 2, 3
# currents: none, used in the step of their inputs, used from the next step on
NO_CURRENT, EARLY, LATE = 0, 1, 2
# a scalar product for one neuron costs about as much as its share of a sweep over so many
_DOTS = 8
# where one in so many fires, looking at every flag is as cheap as going from one to the next
_ONE_BY_ONE = 3


@kernel(fastmath={"contract"})
def step_forward(
    x, constant, alpha, beta, gain, drive, threshold, height, v_reset, v_start, reset, current,
    loop, loop_indptr, loop_indices, loop_weights, loop_lags, v, i_syn, taken, fired, words, starts, neurons, margin,
):  # fmt: skip
    """All steps of all samples; returns the number of spikes.

    x : (n_samples, n_steps, n), inputs on entry, u on return; constant : (n_samples, n), inputs of every step that go
        into x first, or of no rows
    height : what a spike subtracts
    loop : (n, n) weights of connections of the population to itself, seen one step later, or (0, 0); loop_* : the same
        as synapses by neuron, with a lag >= 1 each
    margin : u - threshold of all, or of no samples
    neurons : one place longer than there can be spikes
    v, i_syn, taken : (n,) work; fired : flags, as many as are full `words`, beyond n zero
    """
    zero = x.dtype.type(0.0)
    n_steps, n = x.shape[1], x.shape[2]
    n_spikes, place = 0, 0
    starts[0] = 0
    for s in range(x.shape[0]):
        for k in range(n):
            v[k] = v_start[k]
            i_syn[k] = zero
            taken[k] = zero
        for t in range(n_steps):
            row = x[s, t]
            if constant.shape[0] > 0:
                given = constant[s]
                for k in range(n):
                    row[k] = given[k]
            if current == EARLY:
                for k in range(n):
                    i_syn[k] = alpha[k] * i_syn[k] + row[k]
                    row[k] = gain[k] * i_syn[k]
            elif current == LATE:
                for k in range(n):
                    arrived = row[k]
                    row[k] = gain[k] * i_syn[k]
                    i_syn[k] = alpha[k] * i_syn[k] + arrived
            # v stays in the nearest cache; reading the row before instead, LLVM would not vectorise the loop
            if reset == NONE:
                for k in range(n):
                    u = beta[k] * v[k] + row[k] + drive[k]
                    row[k] = u
                    v[k] = u
                    fired[k] = u > threshold[k]
            elif reset == ZERO:
                for k in range(n):
                    u = beta[k] * v[k] + row[k] + drive[k]
                    back = v_reset[k]
                    row[k] = u
                    fires = u > threshold[k]
                    v[k] = back + zero * u if fires else u  # what is not finite stays so, and is found at the end
                    fired[k] = fires
            elif reset == SUBTRACT:
                for k in range(n):
                    u = beta[k] * v[k] + row[k] + drive[k]
                    lower = u - height[k]
                    row[k] = u
                    fires = u > threshold[k]
                    v[k] = lower if fires else u
                    fired[k] = fires
            else:
                for k in range(n):
                    u = beta[k] * v[k] + row[k] + drive[k] - taken[k]
                    amount = height[k]
                    row[k] = u
                    v[k] = u
                    fires = u > threshold[k]
                    taken[k] = amount if fires else zero
                    fired[k] = fires
            if margin.shape[0] > 0:
                above = margin[s, t]
                for k in range(n):
                    above[k] = row[k] - threshold[k]
            before, n_fired = n_spikes, 0
            for k in range(n):
                n_fired += fired[k]
            if _ONE_BY_ONE * n_fired > n:  # many: a place that is overwritten until a neuron has fired needs no branch
                for k in range(n):
                    neurons[n_spikes] = k
                    n_spikes += fired[k]
            else:
                n_spikes = list_flags(words, neurons, n_spikes)
            if loop.shape[0] > 0 and t + 1 < n_steps:
                following = x[s, t + 1]
                for e in range(before, n_spikes):
                    weights = loop[neurons[e]]
                    for k in range(n):
                        following[k] += weights[k]
            if loop_indptr.size > 0:
                for e in range(before, n_spikes):
                    for p in range(loop_indptr[neurons[e]], loop_indptr[neurons[e] + 1]):
                        if t + loop_lags[p] < n_steps:
                            x[s, t + loop_lags[p], loop_indices[p]] += loop_weights[p]
            place += 1
            starts[place] = n_spikes
    return n_spikes


@kernel(fastmath={"contract", "reassoc"}, inline=True)
def _dot(left, right):
    """Their scalar product, summed in any order."""
    total = left.dtype.type(0.0)
    for o in range(left.size):
        total += left[o] * right[o]
    return total


@kernel(fastmath={"contract"})
def step_backward(
    u, e, d_counts, down, down_first, down_weight, down_transposed, formula, first, second, prepared, d_u,
    alpha, beta, gain, threshold, height, v_reset, reset, current, is_detached, window,
    loop_transposed, loop_indptr, loop_indices, loop_weights, loop_lags, h, a, error, slope, words, flags, active,
    d_drive, d_threshold, d_start, d_sum, h_record,
):  # fmt: skip
    """All steps of all samples, backwards.

    dL/ds, the error, comes from e (n_samples, n_steps, n), or, where `down` has samples, from d_counts (n_samples, n),
    the same in every step, and from one dense connection to the part whose dL/dx is `down`, columns from down_first on.
    e, where it has samples, is dL/dx on return. Loops of the part to itself are added here.
    formula, first, second : the surrogate, see `surrogates.fill_row`; PREPARED: `prepared` (n_samples, n_steps, n) has
        its values; negative: no neuron ever fires
    d_u : dL/du of the loss, or of no samples; is_detached : the spikes of the reset are constants
    window : steps of truncated backpropagation, 0 for all
    h, a, error, slope, active : (n,) work; flags : as `fired` in `step_forward`, bytes of `words`
    d_drive, d_threshold, d_start : (n,), added to, all but the first only where they are not empty
    d_sum : (n_samples, n), dL/dx summed over the steps, likewise; h_record : dL/du of all, where it is not empty
    """
    zero, one = u.dtype.type(0.0), u.dtype.type(1.0)
    n_steps, n = u.shape[1], u.shape[2]
    through_reset = zero if is_detached else one
    is_compact = RELU_DERIVATIVE <= formula <= TRIANGULAR and formula != STRAIGHT_THROUGH
    n_down = down_weight.shape[1]
    for s in range(u.shape[0]):
        h[:] = zero
        a[:] = zero
        for t in range(n_steps - 1, -1, -1):
            row = u[s, t]
            if window > 0 and (t + 1) % window == 0:
                if reset == SUBTRACT_LATER and d_threshold.size > 0:  # s_t is a constant there, the threshold is not
                    for k in range(n):
                        d_threshold[k] -= h[k] if row[k] > threshold[k] else zero
                h[:] = zero
                a[:] = zero
            if formula == PREPARED:
                given = prepared[s, t]
                for k in range(n):
                    slope[k] = given[k]
            elif formula > PREPARED:
                fill_row(formula, first, second, row, threshold, slope)
            if down.shape[0] > 0:
                later, base = down[s, t, down_first : down_first + n_down], d_counts[s]
                n_active = n
                if is_compact:
                    n_active = 0
                    for k in range(n):
                        n_active += slope[k] != zero
                if _DOTS * n_active < n:  # where the surrogate is zero, nobody asks for the error
                    for k in range(n):
                        flags[k] = slope[k] != zero
                    list_flags(words, active, 0)
                    for p in range(n_active):
                        error[active[p]] = base[active[p]] + _dot(down_weight[active[p]], later)
                else:
                    for k in range(n):
                        error[k] = base[k]
                    add_rows(later, down_transposed, 0, error)
            else:
                given = e[s, t]
                for k in range(n):
                    error[k] = given[k]
            if loop_transposed.shape[0] > 0 and t + 1 < n_steps and same_window(t, 1, window):
                add_rows(e[s, t + 1], loop_transposed, 0, error)
            if loop_indptr.size > 0:
                rows = e[s]
                for j in range(n):
                    total = error[j]
                    for p in range(loop_indptr[j], loop_indptr[j + 1]):
                        if t + loop_lags[p] < n_steps and same_window(t, loop_lags[p], window):
                            total += loop_weights[p] * rows[t + loop_lags[p], loop_indices[p]]
                    error[j] = total
            if current == LATE:  # i_t acts on u_(t+1)
                for k in range(n):
                    a[k] = alpha[k] * a[k] + gain[k] * h[k]
            if formula >= PREPARED:
                if d_threshold.size > 0:
                    _add_threshold(
                        row, error, slope, h, beta, threshold, height, v_reset, reset, through_reset, d_threshold
                    )
                if reset == ZERO:
                    for k in range(n):
                        g = beta[k] * h[k]
                        kept = zero if row[k] > threshold[k] else g  # the reset cuts what comes from later
                        h[k] = kept + slope[k] * (error[k] + through_reset * g * (v_reset[k] - row[k]))
                elif reset == SUBTRACT:
                    for k in range(n):
                        g = beta[k] * h[k]
                        h[k] = g + slope[k] * (error[k] - through_reset * g * height[k])
                elif reset == SUBTRACT_LATER:
                    for k in range(n):
                        h[k] = beta[k] * h[k] + slope[k] * (error[k] - through_reset * h[k] * height[k])
                else:
                    for k in range(n):
                        h[k] = beta[k] * h[k] + slope[k] * error[k]
            else:
                for k in range(n):
                    h[k] = beta[k] * h[k]
            if d_u.shape[0] > 0:
                given = d_u[s, t]
                for k in range(n):
                    h[k] += given[k]
            for k in range(n):
                d_drive[k] += h[k]
            if current == NO_CURRENT:
                for k in range(n):
                    a[k] = h[k]
            elif current == EARLY:
                for k in range(n):
                    a[k] = alpha[k] * a[k] + gain[k] * h[k]
            if e.shape[0] > 0:
                out = e[s, t]
                for k in range(n):
                    out[k] = a[k]
            if d_sum.shape[0] > 0:
                total_row = d_sum[s]
                for k in range(n):
                    total_row[k] += a[k]
            if h_record.shape[0] > 0:
                kept_row = h_record[s, t]
                for k in range(n):
                    kept_row[k] = h[k]
        if d_start.size > 0:
            for k in range(n):
                d_start[k] += beta[k] * h[k]


@kernel(fastmath={"contract"}, inline=True)
def _add_threshold(row, error, slope, h, beta, threshold, height, v_reset, reset, through_reset, d_threshold):
    """dL/d(threshold) of one step: through the spike, and through what the reset subtracts; h is that of step t + 1."""
    zero = h.dtype.type(0.0)
    for k in range(row.size):
        g = h[k] if reset == SUBTRACT_LATER else beta[k] * h[k]
        if reset == NONE:
            d_threshold[k] -= slope[k] * error[k]
        elif reset == ZERO:
            d_threshold[k] -= slope[k] * (error[k] + through_reset * g * (v_reset[k] - row[k]))
        else:
            fired = g if row[k] > threshold[k] else zero
            d_threshold[k] -= slope[k] * (error[k] - through_reset * g * height[k]) + fired


@kernel(fastmath={"contract"})
def factor_gradients(u, h, a, beta, drive, threshold, height, v_reset, v_start, reset, d_alpha, d_beta):
    """Add dL/d(alpha) and dL/d(beta), from what `step_forward` and `step_backward` left behind, for a gain of 1.

    The current i_t = u_t - beta v_(t-1) - drive is not kept; d_alpha is left alone where it is empty.
    """
    zero = u.dtype.type(0.0)
    for s in range(u.shape[0]):
        for t in range(u.shape[1]):
            for k in range(u.shape[2]):
                old = u[s, t - 1, k] if t > 0 else v_start[k]
                fired = t > 0 and old > threshold[k]  # nothing is reset before the first step
                v, taken = old, zero
                if reset == ZERO:
                    v = v_reset[k] if fired else old
                elif reset == SUBTRACT:
                    v = old - (height[k] if fired else zero)
                elif reset == SUBTRACT_LATER:
                    taken = height[k] if fired else zero
                d_beta[k] += h[s, t, k] * v
                if d_alpha.size > 0 and t + 1 < u.shape[1]:
                    d_alpha[k] += a[s, t + 1, k] * (u[s, t, k] - beta[k] * v - drive[k] + taken)
