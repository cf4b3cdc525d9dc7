import numpy as np
import pytest

from eventsnn import ValidationError
from eventsnn.datasets import load_delayed_match


def test_load_delayed_match_shows_what_the_labels_say():
    data = load_delayed_match(tau_syn=2.0, n_symbols=3, n_channels=4, width=2.0, pause=5.0, jitter=0.0)
    assert (data.n_inputs, data.class_names) == (12, ("different", "match"))
    for part in (data.train, data.valid, data.test):
        np.testing.assert_array_equal(part.labels == 1, part.values[:, 0] == part.values[:, 1])
        assert part.labels.sum() == len(part) // 2
        for k in (0, 7):
            own = part.spikes[k]
            shown = [np.unique(own.neurons[half] // 4) for half in (own.times < 4.0, own.times >= 14.0)]
            assert [s.tolist() for s in shown] == [[v] for v in part.values[k]]
            # units of tau_syn = 2: shown for 4, channel after channel, a pause of 10, shown for 4
            np.testing.assert_allclose(np.sort(own.times), [0.5, 1.5, 2.5, 3.5, 14.5, 15.5, 16.5, 17.5])


def test_load_delayed_match_tells_nothing_by_one_symbol():
    """Either symbol is about as frequent in both classes: 4,000 draws, five standard deviations."""
    part = load_delayed_match(n_train=4000).train
    for k in (0, 1):
        for symbol in range(4):
            share = part.labels[part.values[:, k] == symbol].mean()
            assert share == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(1000))


def test_load_delayed_match_depends_on_its_seed_only():
    assert load_delayed_match().test.spikes == load_delayed_match().test.spikes
    assert load_delayed_match().test.spikes != load_delayed_match(seed=1).test.spikes


def test_load_delayed_match_refuses_bad_input():
    with pytest.raises(ValidationError, match="needs 2 symbols and 1 channel at least, got 1 and 5"):
        load_delayed_match(n_symbols=1)
    for name, value in [("pause", -1.0), ("width", 0.0), ("jitter", np.inf), ("n_train", 1.0), ("seed", -1)]:
        with pytest.raises(ValidationError, match=f"load_delayed_match.{name}"):
            load_delayed_match(**{name: value})
