"""Exact training of networks with convolutions: they learn, go on with the same bits, and say what they do not take."""

import numpy as np
import pytest

from eventsnn import (
    LI,
    LIF,
    Adam,
    AvgPool2d,
    Conv2d,
    Dense,
    FirstSpikeCrossEntropy,
    Hardware,
    MaxPool2d,
    MaxVoltageCrossEntropy,
    Sequential,
    SilentHinge,
    Trainer,
    ValidationError,
    WeightBumping,
)
from eventsnn.datasets import load_mnist
from eventsnn.datasets.base import Split
from eventsnn.training.first_spike_model import FirstSpikeModel
from eventsnn.training.models import ChainModel, GraphModel

TAU = 5e-3
ONCE = LIF(tau_mem=2 * TAU, tau_syn=TAU, max_spikes=1)
MANY = LIF(tau_mem=2 * TAU, tau_syn=TAU)
LOSS = FirstSpikeCrossEntropy(xi=0.3)


@pytest.fixture(scope="module")
def images():
    return load_mnist(16, tau_syn=TAU, n_train=400, n_valid=50, n_test=50)


def part(split, n):
    return Split(split.spikes[:n], split.labels[:n])


def network(pool=None, neuron=ONCE, readout=None, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    first = Conv2d.normal((16, 16, 1), 6, 5, mean=0.4, std=0.4, rng=rng, stride=2)
    parts, shape = [first, neuron], first.out_shape
    if pool is not None:
        parts.append(pool(shape))
        shape = parts[-1].out_shape
    scale = 1.0 if pool is None else 3.0
    last = Dense.normal(int(np.prod(shape)), 10, mean=0.05 * scale, std=0.12 * scale, rng=rng)
    return Sequential([*parts, last, readout or neuron]).astype(dtype)


def first_spike_pool(shape):
    return MaxPool2d(shape, 2, rule="first_spike")


def average_pool(shape):
    return AvgPool2d(shape, 2)


@pytest.mark.parametrize(("pool", "n_epochs"), [(None, 6), (average_pool, 10), (first_spike_pool, 10)])
def test_a_first_spike_network_learns_digits(images, pool, n_epochs):
    trainer = Trainer(network(pool), LOSS, Adam(1e-2), seed=1, batch_size=40, silent=SilentHinge())
    assert isinstance(trainer._model, FirstSpikeModel)
    before = trainer.evaluate(images.train)
    history = trainer.fit(images.train, None, n_epochs, progress=False)
    after = trainer.evaluate(images.train)
    assert history[-1].train_loss < 0.75 * history[0].train_loss
    assert after.accuracy > before.accuracy + 0.4  # ten classes; 400 images a few times


def test_a_chain_with_a_readout_learns_by_eventprop(images):
    net = network(average_pool, MANY, LI(tau_mem=2 * TAU, tau_syn=TAU))
    trainer = Trainer(net, MaxVoltageCrossEntropy(), Adam(1e-2), seed=1, batch_size=40, t_max=6 * TAU)
    assert isinstance(trainer._model, ChainModel)
    history = trainer.fit(images.train, None, 6, progress=False)
    assert history[-1].train_loss < 0.85 * history[0].train_loss
    assert trainer.evaluate(images.train).accuracy > 0.4


def test_the_trainer_of_a_network_makes_the_step_of_the_chain(images):
    split = part(images.train, 20)
    found = []
    for net in (network(dtype=np.float64), network(dtype=np.float64).as_network()):
        trainer = Trainer(net, LOSS, Adam(1e-3), seed=1, batch_size=20, silent=None)
        trainer.fit(split, None, 1, progress=False)
        found.append([np.array(own) for own in trainer.network.parameters().values()])
    assert isinstance(trainer._model, GraphModel)
    for own, other in zip(*found, strict=True):
        assert own.shape == other.shape
        # the sign of a tiny gradient decides an Adam step; entries with a real one agree
        np.testing.assert_allclose(own, other, rtol=1e-6, atol=1e-9)


def test_bits_depend_on_neither_threads_nor_a_stop(images):
    split, found = part(images.train, 80), []
    for n_threads in (1, 2):
        trainer = Trainer(network(first_spike_pool), LOSS, Adam(1e-3), seed=1, batch_size=40, n_threads=n_threads)
        trainer.fit(split, None, 2, progress=False)
        found.append([own.copy() for own in trainer.network.parameters().values()])
    first = Trainer(network(first_spike_pool), LOSS, Adam(1e-3), seed=1, batch_size=40)
    first.fit(split, None, 1, progress=False)
    second = Trainer(network(first_spike_pool), LOSS, Adam(1e-3), seed=1, batch_size=40)
    second.load_state_dict(first.state_dict())
    second.fit(split, None, 2, progress=False)
    found.append(list(second.network.parameters().values()))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


def test_an_average_before_neurons_has_nothing_to_learn(images):
    rng = np.random.default_rng(3)
    pool = AvgPool2d((16, 16, 1), 2)
    last = Dense.normal(64, 10, mean=0.3, std=0.3, rng=rng)
    cell = LIF(tau_mem=2 * TAU, tau_syn=TAU, v_threshold=0.15, max_spikes=1)
    trainer = Trainer(Sequential([pool, cell, last, ONCE]), LOSS, Adam(3e-3), seed=1, batch_size=40)
    history = trainer.fit(part(images.train, 200), None, 4, progress=False)
    assert list(trainer.network.parameters()) == ["output.weight"]
    assert history[-1].train_loss < 0.95 * history[0].train_loss


def test_bumping_raises_the_channels_with_silent_neurons(images):
    net = network(dtype=np.float64)
    weight = net.layers[0].connection.weight
    weight[..., 2] = -1.0  # channel 2 is silent
    weight[..., 0] = 3.0
    before = weight.copy()
    bump = WeightBumping(size=0.25, max_silent_fraction=0.0, exponential=False)
    state = bump.start([216, 10])
    fractions = [np.zeros((36, 6)), np.zeros(10)]
    fractions[0][3, 2] = 0.5
    assert bump.bump(state, [fractions[0].ravel(), fractions[1]], [weight, None]) == 0
    np.testing.assert_array_equal(weight - before, np.broadcast_to([0, 0, 0.25, 0, 0, 0], weight.shape))
    trainer = Trainer(net, LOSS, Adam(1e-3), seed=1, batch_size=40, silent=bump)
    trainer.fit(part(images.train, 40), None, 1, progress=False)


def test_hardware_is_refused_by_name():
    with pytest.raises(ValidationError, match=r"Trainer\.hardware: population 'hidden'.*Conv2d.*Dense"):
        Trainer(network(), LOSS, Adam(1e-3), seed=1, batch_size=40, hardware=Hardware())
