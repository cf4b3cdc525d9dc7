from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsnn import ValidationError, encode_delta
from eventsnn.encoding import blocks


def signed(spikes, n_steps, dt=1.0):
    """Spikes on minus off, (n_samples, n_features, n_steps)."""
    grid = spikes.to_dense(dt, n_steps)
    n = grid.shape[1] // 2
    assert not (grid[:, :n] & grid[:, n:]).any()
    return grid[:, :n] - grid[:, n:]


def by_hand(signal, threshold, reference, initial):
    """What each step sends, for one feature, in fractions."""
    sent, before = [], signal[0] if initial is None else initial
    for x in signal:
        change = (x - before) / threshold
        if reference == "last_sent":
            move = int(change)  # towards zero
            before += move * threshold
        else:
            move = (change >= 1) - (change <= -1)
            before = x
        sent.append(move)
    return sent


@pytest.mark.parametrize("reference", ["last_sent", "last_step"])
@given(
    st.lists(st.integers(-40, 40), min_size=1, max_size=12),
    st.sampled_from([0.25, 0.375, 1.0, 3.0]),
    st.sampled_from([None, 0.0, -1.5]),
)
def test_encode_delta_is_the_rule_by_hand(reference, eighths, threshold, initial):
    # eighths: nothing is rounded up to the quotient, and a whole quotient is exact
    signal = [Fraction(k, 8) for k in eighths]
    start = None if initial is None else Fraction(initial)
    expected = by_hand(signal, Fraction(threshold), reference, start)
    spikes = encode_delta([[[float(x) for x in signal]]], threshold, reference=reference, initial=initial)
    assert signed(spikes, len(signal))[0, 0].tolist() == expected


def test_last_sent_follows_the_signal_within_a_threshold():
    signal = np.cumsum(np.random.default_rng(0).normal(size=(20, 6, 200)), axis=2)
    spikes = encode_delta(signal, 0.7)
    level = signal[:, :, :1] + 0.7 * np.cumsum(signed(spikes, 200), axis=2)
    # one rounding of a level of about 50
    assert np.abs(signal - level).max() < 0.7 + 1e-13
    assert spikes.counts().min() > 0


def test_neighbouring_steps_alone_miss_a_slow_change():
    slow = np.linspace(0.0, 10.0, 101)[None, None]
    assert encode_delta(slow, 1.0, reference="last_step").n_events == 0
    # ten; the last may be lost to rounding
    assert encode_delta(slow, 1.0).n_events in (9, 10)


@pytest.mark.parametrize(
    ("signal", "off", "expected"),
    [
        ([1.0, 2.0, 2.9, 3.0, 3.9], False, [1, 1, 0, 0, 0]),
        ([1.0, 2.0, 0.0, 2.0, 2.9], True, [1, 1, -1, 1, 0]),
    ],
)
def test_last_step_against_published_examples(signal, off, expected):
    # the examples of snntorch.spikegen.delta
    spikes = encode_delta([[signal]], 1.0, reference="last_step", initial=0.0, off=off)
    grid = spikes.to_dense(1.0, 5) if not off else signed(spikes, 5)
    assert grid[0, 0].tolist() == expected


def test_channels_and_order():
    signal = np.random.default_rng(1).normal(size=(7, 3, 10))
    spikes = encode_delta(signal, 0.3, dt=0.5)
    assert (spikes.n_samples, spikes.n_neurons) == (7, 6)
    assert np.array_equal(np.lexsort((spikes.neurons, spikes.times, spikes.samples)), np.arange(spikes.n_events))
    turned = encode_delta(-signal, 0.3, dt=0.5)
    assert np.array_equal(turned.counts(), np.roll(spikes.counts(), 3, axis=1))
    assert spikes.times.min() == 0.5  # nothing in step 0
    rises = encode_delta(signal, 0.3, dt=0.5, off=False)
    assert rises.n_neurons == 3
    assert np.array_equal(rises.to_dense(0.5, 10), spikes.to_dense(0.5, 10)[:, :3])


def test_a_large_change_is_several_spikes_of_one_step():
    spikes = encode_delta([[[0.0, 3.5]], [[0.0, -2.0]]], 1.0)
    assert spikes.counts().tolist() == [[3, 0], [0, 2]]
    assert spikes.times.tolist() == [1.0] * 5


@pytest.mark.parametrize("reference", ["last_sent", "last_step"])
def test_blocks_change_nothing(monkeypatch, reference):
    signal = np.random.default_rng(2).normal(size=(23, 4, 15)).astype(np.float32)
    before = signal.copy()
    whole = encode_delta(signal, 0.5, reference=reference)
    monkeypatch.setattr(blocks, "BLOCK", 150)
    assert encode_delta(signal, 0.5, reference=reference) == whole
    assert np.array_equal(signal, before)
    assert encode_delta(signal[5:9], 0.5, reference=reference) == whole[5:9]


def test_nothing_makes_nothing():
    for shape in ((0, 3, 5), (2, 0, 5), (2, 3, 1)):
        spikes = encode_delta(np.ones(shape), 0.1)
        assert (spikes.n_samples, spikes.n_neurons, spikes.n_events) == (shape[0], 2 * shape[1], 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"signal": [[0.0, 1.0]]},
            r"encode_delta.signal: must be real .* \(n_samples, n_features, n_steps\), got .*2\)",
        ),
        ({"signal": np.zeros((1, 1, 0))}, "encode_delta.n_steps: must be an integer >= 1 .*, got 0"),
        ({"signal": [[[0.0, np.nan]]]}, "encode_delta.signal: sample 0, feature 0, step 1 is nan; must be finite"),
        ({"signal": [[[0.0, -np.inf]]]}, "step 1 is -inf"),
        ({"threshold": 0.0}, "encode_delta.threshold: must be a finite number and > 0, got 0.0"),
        ({"threshold": 1e-9}, "encode_delta.threshold: at sample 0, feature 0, step 1 the signal moves by 1e.09 thr"),
        ({"threshold": 5e-324}, "encode_delta.threshold: at sample 0, feature 0, step 1 the signal moves by inf thr"),
        ({"reference": "none"}, "encode_delta.reference: must be 'last_sent' or 'last_step', got 'none'"),
        ({"initial": np.inf}, "encode_delta.initial: must be a finite number, got inf"),
        ({"off": 1}, "encode_delta.off: must be True or False, got 1"),
        ({"dt": 0.0}, "encode_delta.dt: must be a finite number and > 0"),
    ],
)
def test_encode_delta_refuses_bad_input(change, message):
    good = {"signal": [[[0.0, 1.0]]], "threshold": 0.5}
    encode_delta(**good)
    with pytest.raises(ValidationError, match=message):
        encode_delta(**(good | change))
