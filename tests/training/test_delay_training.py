"""The trainer with learned delays: their range and groups are kept, prices work, the same bits always."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import (
    LIF,
    Adam,
    ClippedDelay,
    DelayL2,
    Dense,
    FirstSpikeCrossEntropy,
    LearnedDelay,
    Network,
    Population,
    Projection,
    ShiftedDelay,
    SigmoidDelay,
    Spikes,
    Trainer,
    ValidationError,
)

LOSS = FirstSpikeCrossEntropy(xi=0.2)


def network(delay=0.5, second=0.0, seed=0):
    rng = np.random.default_rng(seed)
    cell = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    return Network(
        {"input": 4},
        {"hidden": Population(cell, 6), "output": Population(cell, 2)},
        [
            Projection("input", "hidden", Dense(rng.normal(3.0, 1.5, (4, 6)), delay)),
            Projection("hidden", "output", Dense(rng.normal(1.5, 0.5, (6, 2)), second)),
        ],
    )


class Data:
    """Two classes: channels 0 and 1 before 2 and 3, or after."""

    def __init__(self, n=80):
        rng = np.random.default_rng(1)
        self.labels = rng.integers(0, 2, n)
        early = np.array([[True, True, False, False], [False, False, True, True]])[self.labels]
        times = np.where(early, 0.0, 1.0) + rng.uniform(0.0, 0.8, (n, 4))
        samples, neurons = np.divmod(np.arange(4 * n), 4)
        self.spikes = Spikes(samples, neurons, times.ravel(), n_samples=n, n_neurons=4)


def trained(net, learn, n_epochs=2, rate=0.05, **settings):
    own = Trainer(net, LOSS, Adam(rate), seed=1, batch_size=32, learn=learn, **settings)
    own.fit(Data(), None, n_epochs, progress=False)
    return own


@pytest.mark.parametrize("positivity", [SigmoidDelay(scale=1.5, shift=0.2), ClippedDelay(), ShiftedDelay()], ids=repr)
def test_delays_keep_their_range_and_their_groups(positivity):
    learned = LearnedDelay(rate=40.0, positivity=positivity, shared_pre=2, shared_post=3)
    own = trained(network(np.full((4, 6), 0.5)), {"weight": 1.0, "input->hidden.delay": learned})
    delay = own.network.parameter("input->hidden.delay")
    np.testing.assert_array_equal(delay, np.tile(delay[:2, :2], (2, 3)))
    assert np.unique(delay).size > 1
    if isinstance(positivity, SigmoidDelay):
        assert ((delay >= 0.2) & (delay <= 1.7)).all()
    else:
        assert delay.min() == 0.0  # steps of two tau_syn: some went below
    assert own.state_dict()["weights"]["input->hidden.delay"].shape == (2, 2)


def test_delays_alone_learn():
    """Weights stay: what is gained comes from the delays."""
    net = network(np.random.default_rng(2).uniform(0.2, 1.0, (4, 6)))
    own = trained(net, {"delay": LearnedDelay(positivity=SigmoidDelay(scale=2.0))}, n_epochs=15)
    assert own.history[-1].train_loss < 0.8 * own.history[0].train_loss
    np.testing.assert_array_equal(own.network.parameter("input->hidden.weight"), net.parameter("input->hidden.weight"))
    assert own.network.parameter("hidden->output.delay") == 0.0  # was given none


@pytest.mark.parametrize("of", ["delay", "raw"])
def test_a_price_shortens_delays_and_counts_as_loss(of):
    learned = LearnedDelay(positivity=SigmoidDelay(scale=2.0)) if of == "delay" else LearnedDelay()
    delay = np.random.default_rng(2).uniform(0.4, 1.0, (4, 1))
    free, priced = (
        trained(network(delay), {"delay": learned}, regularizers=prices) for prices in ([], [DelayL2(5.0, of)])
    )
    assert (
        priced.network.parameter("input->hidden.delay").mean()
        < free.network.parameter("input->hidden.delay").mean() - 0.1
    )
    one = Trainer(network(delay), LOSS, Adam(1e-12), seed=1, batch_size=100, learn={"delay": learned})
    one.fit(Data(), None, 1, progress=False)
    other = Trainer(network(delay), LOSS, Adam(1e-12), seed=1, batch_size=100, learn={"delay": learned},
                    regularizers=[DelayL2(5.0, of)])  # fmt: skip
    other.fit(Data(), None, 1, progress=False)
    extra = other.history[0].train_loss - one.history[0].train_loss
    assert extra == pytest.approx(5.0 * (delay**2).mean(), rel=1e-10)


def test_the_same_bits_for_any_number_of_threads_and_after_a_savepoint():
    learn = {"weight": 1.0, "delay": LearnedDelay(2.0, SigmoidDelay(), shared_pre=2)}
    settings = {"regularizers": [DelayL2(0.1)], "time_noise": 0.1}
    net, found = network(np.full((4, 1), 0.5)), []
    for n_threads in (1, 2):
        found.append(trained(net, learn, n_threads=n_threads, **settings).state_dict()["weights"])
    half = trained(net, learn, n_epochs=1, **settings)
    resumed = trained(net, learn, n_epochs=0, **settings)
    resumed.load_state_dict(half.state_dict())
    resumed.fit(Data(), None, 2, progress=False)
    found.append(resumed.state_dict()["weights"])
    for other in found[1:]:
        for name, array in found[0].items():
            np.testing.assert_array_equal(array, other[name])


@pytest.mark.parametrize(
    ("learn", "settings", "message"),
    [
        ({"weight": LearnedDelay()}, {}, r"Trainer.learn\['weight'\]: LearnedDelay is for delays; give a number"),
        ({"input->hidden.delay": LearnedDelay(-0.0)}, {}, "leaves nothing to learn"),
        ({"delay": LearnedDelay(shared_pre=4)}, {}, "input->hidden.delay: .* shape .* cannot be shared"),
        ({"delay": LearnedDelay(positivity=SigmoidDelay(0.4))}, {}, "cannot give a delay of 0.5 tau_syn"),
        ({"hidden->output.delay": LearnedDelay(positivity=SigmoidDelay())}, {}, "cannot give a delay of 0 tau_syn"),
        ({"weight": 1.0}, {"regularizers": [DelayL2(1.0)]}, "DelayL2 needs delays that are learned"),
    ],
)
def test_what_does_not_fit_is_named(learn, settings, message):
    with pytest.raises(ValidationError, match=message):
        Trainer(network(), LOSS, Adam(0.01), seed=0, learn=learn, **settings)
