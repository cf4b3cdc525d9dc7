"""Chains described layer by layer: what their configuration may not say, and what is built from it."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn.errors import ConfigError
from eventsnn.experiments.build import build_dataset, build_network, build_trainer
from eventsnn.experiments.config import load_config, with_overrides

WA, CHIP = "yin_yang_WA30", "yin_yang_hw_aware_WA"
SMALL = {"dataset.n_train": 60, "dataset.n_valid": 20, "dataset.n_test": 20, "training.threads": 1}


def layers_of(name, *changes, base=None):
    """The layers of a configuration, as overrides, with some keys of each changed."""
    layers = list(load_config(name).model_dump()["network"]["layers"])
    for layer, own in zip(layers, changes, strict=True):
        layer.update(own)
    return {"network.layers": layers} | (base or {})


DELAY = {"kind": "axonal"}
BUMPING = {"training.silent": {"name": "bumping", "size": 1e-3}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (layers_of(WA, {"size": None}, {}), "network: layers[0].size is missing; only the last layer"),
        (layers_of(WA, {"neuron": {"v_leak": 1.5}}, {}), "layers[0]: v_leak (1.5) must be less than v_threshold"),
        (
            layers_of(WA, {"wieght_max": 3.0}, {}),
            "network.layers[0].wieght_max: unknown key; did you mean 'weight_max'?",
        ),
        (layers_of(WA, {"delay": {"kind": "axonl"}}, {}), "network.layers[0].delay.kind: must be one of axonal, dendr"),
        (
            layers_of(WA, {"delay": DELAY | {"positivity": {"name": "sigmoid", "shift": -1.0}}}, {}),
            "network.layers[0].delay.positivity.shift: must be >= 0",
        ),
        (
            layers_of(WA, {"delay": DELAY | {"positivity": {"name": "relu"}}}, {}),
            "network.layers[0].delay.positivity: its name must be one of sigmoid, clip, shift, got 'relu'",
        ),
        (layers_of(WA, {"delay": DELAY | {"shared_post": 3}}, {}), "network.layers[0].delay: shared_post (3) is given"),
        (layers_of(WA, {}, {"bias_times": [-0.1]}), "network.layers[1].bias_times[0]: must be >= 0"),
        (layers_of(WA, {"repeat": 0}, {}), "network.layers[0].repeat: must be >= 1"),
        (
            layers_of(WA, {"trainable": False}, {}, base=BUMPING),
            "network.layers[0]: trainable is false, but bumping would raise",
        ),
        (
            layers_of(WA, {"trainable": False, "delay": None}, {"trainable": False, "delay": None}),
            "network.layers: nothing is learned, trainable is false everywhere",
        ),
        (
            layers_of(WA, {"max_silent_fraction": 0.3}, {}),
            "network.layers[0].max_silent_fraction is given, but training.silent",
        ),
        (
            {"training.silent": {"name": "bumping", "max_silent_fraction": [0.1, 0.2]}},
            "training.silent.max_silent_fraction must be one number",
        ),
        (
            layers_of(WA, {"delay": None}, {"delay": None})
            | {"training.regularizers": [{"name": "delay_l2", "strength": 0.1}]},
            "training.regularizers delay_l2 is given, but no delay of network.layers is learned",
        ),
        (
            {"training.forward": {"name": "euler", "resolution": 0.1, "t_max": 0.05}},
            "training.forward: t_max (0.05) must not be less than resolution (0.1)",
        ),
        ({"training.forward": {"name": "euler"}}, "training.forward.t_max: is missing"),
        ({"network.layers": []}, "network.layers: "),
        ({"network.engine": "first_spikes"}, "network.engine: must be one of event_driven, first_spike, clocked, got"),
    ],
)
def test_load_config_names_the_mistake(values, message):
    with pytest.raises(ConfigError) as caught:
        load_config(WA, values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# -- building -----------------------------------------------------------------------------------------------------


def built(config):
    data = build_dataset(config)
    return data, build_network(config, data.n_inputs, data.n_classes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ({}, {"size": 4}),
            "network.layers[1].size: the last layer has one neuron for each of the 3 classes",
        ),
        (
            ({"delay": DELAY | {"shared_pre": 3}}, {}),
            "network.layers[0].delay.shared_pre: the 4 channels before the",
        ),
        (
            ({"delay": {"kind": "synaptic", "shared_post": 7}}, {}),
            "network.layers[0].delay.shared_post: the 30 neurons of the layer are no multiple of it, got 7",
        ),
    ],
)
def test_build_network_names_the_mistake(changes, message):
    config = load_config(WA, SMALL | layers_of(WA, *changes))
    with pytest.raises(ConfigError) as caught:
        built(config)
    assert message in str(caught.value)


def test_build_network_follows_the_layers():
    config = load_config(CHIP, SMALL)
    _, network = built(config)
    first, second = network.layers
    assert (network.n_inputs, first.connection.n_pre, first.connection.n_post, second.n_neurons) == (4, 20, 30, 3)
    assert first.connection.delay.shape == (20, 1)
    assert second.connection.delay.shape == (30, 1)
    delays = first.connection.delay / config.network.tau_syn
    # shift 2, scale 1.5: the range of the sigmoid
    assert 2.0 < delays.min() < delays.max() < 3.5
    np.testing.assert_array_equal(delays, np.tile(delays[:4], (5, 1)))  # channel i has the delay of i mod 4
    assert len(np.unique(delays)) == 4
    assert first.neuron.v_threshold == 2.6


def test_build_network_has_bias_spikes_behind_repeated_channels():
    changes = layers_of(CHIP, {"bias_times": [0.5, 1.0], "delay": None, "neuron": {"tau_mem": 0.01}}, {})
    config = load_config(CHIP, SMALL | changes)
    _, network = built(config)
    first, second = network.layers
    assert [repr(part) for part in first.channels] == ["Repeat(5)", "BiasSpikes([0.0025, 0.005])"]
    assert (first.connection.n_pre, second.channels) == (22, ())
    assert (first.neuron.tau_mem, second.neuron.tau_mem) == (0.01, 5e-3)


def test_networks_that_differ_in_delays_only_begin_with_the_same_weights():
    one, other = (built(load_config(WA, SMALL | extra))[1] for extra in ({}, layers_of(WA, *[{"delay": None}] * 2)))
    for with_delays, without in zip(one.layers, other.layers, strict=True):
        np.testing.assert_array_equal(with_delays.connection.weight, without.connection.weight)
        assert with_delays.connection.has_delay
        assert not without.connection.has_delay


@pytest.mark.parametrize("name", ["clip", "shift"])
def test_build_network_makes_initial_delays_positive(name):
    delay = {"kind": "synaptic", "mean": 0.1, "std": 1.0, "positivity": {"name": name}}
    config = load_config(WA, SMALL | layers_of(WA, {"delay": delay}, {"delay": delay}))
    delays = built(config)[1].layers[0].connection.delay / config.network.tau_syn
    assert (delays.shape, delays.min()) == ((4, 30), 0.0)
    # of 120 normal values about half are below 0: clipped to it, or all but the least moved above it
    assert (delays == 0).sum() == 1 if name == "shift" else (delays == 0).sum() > 30


@pytest.mark.parametrize(
    "name",
    [
        "yin_yang_W30", "yin_yang_WA30", "yin_yang_WS30", "yin_yang_WS5", "yin_yang_hw_aware_W", "yin_yang_hw_aware_WA",
        "single_in_single_out",
    ],
)  # fmt: skip
def test_builtin_configurations_train(name):
    sizes = {} if name == "single_in_single_out" else SMALL | {"dataset.n_train": 300, "training.batch_size": 30}
    config = load_config(name, sizes | {"training.threads": 1})
    data, network = built(config)
    trainer = build_trainer(config, network)
    # bumping holds an update back while neurons are silent: of the single neuron, in the first 13 epochs
    trainer.fit(data.train, data.valid, 30 if name == "single_in_single_out" else 3, progress=False)
    assert all(np.isfinite(epoch.train_loss) for epoch in trainer.history)
    for layer in network.layers:
        for kind in ("weight", "delay") if layer.connection.has_delay else ("weight",):
            key = f"{layer.name}.{kind}"
            assert (trainer.network.parameter(key) != network.parameter(key)).any(), key


def test_what_is_not_trainable_stays():
    frozen = {"trainable": False, "max_silent_fraction": 1.0, "delay": DELAY | {"std": 0.3}}
    fixed = {"delay": DELAY | {"trainable": False, "std": 0.3}}
    config = load_config(WA, SMALL | layers_of(WA, frozen, fixed, base=BUMPING))
    data, network = built(config)
    trainer = build_trainer(config, network)
    trainer.fit(data.train, None, 2, progress=False)
    stays = {"hidden.weight": True, "hidden.delay": False, "output.weight": False, "output.delay": True}
    for key, same in stays.items():
        assert np.array_equal(trainer.network.parameter(key), network.parameter(key)) == same, key


def test_learning_rates_of_layers_are_absolute():
    """Half the learning rate of training changes nothing where every layer has its own."""
    own = {"learning_rate": 0.02}
    config = load_config(WA, SMALL | layers_of(WA, own, own))
    data, network = built(config)
    found = []
    for rate in (5e-3, 2.5e-3):
        trainer = build_trainer(with_overrides(config, {"training.learning_rate": rate}), network)
        trainer.fit(data.train, None, 2, progress=False)
        found.append(trainer.network)
    for key in ("hidden.weight", "output.delay"):
        # the rates are the same but for the rounding of rate * factor, in float32
        np.testing.assert_allclose(found[0].parameter(key), found[1].parameter(key), rtol=1e-5)


def test_build_trainer_passes_noise_and_limits_on():
    changes = layers_of(CHIP, {"weight_max": 1.0, "spike_jitter": 0.5}, {"gradient_tau_ratio": 2.0})
    forward = {"training.forward": {"name": "euler", "resolution": 0.1, "t_max": 6.0}}
    config = load_config(CHIP, SMALL | changes | forward)
    data, network = built(config)
    trainer = build_trainer(config, network)
    hardware = trainer.hardware
    first, second = hardware.of("hidden"), hardware.of("output")
    tau_syn = config.network.tau_syn  # the unit of the configuration's times
    assert (first.spike_jitter, second.spike_jitter) == (0.5 * tau_syn, 0.0)
    assert (first.delay_jitter, second.delay_jitter) == (0.01 * tau_syn, 0.01 * tau_syn)
    assert (first.weight_max, second.weight_max) == (1.0, 2.1)
    assert first.weight_step == second.weight_step == pytest.approx(1 / 30)
    assert (first.gradient_tau_ratio, second.gradient_tau_ratio) == (None, 2.0)
    noise = first.threshold_noise
    assert (noise.sample, noise.batch, noise.fixed_mean, noise.fixed_std) == (0.0, 0.04, 0.13, 0.08)
    assert (hardware.euler.dt, hardware.euler.t_max) == (0.1 * tau_syn, 6.0 * tau_syn)
    trainer.fit(data.train, None, 1, progress=False)
    assert np.abs(trainer.network.weights[0]).max() <= 1.0
    assert (
        build_trainer(load_config("yin_yang_WA30", SMALL), built(load_config("yin_yang_WA30", SMALL))[1]).hardware
        is None
    )
