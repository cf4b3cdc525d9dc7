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
    Sequential,
    ShiftedDelay,
    SigmoidDelay,
    Spikes,
    Trainer,
    ValidationError,
)

LOSS = FirstSpikeCrossEntropy(xi=0.2)


def chain(delay=0.5, second=0.0, seed=0):
    rng = np.random.default_rng(seed)
    cell = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    first, last = rng.normal(3.0, 1.5, (4, 6)), rng.normal(1.5, 0.5, (6, 2))
    return Sequential([Dense(first, delay), cell, Dense(last, second), cell])


def network(*arguments):
    return chain(*arguments).as_network()


#: the same network in closed form and by EventProp, and what its connections are called
KINDS = {"chain": (chain, "hidden", "output"), "network": (network, "input->hidden", "hidden->output")}
both_kinds = pytest.mark.parametrize("kind", KINDS)


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
    own = Trainer(net, LOSS, Adam(rate), seed=1, learn=learn, **({"batch_size": 32} | settings))
    own.fit(Data(), None, n_epochs, progress=False)
    return own


@pytest.mark.parametrize("positivity", [SigmoidDelay(scale=1.5, shift=0.2), ClippedDelay(), ShiftedDelay()], ids=repr)
@both_kinds
def test_delays_keep_their_range_and_their_groups(kind, positivity):
    make, first, _ = KINDS[kind]
    learned = LearnedDelay(rate=40.0, positivity=positivity, shared_pre=2, shared_post=3)
    own = trained(make(np.full((4, 6), 0.5)), {"weight": 1.0, f"{first}.delay": learned})
    delay = own.network.parameter(f"{first}.delay")
    np.testing.assert_array_equal(delay, np.tile(delay[:2, :2], (2, 3)))
    assert np.unique(delay).size > 1
    if isinstance(positivity, SigmoidDelay):
        assert ((delay >= 0.2) & (delay <= 1.7)).all()
    else:
        assert delay.min() == 0.0  # steps of two tau_syn: some went below
    assert own.state_dict()["weights"][f"{first}.delay"].shape == (2, 2)


@both_kinds
def test_delays_alone_learn(kind):
    """Weights stay: what is gained comes from the delays."""
    make, first, second = KINDS[kind]
    net = make(np.random.default_rng(2).uniform(0.2, 1.0, (4, 6)))
    own = trained(net, {"delay": LearnedDelay(positivity=SigmoidDelay(scale=2.0))}, n_epochs=15)
    assert own.history[-1].train_loss < 0.8 * own.history[0].train_loss
    np.testing.assert_array_equal(own.network.parameter(f"{first}.weight"), net.parameter(f"{first}.weight"))
    assert own.network.parameter(f"{second}.delay") == 0.0  # was given none


@pytest.mark.parametrize("of", ["delay", "raw"])
@both_kinds
def test_a_price_shortens_delays_and_counts_as_loss(kind, of):
    make, first, _ = KINDS[kind]
    learn = {"delay": LearnedDelay(positivity=SigmoidDelay(scale=2.0)) if of == "delay" else LearnedDelay()}
    delay, price = np.random.default_rng(2).uniform(0.4, 1.0, (4, 1)), DelayL2(5.0, of)
    free, priced = (trained(make(delay), learn, regularizers=terms) for terms in ([], [price]))
    means = [own.network.parameter(f"{first}.delay").mean() for own in (free, priced)]
    assert means[1] < means[0] - 0.1
    # One batch: its loss is that before the only step.
    losses = [trained(make(delay), learn, 1, regularizers=terms, batch_size=80).history[0].train_loss
              for terms in ([], [price])]  # fmt: skip
    assert losses[1] - losses[0] == pytest.approx(5.0 * (delay**2).mean(), rel=1e-10)
    values = priced.network.parameter(f"{first}.delay")
    plain = Trainer(priced.network, LOSS, Adam(0.1), seed=0).evaluate(Data()).loss
    assert priced.evaluate(Data()).loss == pytest.approx(plain + 5.0 * (values**2).mean(), rel=1e-10)


def test_a_chain_and_its_network_learn_the_same():
    """Closed form and EventProp: two ways to the same gradient, over a few steps."""
    delay = np.tile(np.random.default_rng(2).uniform(0.2, 1.0, (2, 6)), (2, 1))
    learn = {"weight": 1.0, "delay": LearnedDelay(2.0, SigmoidDelay(scale=2.0), shared_pre=2)}
    one, other = (
        trained(make(delay), learn, batch_size=20).state_dict()["weights"].values() for make, *_ in KINDS.values()
    )
    for own, by_eventprop in zip(one, other, strict=True):
        # rounding, which the quotient in Adam amplifies where a gradient is small
        np.testing.assert_allclose(own, by_eventprop, rtol=1e-7, atol=1e-9)


@both_kinds
def test_the_same_bits_for_any_number_of_threads_and_after_a_savepoint(kind):
    learn = {"weight": 1.0, "delay": LearnedDelay(2.0, SigmoidDelay(), shared_pre=2)}
    settings = {"regularizers": [DelayL2(0.1)], "time_noise": 0.1}
    net, found = KINDS[kind][0](np.full((4, 1), 0.5)), []
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


def test_a_chain_names_what_does_not_fit():
    for learn, message in [
        ({"hidden.delay": LearnedDelay()}, "hidden.delay is one number for all synapses"),
        ({"output.delay": LearnedDelay(positivity=SigmoidDelay(), shared_pre=4)}, "shared_pre is 4"),
        ({"output.delay": LearnedDelay(positivity=SigmoidDelay(0.4))}, "output.delay: .* cannot give a delay of 0.5"),
        ({"weight": LearnedDelay()}, r"Trainer.learn\['weight'\]: LearnedDelay is for delays"),
        ({"hiden.delay": 1.0}, "no parameter 'hiden.delay'; did you mean 'hidden.delay'"),
    ]:
        with pytest.raises(ValidationError, match=message):
            Trainer(chain(0.5, np.full((6, 1), 0.5)), LOSS, Adam(0.01), seed=0, learn=learn)
    with pytest.raises(ValidationError, match="DelayL2 needs delays that are learned"):
        Trainer(chain(), LOSS, Adam(0.01), seed=0, regularizers=[DelayL2(1.0)])


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
