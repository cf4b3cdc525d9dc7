"""Optimisers and their state; the arithmetic is tested with the kernels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn import SGD, Adam, CheckpointError, ValidationError
from eventsnn.simulation.parallel import BlockPool
from eventsnn.training.optimizers import _PIECE, OptimizerState

OPTIMIZERS = [SGD(0.1), SGD(0.1, momentum=0.9), Adam(0.01), Adam(0.01, amsgrad=True)]


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    return {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=(400, 200)).astype(np.float32)}


def gradients(seed, like, n_blocks=2):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(n_blocks, w.size)).astype(w.dtype) for name, w in like.items()}


def run(optimizer, n_steps, own, state, n_threads=1, first=0):
    with BlockPool(n_threads) as pool:
        for k in range(first, first + n_steps):
            state.step(gradients(k, own), 1.0 / (1 + k), 0.5, pool)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_step_gives_the_same_bits_for_any_number_of_threads(optimizer):
    assert parameters()["b"].size > _PIECE  # several pieces
    results = []
    for n_threads in (1, 2, 3):
        own = parameters()
        run(optimizer, 3, own, OptimizerState(optimizer, own), n_threads)
        results.append(own)
    for other in results[1:]:
        assert all(np.array_equal(results[0][name], other[name]) for name in other)


def test_step_updates_the_arrays_themselves_and_clears_the_gradients():
    own = {"w": np.array([[1.0, 2.0]])}
    state = OptimizerState(SGD(0.5), own)
    sums = {"w": np.array([[1.0, 2.0], [3.0, 4.0]])}
    with BlockPool(1) as pool:
        state.step(sums, 0.1, 2.0, pool)
    # g = 2 (1 + 3), 2 (2 + 4); rate 0.05
    assert own["w"] == pytest.approx(np.array([[1.0 - 0.4, 2.0 - 0.6]]), rel=1e-15)
    assert not sums["w"].any()
    assert state.step_count == 1


def test_adam_first_step_is_the_learning_rate():
    # Bias correction: m/(1 - beta1) = g, sqrt(v/(1 - beta2)) = |g|, so the first step is rate sign(g).
    own = {"w": np.zeros((1, 3))}
    with BlockPool(1) as pool:
        OptimizerState(Adam(0.01), own).step({"w": np.array([[3.0, -2e-3, 50.0]])}, 1.0, 1.0, pool)
    # epsilon / 2e-3 = 5e-6
    assert own["w"] == pytest.approx(np.array([[-0.01, 0.01, -0.01]]), rel=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_state_dict_goes_on_with_the_same_bits(optimizer):
    whole = parameters()
    run(optimizer, 6, whole, OptimizerState(optimizer, whole))
    half = parameters()
    state = OptimizerState(optimizer, half)
    run(optimizer, 3, half, state)
    saved = state.state_dict()
    run(optimizer, 1, {name: w.copy() for name, w in half.items()}, state)  # must not reach the saved copy
    other = {name: w.copy() for name, w in half.items()}
    again = OptimizerState(optimizer, other)
    half_weights = parameters()
    run(optimizer, 3, half_weights, OptimizerState(optimizer, half_weights))
    for name, w in half_weights.items():
        other[name][:] = w
    again.load_state_dict(saved)
    run(optimizer, 3, other, again, first=3)
    assert again.step_count == 6
    assert all(np.array_equal(whole[name], other[name]) for name in whole)


def test_optimizers_take_their_settings_by_position():
    assert SGD(0.1, 0.9) == SGD(learning_rate=0.1, momentum=0.9)
    assert repr(Adam(0.1, 0.8, 0.9, 1e-6, True)) == (
        "Adam(learning_rate=0.1, beta1=0.8, beta2=0.9, epsilon=1e-06, amsgrad=True)"
    )


def test_load_state_dict_refuses_another_optimiser():
    own = parameters()
    saved = OptimizerState(Adam(0.01), own).state_dict()
    for other in (SGD(0.1), Adam(0.01, amsgrad=True)):
        with pytest.raises(CheckpointError, match="the savepoint was written by Adam"):
            OptimizerState(other, own).load_state_dict(saved)
    with pytest.raises(CheckpointError, match="use the configuration the run was started with"):
        OptimizerState(Adam(0.01), {"c": np.zeros(3)}).load_state_dict(saved)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(0.0),
        lambda: SGD(math.nan),
        lambda: SGD(0.1, momentum=1.0),
        lambda: Adam(-1.0),
        lambda: Adam(0.1, beta1=1.0),
        lambda: Adam(0.1, beta2=-0.1),
        lambda: Adam(0.1, epsilon=0.0),
    ],
)
def test_optimizers_refuse_bad_settings(make):
    with pytest.raises(ValidationError, match=r"^(SGD|Adam)\.\w+: must"):
        make()
