from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn import SilentHinge, ValidationError, WeightBumping


def weights():
    return [np.zeros((3, 4)), np.zeros((4, 2), np.float32)]


def bump(bumping, state, fractions):
    own = weights()
    layer = bumping.bump(state, [np.array(f) for f in fractions], own)
    return layer, own


QUIET = [[1.0, 0.0, 0.5, 0.0], [1.0, 0.0]]


def test_bump_raises_the_neurons_that_miss():
    bumping = WeightBumping(size=0.25, max_silent_fraction=0.25, exponential=False)
    state = bumping.start([4, 2])
    layer, own = bump(bumping, state, QUIET)
    assert layer == 0
    assert own[0].tolist() == [[0.25, 0.0, 0.25, 0.0]] * 3  # whoever was silent in any sample
    assert not own[1].any()  # only the first layer that needs it
    layer, own = bump(bumping, state, [[0.9, 0.1, 0.0, 0.0], [1.0, 0.0]])
    assert layer == 1  # a quarter of the first layer's spikes is missing, which is not above the limit
    assert own[1].tolist() == [[0.25, 0.0]] * 4
    assert own[1].dtype == np.float32
    layer, own = bump(bumping, state, [[0.9, 0.0, 0.0, 0.0], [0.0, 0.0]])
    assert layer is None  # a neuron may be silent as long as its layer is not
    assert not any(w.any() for w in own)


def test_bump_raises_the_whole_layer():
    bumping = WeightBumping(size=0.25, max_silent_fraction=0.3, targeted=False)
    _, own = bump(bumping, bumping.start([4, 2]), QUIET)
    assert (own[0] == 0.25).all()
    assert not own[1].any()


def test_bump_takes_one_limit_per_layer():
    bumping = WeightBumping(size=1.0, max_silent_fraction=[0.5, 0.4])
    assert bumping.max_silent_fraction == (0.5, 0.4)
    layer, own = bump(bumping, bumping.start([4, 2]), QUIET)
    assert layer == 1
    assert own[1].tolist() == [[1.0, 0.0]] * 4
    with pytest.raises(ValidationError, match="2 values for 3 layers"):
        bumping.start([4, 4, 2])


def test_bump_doubles_while_the_same_layer_needs_it():
    bumping = WeightBumping(size=0.5, max_silent_fraction=0.3, exponential=True)
    state = bumping.start([4, 2])
    fires, late = [[0.0] * 4, [0.0] * 2], [[0.0] * 4, [1.0, 0.0]]
    sizes = []
    for fractions in (QUIET, QUIET, QUIET, fires, QUIET, QUIET, late, late, QUIET):
        layer, own = bump(bumping, state, fractions)
        sizes.append(None if layer is None else float(own[layer].max()))
    assert sizes == [0.5, 1.0, 2.0, None, 0.5, 1.0, 0.5, 1.0, 0.5]
    state["repeats"] = 5000
    assert bump(bumping, state, QUIET)[1][0].max() == 0.5 * 2.0**30  # capped, finite
    plain = WeightBumping(size=0.5, exponential=False)
    state = plain.start([4, 2])
    assert [bump(plain, state, QUIET)[1][0].max() for _ in range(3)] == [0.5] * 3


def test_silent_hinge_keeps_a_running_mean():
    hinge = SilentHinge(strength=0.1, max_silent_fraction=0.5, memory=0.75)
    state = hinge.start([3, 2, 5])
    assert [a.tolist() for a in state["silent_fraction"]] == [[0.0] * 3, [0.0] * 2]  # hidden layers only
    assert not hinge.wanted(state, 0).any()
    always, half, never = [], [], []
    for _ in range(4):
        hinge.observe(state, 0, np.array([1.0, 0.5, 0.0]))
        mean = state["silent_fraction"][0]
        always.append(mean[0])
        half.append(mean[1])
        never.append(mean[2])
    expected = [1.0 - 0.75**k for k in range(1, 5)]
    assert always == pytest.approx(expected, rel=1e-14)
    assert half == pytest.approx([0.5 * x for x in expected], rel=1e-14)
    assert never == [0.0] * 4
    assert hinge.wanted(state, 0).tolist() == [True, False, False]  # 0.68, 0.34, 0
    assert not state["silent_fraction"][1].any()


def test_silent_hinge_of_strength_zero_wants_nothing():
    hinge = SilentHinge(strength=0.0, max_silent_fraction=0.0)
    state = hinge.start([2, 1])
    hinge.observe(state, 0, np.ones(2))
    assert not hinge.wanted(state, 0).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: SilentHinge(strength=-1.0),
        lambda: SilentHinge(output_strength=math.inf),
        lambda: SilentHinge(max_silent_fraction=1.5),
        lambda: SilentHinge(memory=1.0),
        lambda: WeightBumping(size=0.0),
        lambda: WeightBumping(size=math.nan),
        lambda: WeightBumping(max_silent_fraction=-0.1),
        lambda: WeightBumping(max_silent_fraction=(0.3, 2.0)),
    ],
)
def test_regularizers_refuse_bad_settings(make):
    with pytest.raises(ValidationError, match=r"^(SilentHinge|WeightBumping)\.\w+: must"):
        make()
