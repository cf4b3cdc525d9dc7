from __future__ import annotations

import math

import pytest

from eventsnn import Constant, CosineDecay, ExponentialDecay, MultiStepDecay, StepDecay, ValidationError


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), {0.0: 1.0, 3.7: 1.0, 1000.0: 1.0}),
        (StepDecay(step=3, gamma=0.5), {0.0: 1.0, 2.99: 1.0, 3.0: 0.5, 5.5: 0.5, 6.0: 0.25, 30.0: 0.5**10}),
        (MultiStepDecay((5, 2), 0.1), {0.0: 1.0, 1.99: 1.0, 2.0: 0.1, 4.9: 0.1, 5.0: 0.1**2, 99.0: 0.1**2}),
        (MultiStepDecay((), 0.1), {0.0: 1.0, 99.0: 1.0}),
        (ExponentialDecay(0.9), {0.0: 1.0, 0.9: 1.0, 1.0: 0.9, 10.5: 0.9**10}),
        (CosineDecay(10), {0.0: 1.0, 2.5: 0.5 + math.sqrt(0.125), 5.0: 0.5, 10.0: 0.0, 15.0: 0.0}),
        (CosineDecay(10, minimum=0.2), {0.0: 1.0, 5.0: 0.6, 10.0: 0.2, 11.0: 0.2}),
        (CosineDecay(12, warmup=2.0), {0.0: 0.0, 1.0: 0.5, 2.0: 1.0, 7.0: 0.5, 12.0: 0.0}),
    ],
    ids=repr,
)
def test_factor(schedule, expected):
    for progress, factor in expected.items():
        assert schedule.factor(progress) == pytest.approx(factor, abs=1e-15)  # one rounding of a power or cosine


@pytest.mark.parametrize(
    "make",
    [
        lambda: StepDecay(0, 0.5),
        lambda: StepDecay(1, 0.0),
        lambda: StepDecay(1, 1.5),
        lambda: MultiStepDecay((0,), 0.5),
        lambda: MultiStepDecay((1,), -1.0),
        lambda: ExponentialDecay(1.1),
        lambda: ExponentialDecay(math.nan),
        lambda: CosineDecay(0),
        lambda: CosineDecay(5, minimum=1.5),
        lambda: CosineDecay(5, warmup=5.0),
        lambda: CosineDecay(5, warmup=-1.0),
    ],
)
def test_schedules_refuse_bad_settings(make):
    with pytest.raises(ValidationError, match=r"^(StepDecay|MultiStepDecay|ExponentialDecay|CosineDecay)\.\w+: must"):
        make()
