"""Early exit: when a sample ends, and what the calibrated margin promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn import Currents
from eventsnn.conversion import convert, load_ann
from eventsnn.conversion.early_exit import EarlyExit
from eventsnn.datasets import load_mnist
from eventsnn.errors import ValidationError


def walks(seed, n=400, n_steps=30, n_outputs=4):
    """Potentials that drift apart, a sample's outputs at rates of their own, with noise that does not grow."""
    rng = np.random.default_rng(seed)
    rates = rng.normal(0.0, 0.5, (n, 1, n_outputs))
    steps = np.arange(1, n_steps + 1)[:, None]
    return rates * steps + rng.normal(0.0, 1.0, (n, n_steps, n_outputs))


def by_hand(outputs, margin, first_step=1):
    """The rule in words, one sample and step at a time."""
    classes, steps = [], []
    for sample in outputs:
        for t, v in enumerate(sample, start=1):
            highest, second = sorted(v, reverse=True)[:2]
            if (highest - second > margin and t >= first_step) or t == len(sample):
                classes.append(int(np.argmax(v)))
                steps.append(t)
                break
    return classes, steps


@pytest.mark.parametrize("first_step", [1, 5])
@pytest.mark.parametrize("margin", [0.0, 0.7, 3.0, 1e9])
def test_apply_is_the_rule_step_by_step(margin, first_step):
    outputs = walks(0, n=50)
    found = EarlyExit(margin).apply(outputs, first_step=first_step)
    classes, steps = by_hand(outputs, margin, first_step)
    assert found.classes.tolist() == classes
    assert found.steps.tolist() == steps
    assert found.mean_steps == np.mean(steps)


def test_a_lead_of_exactly_the_margin_does_not_end_a_sample():
    outputs = np.array([[[1.0, 0.0], [2.5, 1.0], [0.0, 3.0]]])
    assert EarlyExit(1.0).apply(outputs).steps.tolist() == [2]
    assert EarlyExit(1.5).apply(outputs).steps.tolist() == [3]


def test_inf_takes_all_steps():
    outputs = walks(1)
    found = EarlyExit(math.inf).apply(outputs)
    assert (found.steps == outputs.shape[1]).all()
    assert np.array_equal(found.classes, outputs[:, -1].argmax(axis=1))


def test_calibrated_is_the_smallest_margin_of_its_rank():
    outputs = walks(2, n=199)
    rule = EarlyExit.calibrated(outputs, 0.05)
    final = outputs[:, -1].argmax(axis=1)
    largest = []
    for sample, label in zip(outputs, final, strict=True):
        leads = [np.diff(np.sort(v)[-2:])[0] for v in sample if np.argmax(v) != label]
        largest.append(max(leads, default=0.0))
    assert rule.margin == sorted(largest)[189]  # the 190th, ceil(200 * 0.95)
    differs = rule.apply(outputs).classes != final
    assert differs.sum() <= 9


def test_calibrated_keeps_its_promise_on_new_samples():
    shares = []
    for seed in range(100):
        outputs = walks(seed, n=300)
        rule = EarlyExit.calibrated(outputs[:150], 0.1)
        found = rule.apply(outputs[150:])
        shares.append((found.classes != outputs[150:, -1].argmax(axis=1)).mean())
        assert found.mean_steps < 30
    # The promise is on the mean, whose deviation here is 0.03 / sqrt(100); a rule that always ended in the first
    # step would differ in more than 0.3.
    assert np.mean(shares) <= 0.1 + 3 * 0.003
    outputs = walks(0)
    assert (EarlyExit(0.0).apply(outputs).classes != outputs[:, -1].argmax(axis=1)).mean() > 0.3


def test_a_smaller_share_takes_more_steps():
    outputs = walks(3)
    steps = [EarlyExit.calibrated(outputs, share).apply(outputs).mean_steps for share in (0.5, 0.2, 0.05, 0.01)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]


@pytest.mark.parametrize("margin", [-1.0, math.nan, "1"])
def test_margin_is_checked(margin):
    with pytest.raises(ValidationError, match="EarlyExit.margin: must be a finite number and >= 0"):
        EarlyExit(margin)


def test_too_few_samples_are_told_how_many_are_needed():
    with pytest.raises(ValidationError, match="9 samples cannot vouch for a share of 0.01; give 99 or more"):
        EarlyExit.calibrated(walks(0, n=9), 0.01)
    EarlyExit.calibrated(walks(0, n=99), 0.01)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, math.nan])
def test_share_is_checked(share):
    with pytest.raises(ValidationError, match="EarlyExit.calibrated.share: must be"):
        EarlyExit.calibrated(walks(0), share)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (np.zeros((2, 3)), r"shape \(n_samples, n_steps, n_outputs\).*got shape \(2, 3\)"),
        (np.zeros((2, 3, 1)), "n_outputs >= 2"),
        (np.zeros((2, 0, 3)), "n_steps >= 1"),
        (np.zeros((2, 3, 4), int), "must be floats"),
        (np.full((1, 1, 2), np.nan), "got nan at sample 0, step 0, output 0"),
    ],
)
def test_potentials_are_checked(outputs, message):
    if np.isfinite(outputs).all():
        with pytest.raises(ValidationError, match=rf"EarlyExit.apply: outputs: .*{message}"):
            EarlyExit(1.0).apply(outputs)
    with pytest.raises(ValidationError, match=rf"EarlyExit.calibrated: outputs: .*{message}"):
        EarlyExit.calibrated(outputs, 0.5)


@pytest.mark.parametrize("window", [1, 4, 30])
def test_apply_to_what_decided_has_stopped_is_apply_to_the_whole(window):
    outputs, rule = walks(5, n=60), EarlyExit(3.0)
    whole = rule.apply(outputs)
    stopped = outputs.copy()
    for b in range(60):
        for t in range(window, 30, window):
            if rule.decided(outputs[b : b + 1, :t])[0]:
                stopped[b, t:] = np.nan
                break
    assert np.isnan(stopped).any() or window == 30
    found = rule.apply(stopped)
    assert np.array_equal(found.steps, whole.steps)
    assert np.array_equal(found.classes, whole.classes)


def test_apply_refuses_what_another_rule_has_stopped():
    outputs = np.full((1, 4, 2), np.nan)
    outputs[0, :2] = [[1.0, 0.0], [2.0, 0.0]]
    assert EarlyExit(1.5).apply(outputs).steps.tolist() == [2]
    with pytest.raises(ValidationError, match="sample 0 was ended before it led by 3; was it stopped by another"):
        EarlyExit(3.0).apply(outputs)
    outputs[0, 1, 1] = np.nan
    with pytest.raises(ValidationError, match="got nan at sample 0, step 1, output 1"):
        EarlyExit(1.5).apply(outputs)


@pytest.fixture(scope="module")
def mnist():
    """The shipped network, 1,000 training images and 2,000 to test, which it was not trained on."""
    data = load_mnist(encode=Currents, n_train=1_000, n_valid=0, n_test=2_000)
    snn = convert(load_ann("mnist_mlp"), data.train.values, progress=False)
    return snn, data.test.values, data.test.labels


def test_mnist_needs_few_steps_at_the_same_accuracy(mnist):
    snn, x, y = mnist
    order = np.random.default_rng(0).permutation(2_000)
    held_out, rest = order[:1_000], order[1_000:]
    rule = snn.calibrate_exit(x[held_out], 32, share=0.005, progress=False)
    found = snn.decide(x[rest], 32, rule=rule, progress=False)
    whole = snn.run(x[rest], 32, progress=False)
    classes = whole.outputs[:, -1].argmax(axis=1)
    assert found.mean_steps < 4
    # 0.5 % on average; 15 of 1,000 would be 4 standard deviations above
    assert (found.classes != classes).mean() < 0.015
    assert (found.classes == y[rest]).mean() > (classes == y[rest]).mean() - 0.01
    # what it does not run, it does not pay for
    assert found.synaptic_events.sum() < 0.25 * whole.n_synaptic_events.sum()
    applied = rule.apply(whole.outputs)
    assert np.array_equal(found.steps, applied.steps)
    assert np.array_equal(found.classes, applied.classes)


def test_decide_does_not_depend_on_threads(mnist):
    snn, x, _ = mnist
    one, two = (snn.decide(x[:300], 16, rule=EarlyExit(5.0), n_threads=n, progress=False) for n in (1, 2))
    assert np.array_equal(one.steps, two.steps)
    assert np.array_equal(one.synaptic_events, two.synaptic_events)


def test_decide_of_random_spikes_is_that_of_the_same_spikes(mnist):
    snn, x, _ = mnist
    rule = EarlyExit(5.0)
    found = snn.decide(x[:50], 16, rule=rule, input="poisson", rng=np.random.default_rng(3), progress=False)
    whole = snn.run(x[:50], 16, input="poisson", rng=np.random.default_rng(3), progress=False)
    assert np.array_equal(found.steps, rule.apply(whole.outputs).steps)


def test_first_step_is_checked():
    with pytest.raises(ValidationError, match=r"first_step: must lie in 1 .. 30 \(n_steps\), got 31"):
        EarlyExit(1.0).apply(walks(0), first_step=31)
