"""Training with `Hardware`: what is drawn, what the weights are, and which gradient they get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eventsnn import (
    LIF,
    SGD,
    Adam,
    BiasSpikes,
    Clock,
    Dense,
    EulerForward,
    FirstSpikeCrossEntropy,
    Hardware,
    Repeat,
    Sequential,
    SilentHinge,
    ThresholdNoise,
    Trainer,
    ValidationError,
    WeightBumping,
    loss_and_grad,
    simulate,
)
from eventsnn.datasets import load_yin_yang
from eventsnn.gradients.first_spike import BlockGradient
from eventsnn.simulation.hardware_layers import HardwareRunner
from eventsnn.simulation.layers import input_events
from eventsnn.training.hardware_noise import HardwareNoise

LOSS = FirstSpikeCrossEntropy(xi=0.5)
FULL = Hardware(
    threshold_noise={
        "hidden": ThresholdNoise(batch=0.02, fixed_mean=0.05, fixed_std=0.05),
        "output": ThresholdNoise(sample=0.03, batch=0.02, fixed_std=0.05),
    },
    delay_jitter={"hidden": 0.02},
    spike_jitter=0.02,
    weight_max=2.0,
    weight_step=1 / 16,
)


@pytest.fixture(scope="module")
def data():
    return load_yin_yang(1.0, n_train=120, n_valid=60, n_test=90)


def chain(dtype=np.float64, *, delays=True, seed=0):
    rng = np.random.default_rng(seed)
    lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    weights = [rng.normal(1.0, 0.9, s).astype(dtype) for s in ((9, 8), (8, 3))]
    delay = rng.uniform(0.1, 0.6, (9, 1)) if delays else 0.0
    return Sequential([Repeat(2), BiasSpikes([0.4]), Dense(weights[0], delay), lif, Dense(weights[1]), lif])


def trainer(hardware, *, network=None, seed=3, learn=None, **options):
    options = {"batch_size": 40, "max_dw_norm": 0.5, "silent": None} | options
    return Trainer(
        network or chain(),
        LOSS,
        options.pop("optimizer", Adam(5e-3)),
        seed=seed,
        hardware=hardware,
        learn=learn,
        **options,
    )


def same(one, other):
    a, b = (t.state_dict() for t in (one, other))
    return all((a["weights"][name] == b["weights"][name]).all() for name in a["weights"])


@pytest.mark.parametrize("euler", [None, EulerForward(0.02, 5.0)])
def test_fit_gives_the_same_bits_for_any_threads_and_after_a_resume(data, euler):
    hardware = replace(FULL, euler=euler, gradient_tau_ratio=1.8)
    learn = {"weight": 1.0, "delay": 0.5}
    whole, threads, first = (trainer(hardware, learn=learn, n_threads=n) for n in (1, 3, 1))
    for one in (whole, threads):
        one.fit(data.train, data.valid, 2, progress=False)
    assert same(whole, threads)
    first.fit(data.train, data.valid, 1, progress=False)
    later = trainer(hardware, learn=learn, seed=99)  # its own seed does not matter any more
    later.load_state_dict(first.state_dict())
    later.fit(data.train, data.valid, 2, progress=False)
    assert same(whole, later)
    losses = [[m.train_loss for m in t.history] + [m.valid_loss for m in t.history] for t in (whole, threads, later)]
    assert losses[0] == losses[1] == losses[2]
    outputs = [t.predict(data.test.spikes, noise_seed=5).outputs for t in (whole, threads, later)]
    assert (outputs[0] == outputs[1]).all()
    assert (outputs[0] == outputs[2]).all()
    assert not same(whole, trainer(hardware, learn=learn))  # it has learned something


def test_hardware_with_nothing_set_changes_no_bit(data):
    learn = {"weight": 1.0, "delay": 0.5}
    one, other = trainer(Hardware(), learn=learn), trainer(None, learn=learn)
    for each in (one, other):
        each.fit(data.train, data.valid, 2, progress=False)
    assert same(one, other)
    assert [m.valid_loss for m in one.history] == [m.valid_loss for m in other.history]


def test_evaluate_draws_from_the_noise_seed(data):
    one = trainer(FULL)
    before = one.state_dict()
    draws = [one.predict(data.test.spikes, noise_seed=k).outputs for k in (0, 1, 0)]
    assert (draws[0] == draws[2]).all()
    assert (draws[0] == one.predict(data.test.spikes).outputs).all()
    finite = np.isfinite(draws[0]) & np.isfinite(draws[1])
    assert (draws[0] != draws[1])[finite].mean() > 0.99
    assert one.evaluate(data.test, noise_seed=1).loss != one.evaluate(data.test).loss
    assert one.state_dict()["random"] == before["random"]
    # the noise is of the size it was given: 0.02 on the output, and what the hidden layer and the thresholds make of it
    assert 0.02 < np.std((draws[0] - draws[1])[finite]) < 0.5


def test_evaluate_without_noise_is_the_simulation_of_the_hardware_network(data):
    one = trainer(FULL, learn={"weight": 1.0, "delay": 2.0})
    one.fit(data.train, None, 1, progress=False)
    times = one.predict(data.test.spikes, noise_seed=None).outputs
    network = one.hardware_network
    found = simulate(network, data.test.spikes).spikes["output"].first_times()
    fired = np.isfinite(times)
    assert (fired == np.isfinite(found)).all()
    # weights scaled by thresholds that are not 1: roundings of the weights, and what a spike makes of them
    assert np.abs(times - found)[fired].max() <= 1e-9
    plain = simulate(one.network, data.test.spikes).spikes["output"].first_times()
    assert np.abs(times - plain)[fired & np.isfinite(plain)].mean() > 1e-3
    for layer in network.layers:
        steps = layer.connection.weight * 16
        assert (steps == np.rint(steps)).all()
        assert np.ptp(layer.neuron.v_threshold) > 0.01
    assert trainer(None).hardware_network.weights[0].shape == (9, 8)


def test_batch_noise_is_shared_by_a_batch_and_sample_noise_is_not(data):
    first = data.test.spikes.first_times()
    copies = data.test.spikes.from_first_times(np.tile(first[3], (90, 1)))
    for noise, n_different in ((ThresholdNoise(batch=0.1), 3), (ThresholdNoise(sample=0.1), 90)):
        outputs = trainer(Hardware(threshold_noise=noise)).predict(copies).outputs
        assert len(np.unique(outputs[:, outputs[0] < np.inf], axis=0)) == n_different  # batches of 40, 40, 10


def test_one_kind_of_noise_leaves_the_draws_of_the_others(data):
    network = chain()
    noises = [
        HardwareNoise(hardware, network, 7).of_update(11).conditions(2, 50)
        for hardware in (FULL, replace(FULL, spike_jitter=0.0), replace(FULL, threshold_noise=None))
    ]
    assert (noises[0][0].jitter == noises[1][0].jitter).all()
    assert (noises[0][1].threshold == noises[1][1].threshold).all()
    assert (noises[0][1].spike_jitter == noises[2][1].spike_jitter).all()
    assert noises[1][0].spike_jitter is None
    assert noises[2][1].threshold is None
    assert noises[0][1].jitter is None  # only the hidden layer's delays


def test_noise_has_the_moments_it_was_given():
    lif = LIF(tau_mem=2.0, tau_syn=1.0, v_leak=-1.0, v_threshold=1.0, max_spikes=1)
    network = Sequential([Dense(np.ones((4, 500))), lif])
    noise = ThresholdNoise(sample=0.03, batch=0.2, fixed_mean=0.5, fixed_std=0.1)
    hardware = Hardware(threshold_noise=noise, delay_jitter=0.4, spike_jitter=0.6)
    drawn = HardwareNoise(hardware, network, 0)
    batches = [drawn.of_update(k).conditions(0, 60)[0] for k in range(30)]
    thresholds = np.stack([b.threshold for b in batches]) - 2.0
    # 500 draws and more: standard errors of 5 % of each standard deviation at most
    assert abs(drawn.pattern[0].mean() - 0.5) < 0.02
    assert abs(drawn.pattern[0].std() / 0.1 - 1) < 0.15
    by_batch = thresholds.mean(axis=1)
    assert abs((by_batch - drawn.pattern[0]).std() / 0.2 - 1) < 0.05
    assert abs((thresholds - by_batch[:, None]).std() / 0.03 - 1) < 0.05
    assert abs(batches[0].jitter.std() / 0.4 - 1) < 0.05
    assert abs(batches[0].spike_jitter.std() / 0.6 - 1) < 0.05
    assert batches[0].jitter.shape == (60, 4, 500)
    assert (batches[0].jitter != batches[1].jitter).all()


def test_thresholds_below_rest_are_reflected():
    network = Sequential([Dense(np.ones((1, 200))), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    for noise in (ThresholdNoise(fixed_std=2.0), ThresholdNoise(sample=2.0)):
        drawn = HardwareNoise(Hardware(threshold_noise=noise), network, 0).of_update(0)
        threshold = drawn.conditions(0, 1)[0].threshold
        assert ((1.0 / drawn.scales[0] if threshold is None else threshold) > 0.0).all()


def test_gradient_under_noise_agrees_with_differences(data):
    """Threshold, delay and spike noise held fixed; rounding off, so that there is something to differentiate."""
    network = chain(seed=2)
    drawn = HardwareNoise(replace(FULL, spike_jitter=0.2), network, 4).of_update(0)
    conditions, n = drawn.conditions(0, 12), 12
    events, labels = input_events(data.train.spikes[:n]), np.asarray(data.train.labels[:n])
    names = ("hidden.weight", "hidden.delay", "output.weight")

    def run(values, gradients):
        own = network.with_parameters(values)
        block = BlockGradient(own, gradients, [HardwareRunner(layer) for layer in own.layers])
        return block.run(events, labels, LOSS, conditions=conditions)

    values = {name: network.parameter(name) for name in names}
    gradients = {name: np.zeros_like(value) for name, value in values.items()}
    outcome = run(values, gradients)
    assert np.isfinite(outcome.losses).all()
    rng, step = np.random.default_rng(0), 1e-6
    for _ in range(5):
        along = {name: rng.normal(size=value.shape) for name, value in values.items()}
        ends = [run({k: v + sign * step * along[k] for k, v in values.items()}, {}).losses.sum() for sign in (-1, 1)]
        expected = (ends[1] - ends[0]) / (2 * step)
        found = sum((gradients[name] * along[name]).sum() for name in names)
        # rounding 1e-15/1e-6 of a loss of 10, and truncation of second order
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_gradient_goes_straight_through_rounding(data):
    network, step = chain(delays=False), 1 / 4
    rounded = network.with_parameters({k: np.rint(w / step) * step for k, w in network.parameters().items()})
    expected = loss_and_grad(rounded, data.train.spikes, data.train.labels, LOSS)[1].parameters
    one = trainer(Hardware(weight_step=step), network=network, batch_size=120, max_dw_norm=None, optimizer=SGD(0.01))
    one.fit(data.train, None, 1, progress=False)
    for name, before in network.parameters().items():
        # sums over samples in another order
        assert np.abs(before - one.network.parameter(name) - 0.01 * expected[name]).max() <= 1e-13


def test_gradient_of_folded_thresholds_is_that_of_thresholds(data):
    """Noise on thresholds is taken as a scale of the weights where it can be; the same update either way."""
    network = chain(delays=False)
    hardware = Hardware(threshold_noise=ThresholdNoise(fixed_mean=0.1, fixed_std=0.1))
    one = trainer(hardware, network=network, batch_size=120, max_dw_norm=None, optimizer=SGD(0.01))
    chip = one.hardware_network
    expected = loss_and_grad(chip, data.train.spikes, data.train.labels, LOSS)[1].parameters
    one.fit(data.train, None, 1, progress=False)
    for name, before in network.parameters().items():
        change = before - one.network.parameter(name)
        # the scaled weights are rounded: a few 1e-16 in them, and what the spike times make of it
        assert np.abs(change - 0.01 * expected[name]).max() <= 1e-10 * np.abs(change).max()


def test_weights_are_clamped_from_the_start_and_after_every_update(data):
    network = chain().with_parameters(
        {"output.weight": chain().weights[1] - 1.0, "hidden.weight": chain().weights[0] - 0.6}
    )
    assert np.abs(network.weights[0]).max() > 2.0
    bumping = WeightBumping(size=0.5, max_silent_fraction=0.0)
    one = trainer(Hardware(weight_max={"hidden": 1.2}), network=network, silent=bumping)
    assert np.abs(one.network.weights[0]).max() == 1.2
    one.fit(data.train, None, 2, progress=False)
    assert one.history[0].n_bumped > 0
    assert np.abs(one.network.weights[0]).max() == 1.2
    assert np.abs(one.network.weights[1]).max() > 1.2


def test_float32_weights_stay_on_their_levels(data):
    one = trainer(FULL, network=chain(np.float32))
    one.fit(data.train, data.valid, 1, progress=False)
    for weight in one.hardware_network.weights:
        assert weight.dtype == np.float32
        assert np.abs(weight).max() <= 2.0
        assert (weight * 16 == np.rint(weight * 16)).all()


def test_euler_forward_trains_towards_what_the_exact_one_does(data):
    exact, euler = trainer(None), trainer(Hardware(euler=EulerForward(0.002, 6.0)))
    for one in (exact, euler):
        one.fit(data.train, None, 3, progress=False)
    moved = [(w - v) for w, v in zip(exact.network.weights, chain().weights, strict=True)]
    apart = [(w - v) for w, v in zip(exact.network.weights, euler.network.weights, strict=True)]
    for a, m in zip(apart, moved, strict=True):
        # Adam makes steps of one size out of all gradients but the smallest, whose sign a grid can turn
        assert np.sqrt((a**2).mean()) < 0.3 * np.sqrt((m**2).mean())
    times = euler.predict(data.test.spikes).outputs
    steps = times[np.isfinite(times)] / 0.002
    assert np.abs(steps - np.rint(steps)).max() < 1e-6  # on the grid


@pytest.mark.parametrize("hardware", [FULL, Hardware(euler=EulerForward(0.02, 5.0)), Hardware(gradient_tau_ratio=1.0)])
def test_the_hinge_wakes_silent_neurons_under_hardware(data, hardware):
    network = chain().with_parameters({"hidden.weight": 0.2 * chain().weights[0]})
    one = trainer(hardware, network=network, silent=SilentHinge(strength=1.0), optimizer=Adam(0.05))
    one.fit(data.train, None, 12, progress=False)
    silent = [m.silent_hidden for m in one.history]
    assert silent[0] > 0.9
    assert silent[-1] < 0.5


def test_trainer_refuses_what_hardware_cannot_be(data):
    lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    many = Sequential([Dense(np.ones((4, 3))), LIF(tau_mem=2.0, tau_syn=1.0)])
    biased = Sequential([Dense(np.ones((4, 3))), replace(lif, i_bias=0.5)])
    cases = [
        ("only for a Sequential whose neurons fire at most once", lambda: trainer(FULL, network=many)),
        ("only for a Sequential", lambda: trainer(FULL, t_max=3.0)),
        ("only for a Sequential", lambda: trainer(FULL, network=chain().as_network(), max_dw_norm=None)),
        (r"Hardware\.spike_jitter: no population 'hiden'", lambda: trainer(Hardware(spike_jitter={"hiden": 0.1}))),
        (
            r"Hardware\.euler: for neurons without bias",
            lambda: trainer(Hardware(euler=EulerForward(0.1, 1)), network=biased),
        ),
        (r"EulerForward\.dt must be < all time constants", lambda: trainer(Hardware(euler=EulerForward(1.0, 9.0)))),
        ("hardware: not with a clock", lambda: trainer(FULL, clock=Clock(5), max_dw_norm=None)),
        ("noise_seed=3 is for a Trainer with hardware", lambda: trainer(None).predict(data.test.spikes, noise_seed=3)),
        ("noise_seed: must be an integer", lambda: trainer(FULL).evaluate(data.test, noise_seed=-1)),
        ("written with hardware", lambda: trainer(None).load_state_dict(trainer(FULL).state_dict())),
        ("written without hardware", lambda: trainer(FULL).load_state_dict(trainer(None).state_dict())),
    ]
    for message, call in cases:
        with pytest.raises(ValidationError, match=message):
            call()
