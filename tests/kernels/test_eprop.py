"""Eligibility traces against the equations, written down step by step for one synapse."""

import numpy as np
import pytest

from eventsnn.kernels.eprop import (
    ONE_CURRENT,
    ONE_TRACE,
    OWN_CURRENT,
    eprop_gradient,
    events_by_neuron,
    local_decays,
    readout_gradient,
)
from eventsnn.kernels.grid_step import NONE, SUBTRACT, SUBTRACT_LATER, ZERO

N_SAMPLES, N_STEPS, N_PRE, N = 2, 12, 4, 3


def test_events_by_neuron_keeps_steps_and_values():
    rng = np.random.default_rng(13)
    n_samples, n_steps, n_pre = 3, 7, 5
    numbers = rng.integers(0, 4, n_samples * n_steps)
    starts = np.concatenate(([0], np.cumsum(numbers)))[n_steps:]  # the first sample belongs to another chunk
    neurons, values = rng.integers(0, n_pre, numbers.sum()), rng.normal(size=numbers.sum())
    n_events = starts[-1] - starts[0]
    firsts = np.empty(2 * n_pre + 1, np.int64)
    steps, ordered = np.empty(n_events, np.int64), np.empty(n_events)
    events_by_neuron(starts, neurons, values, n_steps, n_pre, firsts, steps, ordered)
    of_event = np.repeat(np.arange(2 * n_steps), numbers[n_steps:])
    own_neurons, own_values = neurons[starts[0] :], values[starts[0] :]
    for s in range(2):
        for j in range(n_pre):
            mine = (own_neurons == j) & (of_event // n_steps == s)
            place = slice(firsts[s * n_pre + j], firsts[s * n_pre + j + 1])
            np.testing.assert_array_equal(steps[place], of_event[mine] % n_steps)
            np.testing.assert_array_equal(ordered[place], own_values[mine])


def random_trains(rng):
    """Arrivals z (n_samples, n_steps, n_pre), and the same as events by neuron; the last neuron is silent."""
    z = np.where(rng.random((N_SAMPLES, N_STEPS, N_PRE)) < 0.3, rng.normal(size=(N_SAMPLES, N_STEPS, N_PRE)), 0.0)
    z[:, :, -1] = 0.0
    by_neuron = z.transpose(0, 2, 1)
    firsts = np.concatenate(([0], np.cumsum((by_neuron != 0).sum(axis=2).ravel())))
    return z, (firsts, np.nonzero(by_neuron)[2], by_neuron[by_neuron != 0])


def response(given, alpha, beta, gain):
    """f[t] = alpha f[t-1] + given[t], g[t] = beta[t] g[t-1] + gain f[t], of one synapse."""
    f = g = 0.0
    found = []
    for x, b in zip(given, np.broadcast_to(beta, len(given)), strict=True):
        f = alpha * f + x
        g = b * g + gain * f
        found.append(g)
    return np.array(found)


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("has_direct", [False, True])
@pytest.mark.parametrize("filtering", [(0.0, 0.8, 0.7), (0.4, 0.8, 0.7)])
@pytest.mark.parametrize("kind", [ONE_TRACE, ONE_CURRENT, OWN_CURRENT])
def test_eprop_gradient_follows_the_equations(kind, filtering, has_direct, lag):
    rng = np.random.default_rng([kind, has_direct, lag])
    z, trains = random_trains(rng)
    alpha, beta, gain = rng.uniform(0.2, 0.9, (3, N))
    if kind != OWN_CURRENT:
        alpha[:], gain[:] = alpha[0], gain[0]
    decay, sigma, signal = rng.normal(size=(3, N_SAMPLES, N_STEPS, N))
    signal[1, 8:] = 0.0  # nothing to learn after that
    if kind == ONE_TRACE:
        beta[:] = beta[0]
        decay[:] = beta
    direct = rng.normal(size=(N_SAMPLES if has_direct else 0, N))
    found = np.ones((N_PRE, N))
    eprop_gradient(
        *trains, lag, kind, alpha, beta, gain, decay, sigma, signal, direct, np.array(filtering),
        np.full((4, N), np.nan), found,
    )  # fmt: skip
    expected = np.ones((N_PRE, N))  # it is added to
    for s in range(N_SAMPLES):
        for j in range(N_PRE):
            arriving = np.concatenate((np.zeros(lag), z[s, : N_STEPS - lag, j]))
            for k in range(N):
                e = sigma[s, :, k] * response(arriving, alpha[k], decay[s, :, k], gain[k])
                expected[j, k] += signal[s, :, k] @ response(e, *filtering)
                if has_direct:
                    expected[j, k] += direct[s, k] * e.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)  # sums of a hundred products
    assert (found[-1] == 1.0).all()


def test_readout_gradient_follows_the_equations():
    rng = np.random.default_rng(1)
    z, trains = random_trains(rng)
    d_u, filtering, found = rng.normal(size=(N_SAMPLES, N_STEPS, N)), (0.4, 0.8, 0.7), np.zeros((N_PRE, N))
    readout_gradient(*trains, 1, np.array(filtering), d_u, found)
    expected = np.zeros((N_PRE, N))
    for s in range(N_SAMPLES):
        for j in range(N_PRE):
            expected[j] += response(np.concatenate(([0.0], z[s, :-1, j])), *filtering) @ d_u[s]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)  # likewise


@pytest.mark.parametrize("is_detached", [False, True])
@pytest.mark.parametrize("reset", [NONE, ZERO, SUBTRACT, SUBTRACT_LATER])
def test_local_decays_is_the_derivative_of_a_step(reset, is_detached):
    """By central differences of the step, with a smooth spike in the place of the threshold in the reset."""
    rng = np.random.default_rng([reset, is_detached])
    u, slope = rng.normal(size=(2, 1, 2, 5))
    beta, threshold, v_reset = rng.uniform(0.1, 1.0, (3, 5))
    decay = np.empty_like(u)
    local_decays(u, slope, beta, threshold, threshold, v_reset, reset, is_detached, decay)
    fired = (u[0, 0] > threshold).astype(float)

    def step(shift):
        old = u[0, 0] + shift
        s = fired if is_detached else fired + slope[0, 0] * shift  # the spike to first order
        return {
            NONE: beta * old,
            ZERO: beta * ((1 - s) * old + s * v_reset),
            SUBTRACT: beta * (old - s * threshold),
            SUBTRACT_LATER: beta * old - s * threshold,
        }[reset]

    expected = (step(1e-4) - step(-1e-4)) / 2e-4
    # at most quadratic in the shift, so only rounding is left: 1e-16/1e-4
    np.testing.assert_allclose(decay[0, 1], expected, rtol=1e-10, atol=1e-11)
    assert (decay[0, 0] == 0).all()
