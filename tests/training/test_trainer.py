"""Whole training runs: they learn, and nothing but the configuration decides their bits."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from eventsnn import (
    LIF,
    SGD,
    Adam,
    CheckpointError,
    Constant,
    CosineDecay,
    Dense,
    FirstSpikeCrossEntropy,
    FirstSpikeMSE,
    Sequential,
    SilentHinge,
    SimulationError,
    Spikes,
    Trainer,
    ValidationError,
    WeightBumping,
    loss_and_grad,
    simulate,
)
from eventsnn.datasets import load_xor
from eventsnn.datasets.base import Split

TAU_SYN = 5e-3
LOSS = FirstSpikeCrossEntropy(xi=0.3)


@pytest.fixture(scope="module")
def xor():
    return load_xor(tau_syn=TAU_SYN, jitter=0.05, n_train=300, n_valid=60, n_test=60, seed=3)


def network(seed=0, n_hidden=16, dtype=np.float64):
    rng = np.random.default_rng(seed)
    lif = LIF(tau_mem=2 * TAU_SYN, tau_syn=TAU_SYN, max_spikes=1)
    hidden = Dense.normal(3, n_hidden, mean=2.0, std=2.0, rng=rng)
    output = Dense.normal(n_hidden, 2, mean=1.0, std=0.8, rng=rng)
    return Sequential([hidden, lif, output, lif]).astype(dtype)


def trainer(net=None, *, optimizer=None, **settings):
    settings = {"seed": 1, "batch_size": 32} | settings
    return Trainer(net or network(), settings.pop("loss", LOSS), optimizer or Adam(5e-3), **settings)


#: everything that has a state or draws random numbers
FULL = {
    "schedule": CosineDecay(6, warmup=0.5), "silent": SilentHinge(max_silent_fraction=0.1), "time_noise": 0.1 * TAU_SYN,
    "max_dw_norm": 0.2, "min_slope": 0.05, "batch_size": 70,
}  # fmt: skip


def same_bits(a, b):
    """Whether two state dicts agree in everything but times measured by the clock."""
    if isinstance(a, dict):
        return set(a) == set(b) and all(same_bits(a[k], b[k]) for k in a if k not in ("seconds", "samples_per_second"))
    if isinstance(a, list):
        return len(a) == len(b) and all(same_bits(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(a, b)


@pytest.mark.parametrize("silent", [SilentHinge(), WeightBumping(size=0.01), None], ids=repr)
def test_fit_learns_xor(xor, silent):
    own = trainer(silent=silent)
    start = own.evaluate(xor.test)
    history = own.fit(xor.train, xor.valid, 30, progress=False)
    assert own.epoch == len(history) == 30
    assert [m.epoch for m in history] == list(range(1, 31))
    assert history[-1].train_loss < 0.5 * history[0].train_loss
    assert start.accuracy < 0.9
    assert history[-1].valid_accuracy == own.evaluate(xor.valid).accuracy
    assert own.evaluate(xor.test).accuracy == 1.0
    assert own.evaluate(xor.test).n_silent_outputs == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("silent", [FULL["silent"], WeightBumping(size=0.01, max_silent_fraction=0.2)], ids=repr)
def test_fit_gives_the_same_bits_for_any_number_of_threads(xor, silent, dtype):
    states = []
    for n_threads in (1, 2, 3):
        own = trainer(network(dtype=dtype), **(FULL | {"silent": silent, "n_threads": n_threads, "batch_size": 150}))
        own.fit(xor.train, xor.valid, 2, progress=False)
        states.append(own.state_dict())
    assert same_bits(states[0], states[1])
    assert same_bits(states[0], states[2])
    assert states[0]["weights"]["hidden.weight"].dtype == dtype


def test_fit_depends_on_the_seed(xor):
    states = []
    for seed in (1, 1, 2):
        own = trainer(**(FULL | {"seed": seed}))
        own.fit(xor.train, None, 1, progress=False)
        states.append(own.state_dict())
    assert same_bits(states[0], states[1])
    assert not np.array_equal(states[0]["weights"]["hidden.weight"], states[2]["weights"]["hidden.weight"])


@pytest.mark.parametrize("optimizer", [SGD(1e-3, momentum=0.9), Adam(5e-3, amsgrad=True)], ids=repr)
@pytest.mark.parametrize("silent", [FULL["silent"], WeightBumping(size=0.01, max_silent_fraction=0.2), None], ids=repr)
def test_state_dict_goes_on_with_the_same_bits(xor, silent, optimizer):
    settings = FULL | {"silent": silent}
    whole = trainer(optimizer=optimizer, **settings)
    saved = {}

    def keep(own, metrics):
        saved[metrics.epoch] = own.state_dict()

    whole.fit(xor.train, xor.valid, 4, progress=False, on_epoch=keep)
    for epoch in (1, 3):
        before = copy.deepcopy(saved[epoch])
        again = trainer(network(seed=99), optimizer=optimizer, **(settings | {"seed": 99}))
        again.load_state_dict(saved[epoch])
        assert again.epoch == epoch
        again.fit(xor.train, xor.valid, 4, progress=False)
        assert same_bits(again.state_dict(), whole.state_dict())
        assert same_bits(saved[epoch], before)  # the state was copied, not shared


def test_load_state_dict_refuses_other_configurations(xor):
    state = trainer().state_dict()
    with pytest.raises(ValidationError, match="do not fit the network"):
        trainer(network(n_hidden=8)).load_state_dict(state)
    with pytest.raises(ValidationError, match="another treatment of silent neurons"):
        trainer(silent=None).load_state_dict(state)
    with pytest.raises(CheckpointError, match="written by Adam"):
        trainer(optimizer=SGD(0.1)).load_state_dict(state)


# -- one batch against the gradient ---------------------------------------------------------------------------------


def test_fit_makes_one_step_along_the_gradient(xor):
    # A batch larger than the data: one update per epoch with all samples, the last block smaller than the others.
    net = network()
    rate = 1e-3
    own = trainer(net, optimizer=SGD(rate), silent=None, batch_size=1000)
    (metrics,) = own.fit(xor.train, None, 1, progress=False)
    value, gradients = loss_and_grad(net, xor.train.spikes, xor.train.labels, LOSS)
    assert metrics.train_loss == pytest.approx(value, rel=1e-12)
    assert metrics.valid_loss is None
    assert metrics.valid_accuracy is None
    assert metrics.n_clipped == 0
    for name, weight in own.network.parameters().items():
        before = net.parameters()[name]
        # The order of the sum over 300 samples differs.
        assert np.allclose(weight - before, -rate * gradients.parameters[name], rtol=1e-9, atol=1e-15)
        assert not np.array_equal(weight, before)  # the caller's network is left alone


def test_fit_reports_what_it_saw(xor):
    net = network()
    own = trainer(net, optimizer=SGD(1e-30), silent=None, batch_size=64, max_dw_norm=1e-9)
    (metrics,) = own.fit(xor.train, xor.valid, 1, progress=False)
    result = simulate(net, xor.train.spikes)
    assert metrics.silent_hidden == pytest.approx(np.isinf(result.first_times("hidden")).mean(), rel=1e-12)
    outcome = own.evaluate(xor.train)
    assert metrics.train_accuracy == outcome.accuracy
    assert metrics.train_loss == pytest.approx(outcome.loss, rel=1e-12)
    assert metrics.valid_accuracy == own.evaluate(xor.valid).accuracy
    assert metrics.n_clipped > 0
    assert metrics.n_clipped <= 2 * 300  # per sample and layer
    assert metrics.learning_rate == 1e-30
    predictions = own.predict(xor.train.spikes)
    assert np.array_equal(predictions.outputs, result.first_times("output"))
    assert (predictions.labels == xor.train.labels).mean() == metrics.train_accuracy


def test_fit_bounds_the_gradients_of_grazing_spikes(xor):
    # One step of SGD each: a floor far above all slopes shortens every gradient, one far below changes nothing.
    weights = {}
    for floor in (0.0, 1e-9, 100.0):
        own = trainer(optimizer=SGD(1e-3), silent=None, batch_size=1000, min_slope=floor)
        own.fit(xor.train, None, 1, progress=False)
        weights[floor] = own.network.weights[1]
    start = network().weights[1]
    assert np.array_equal(weights[0.0], weights[1e-9])
    assert np.linalg.norm(weights[100.0] - start) < 0.1 * np.linalg.norm(weights[0.0] - start)


def test_fit_leaves_out_the_update_of_bumped_layers(xor):
    net = network()
    # Every limit is missed by the first layer: it is bumped as a whole and nothing else moves.
    bumping = WeightBumping(size=0.125, max_silent_fraction=0.0, targeted=False, exponential=False)
    own = trainer(net, optimizer=Adam(0.1), silent=bumping, batch_size=1000)
    assert np.isinf(simulate(net, xor.train.spikes).first_times("hidden")).any()
    (metrics,) = own.fit(xor.train, None, 1, progress=False)
    assert metrics.n_bumped == 1
    assert np.array_equal(own.network.weights[0], net.weights[0] + 0.125)
    assert np.array_equal(own.network.weights[1], net.weights[1])
    # Momentum of an update before must not move a bumped layer either.
    unbumped = WeightBumping(max_silent_fraction=1.0)
    own = trainer(net, optimizer=SGD(1e-3, momentum=0.9), silent=unbumped, batch_size=1000)
    own.fit(xor.train, None, 1, progress=False)
    own.silent = bumping
    before = [w.copy() for w in own.network.weights]
    own.fit(xor.train, None, 2, progress=False)
    assert np.array_equal(own.network.weights[0], before[0] + 0.125)
    assert np.array_equal(own.network.weights[1], before[1])


def test_fit_counts_epochs_in_all(xor):
    own = trainer()
    calls = []
    own.fit(xor.train, None, 2, progress=False, on_epoch=lambda t, m: calls.append((t is own, m.epoch)))
    assert own.fit(xor.train, None, 2, progress=False) == own.history
    own.fit(xor.train, None, 3, progress=False)
    assert own.epoch == 3
    assert calls == [(True, 1), (True, 2)]


def test_fit_shows_a_bar(xor, capsys):
    trainer().fit(xor.train, xor.valid, 1)
    shown = capsys.readouterr().err
    assert "epoch 1/1" in shown
    assert "accuracy" in shown
    assert "samples/s" in shown
    assert "valid" in shown


def test_fit_brings_silent_outputs_back(xor):
    dead = network()
    dead = dead.with_parameters({k: 0.2 * w for k, w in dead.parameters().items()})
    assert trainer(dead).evaluate(xor.test).n_silent_outputs == 60
    own = trainer(dead, optimizer=Adam(0.02), silent=SilentHinge(strength=0.1))
    history = own.fit(xor.train, None, 20, progress=False)
    assert history[0].silent_hidden > 0.9
    assert history[-1].silent_hidden < 0.5
    assert own.evaluate(xor.test).n_silent_outputs <= 15  # 0 .. 4 from epoch 15 to 35
    bumped = trainer(dead, silent=WeightBumping(size=0.01))
    assert bumped.fit(xor.train, None, 15, progress=False)[0].n_bumped > 0
    assert bumped.evaluate(xor.test).n_silent_outputs == 0
    left = trainer(dead, silent=None)
    left.fit(xor.train, None, 2, progress=False)
    assert left.evaluate(xor.test).n_silent_outputs == 60
    assert all(np.array_equal(a, b) for a, b in zip(left.network.weights, dead.weights, strict=True))


def test_fit_takes_samples_without_a_spike():
    times = np.full((10, 3), np.inf)
    times[::2] = [0.1 * TAU_SYN, 0.3 * TAU_SYN, 0.2 * TAU_SYN]
    split = Split(Spikes.from_first_times(times), np.zeros(10, np.int64))
    own = trainer(**FULL)
    own.fit(split, split, 2, progress=False)
    assert own.predict(split.spikes).labels[1::2].tolist() == [-1] * 5
    assert math.isfinite(own.history[-1].train_loss)


class OnlyAfter(Constant):
    """Learning rate 0 up to an epoch."""

    def __init__(self, epoch):
        object.__setattr__(self, "epoch", epoch)

    def factor(self, progress):
        return float(progress >= self.epoch)


# -- interruptions --------------------------------------------------------------------------------------------------


class Interrupted(FirstSpikeMSE):
    """Raises at the n-th call."""

    calls = 0
    at = -1

    def value_and_grad(self, times, labels, tau_syn):
        type(self).calls += 1
        if type(self).calls == type(self).at:
            raise KeyboardInterrupt
        return super().value_and_grad(times, labels, tau_syn)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("late_by", [1, 2, 5, 11])  # blocks into the second epoch; the last one is in the validation
def test_fit_goes_back_to_the_last_epoch_on_an_interrupt(xor, monkeypatch, late_by, n_threads):
    settings = FULL | {"loss": FirstSpikeMSE(t_correct=1.0, t_wrong=2.0), "n_threads": n_threads}
    whole = trainer(**settings)
    whole.fit(xor.train, xor.valid, 1, progress=False)
    one_epoch = whole.state_dict()
    whole.fit(xor.train, xor.valid, 3, progress=False)

    monkeypatch.setattr(Interrupted, "calls", 0)
    monkeypatch.setattr(Interrupted, "at", -1)
    own = trainer(**(settings | {"loss": Interrupted(t_correct=1.0, t_wrong=2.0)}))
    own.fit(xor.train, xor.valid, 1, progress=False)
    monkeypatch.setattr(Interrupted, "at", Interrupted.calls + late_by)
    with pytest.raises(KeyboardInterrupt):
        own.fit(xor.train, xor.valid, 3, progress=False)
    assert own.epoch == 1
    assert same_bits(own.state_dict(), one_epoch)
    own.fit(xor.train, xor.valid, 3, progress=False)
    assert same_bits(own.state_dict(), whole.state_dict())


def test_fit_goes_back_on_an_interrupt_after_the_last_batch(xor, monkeypatch):
    # The epoch is over, its metrics are not yet in the history.
    own = trainer(**FULL)
    own.fit(xor.train, None, 1, progress=False)
    before = own.state_dict()
    right = Trainer._run_epoch

    def interrupted(self, *args):
        right(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        own.fit(xor.train, None, 2, progress=False)
    assert same_bits(own.state_dict(), before)


def test_fit_goes_back_on_an_interrupt_while_the_history_grows(xor):
    own = trainer(**FULL)
    own.fit(xor.train, None, 1, progress=False)
    before = own.state_dict()

    class Full(list):
        def append(self, metrics):
            super().append(metrics)
            raise KeyboardInterrupt

    own.history = Full(own.history)
    with pytest.raises(KeyboardInterrupt):
        own.fit(xor.train, None, 2, progress=False)
    assert same_bits(own.state_dict(), before)


def test_fit_keeps_the_epoch_when_on_epoch_raises(xor):
    own = trainer()

    def stop(_, metrics):
        if metrics.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        own.fit(xor.train, None, 5, progress=False, on_epoch=stop)
    assert own.epoch == 2
    assert own.history[-1].epoch == 2


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        (1000, "epoch 2: training diverged.*hidden.weight.*not finite.*lower training.learning_rate"),
        (32, "the membrane potential is not finite"),  # seen by the next batch
    ],
)
@pytest.mark.parametrize("optimizer", [SGD(3e38), Adam(3e38)], ids=repr)
def test_fit_names_a_diverged_training(xor, optimizer, batch_size, message):
    # In float32 one such step overflows; Adam's rate is inf already.
    own = trainer(
        network(dtype=np.float32), optimizer=optimizer, batch_size=batch_size,
        loss=FirstSpikeMSE(t_correct=1e3, t_wrong=2e3), schedule=OnlyAfter(1),
    )  # fmt: skip
    own.fit(xor.train, None, 1, progress=False)
    before = own.state_dict()
    with pytest.raises(SimulationError, match=message):
        own.fit(xor.train, None, 5, progress=False)
    assert own.epoch == 1
    assert same_bits(own.state_dict(), before)


# -- bad input ------------------------------------------------------------------------------------------------------


def test_fit_takes_an_empty_validation_part(xor):
    empty = Split(xor.valid.spikes[:0], xor.valid.labels[:0])
    own = trainer()
    (metrics,) = own.fit(xor.train, empty, 1, progress=False)
    assert metrics.valid_loss is None
    assert metrics.valid_accuracy is None
    with pytest.raises(ValidationError, match="the batch is empty"):
        own.evaluate(empty)
    with pytest.raises(ValidationError, match="the batch is empty"):
        own.fit(empty, None, 2, progress=False)
    assert own.predict(empty.spikes).outputs.shape == (0, 2)


def test_fit_refuses_data_that_do_not_fit(xor):
    own = trainer()
    wide = Split(Spikes([], [], [], n_samples=2, n_neurons=4), np.zeros(2, np.int64))
    wrong = Split(xor.valid.spikes, xor.valid.labels + 1)
    for bad, message in ((wide, "n_neurons=4, but the network has 3"), (wrong, "must lie in 0 .. 1")):
        with pytest.raises(ValidationError, match=message):
            own.fit(bad, None, 1, progress=False)
        with pytest.raises(ValidationError, match=message):
            own.fit(xor.train, bad, 1, progress=False)
        with pytest.raises(ValidationError, match=message):
            own.evaluate(bad)
    with pytest.raises(ValidationError, match="n_neurons=4"):
        own.predict(wide.spikes)
    assert own.epoch == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "Trainer.batch_size: must be an integer >= 1, got 0"),
        ({"batch_size": 2.5}, "Trainer.batch_size"),
        ({"max_dw_norm": 0.0}, "Trainer.max_dw_norm: must be a finite number and > 0"),
        ({"max_dw_norm": math.nan}, "Trainer.max_dw_norm"),
        ({"min_slope": -1.0}, "Trainer.min_slope: must be >= 0"),
        ({"time_noise": math.inf}, "Trainer.time_noise: must be >= 0"),
        ({"silent": WeightBumping(max_silent_fraction=(0.1, 0.2, 0.3))}, "3 values for 2 layers"),
        ({"n_threads": 0}, "n_threads: must be an integer >= 1"),
    ],
)
def test_trainer_refuses_bad_settings(change, message):
    with pytest.raises(ValidationError, match=message):
        trainer(**change)
