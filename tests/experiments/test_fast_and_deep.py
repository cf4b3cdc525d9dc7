"""Configuration files of fastAndDeep / DelGrad: what they become, and what is said of those that are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ruamel.yaml import YAML

from eventsnn import LIF, Dense, Sequential, Spikes, simulate
from eventsnn.cli.main import main
from eventsnn.errors import ConfigError
from eventsnn.experiments.config import config_of, dump_config, load_config
from eventsnn.experiments.fast_and_deep import is_fast_and_deep, translate
from tests.experiments.fast_and_deep_files import DELETED, FILES, changed
from tests.experiments.helpers import metrics_of


def translated(name, changes=None):
    return config_of(changed(name, changes or {}), "their.yaml", name=name)


def message_of(name, changes):
    with pytest.raises(ConfigError) as caught:
        translated(name, changes)
    assert "\n" not in str(caught.value)  # one mistake, one line
    return str(caught.value)


# -- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_load_config_reads_their_files(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    with path.open("w") as stream:
        YAML(typ="safe").dump(FILES[name], stream)
    said = []
    config = load_config(path, {"training.epochs": 7}, note=said.append)
    assert (config.name, config.network.engine, config.training.epochs) == (name.lstrip("."), "first_spike", 7)
    ignored = said[-1]
    assert ignored.startswith(f"{path}: ignored, as it does not matter here: training_params.batch_size_eval")
    path.write_text(dump_config(config))  # the translation is a configuration like any other
    assert load_config(path) == config


def test_load_config_names_a_saved_file_after_its_folder(tmp_path):
    path = tmp_path / "yin yang (1)" / "config.yaml"
    path.parent.mkdir()
    with path.open("w") as stream:
        YAML(typ="safe").dump(FILES["yin_yang"], stream)
    assert load_config(path).name == "yin_yang_1_"


def test_is_fast_and_deep_knows_files_of_this_library():
    assert not is_fast_and_deep({"name": "a", "dataset": "xor", "network": {}, "training": {}})
    assert not is_fast_and_deep({"dataset": {"name": "xor"}})
    assert is_fast_and_deep({"training_params": {}})


# -- what it becomes ----------------------------------------------------------------------------------------------


def test_weights_convert_as_the_equations_say():
    """Their membrane with C = tau_mem g_leak, integrated numerically, fires when the translated neuron does."""
    for ratio, theirs in ((2.0, [1.8, 1.2, -0.2]), (1.0, [2.1, 1.6, -0.3])):
        tau_syn, threshold, arrivals = 1.0, 1.0, np.array([0.15, 0.7, 1.1])
        g_leak, capacity = tau_syn / ratio, ratio * tau_syn * (tau_syn / ratio)
        step, v, t = 2e-4, 0.0, 0.0
        while v < threshold and t < 10.0:
            middle = t + step / 2  # the midpoint rule: an error of order step^2
            current = (theirs * np.exp(-(middle - arrivals)) * (middle >= arrivals)).sum()
            v += step / capacity * (current - g_leak * (v + step / 2 * (current - g_leak * v) / capacity))
            t += step
        assert t < 10.0
        neurons = {"g_leak": g_leak, "tau_mem": ratio}
        changes = {f"default_neuron_params/{key}": value for key, value in neurons.items()}
        layer = translated("yin_yang_H30_W", changes).network.layers[0]
        factor = layer.weight_init.mean / 0.5
        neuron = LIF(tau_mem=ratio, tau_syn=tau_syn, v_threshold=threshold, max_spikes=1)
        chain = Sequential([Dense(factor * np.array(theirs)[:, None]), neuron])
        found = simulate(chain, Spikes.from_first_times(arrivals[None])).first_times("output")[0, 0]
        # the crossing is known to a step of 2e-4, and an arrival inside a step counts as a whole or not at all
        assert found == pytest.approx(t, abs=1e-3)


def test_what_is_in_units_of_weights_converts_alike():
    config = translated("yin_yang_H30_WS", {
        "training_params/clip_weights_max": 2.1, "training_params/rounding_precision": 0.125,
    })  # fmt: skip
    training, layer = config.training, config.network.layers[0]
    assert (layer.weight_init.mean, layer.weight_init.std) == (2.0, 2.0)  # 1.0 / g_leak
    assert (layer.weight_max, layer.weight_step, training.silent.size) == (4.2, 0.25, 1e-3)
    assert layer.learning_rate == 0.02  # Adam's steps are as long as the rate
    assert layer.max_dw_norm == pytest.approx(0.2 * 150 / 2, rel=1e-15)
    assert (config.network.v_threshold, config.network.v_leak) == (1.0, 0.0)  # potentials stay


def test_gradient_descent_takes_the_same_course():
    """Any loss of the drive f w_there = w_here: the weights stay in the ratio f, update after update."""
    config = translated("yin_yang_H30_WS", {"training_params/optimizer": "sgd"})
    layer = config.network.layers[0]
    f, rate_there, rate_here, target = 2.0, 0.01, layer.learning_rate, 3.0
    there, here = 0.7, f * 0.7
    for _ in range(5):
        there -= rate_there * f * 2 * (f * there - target)
        here -= rate_here * 2 * (here - target)
    assert here == pytest.approx(f * there, rel=1e-14)  # a few roundings
    assert abs(there - 0.7) > 0.05


def test_delays_become_raw_parameters():
    config = translated("yin_yang_H30_WS")
    delay = config.network.layers[1].delay
    assert (delay.kind, delay.mean, delay.std, delay.learning_rate) == ("synaptic", 0.0, 0.25, 0.003)
    assert (delay.positivity.name, delay.positivity.scale, delay.positivity.shift) == ("sigmoid", 1.0, 0.0)
    assert config.training.learning_rate == 0.005
    assert translated("yin_yang_H30_W").network.layers[0].delay is None
    learned_alike = translated("yin_yang_H30_WA").network.layers[0]
    assert (learned_alike.delay.kind, learned_alike.delay.learning_rate) == ("axonal", None)  # training's


def test_times_are_in_units_of_tau_syn():
    """A file whose unit of time is twice as short describes the same network."""
    halves = {"tau_mem": 4.0, "tau_syn": 2.0}
    config = translated("yin_yang_H30_WS", {f"default_neuron_params/{key}": value for key, value in halves.items()})
    assert (config.network.tau_mem, config.network.tau_syn) == (4.0, 2.0)
    assert (config.dataset.t_early, config.dataset.t_late) == (0.075, 1.0)
    assert (config.network.layers[0].delay.positivity.scale, config.training.loss.delta_t) == (0.5, 0.1)
    clipped = {"network_layout/layers/0/positivity": {"name": "clip"}}
    clip = translated("yin_yang_H30_WS", clipped | {f"default_neuron_params/{k}": v for k, v in halves.items()})
    delay = clip.network.layers[0].delay
    assert (delay.positivity.name, delay.std, delay.learning_rate) == ("clip", 0.125, 0.0015)


def test_hardware_awareness():
    config = translated("yin_yang_hwAware_WA")
    first, second = config.network.layers
    assert (first.repeat, first.delay.shared_pre, second.repeat, second.delay.shared_pre) == (5, 5, 1, 1)
    assert (first.delay.jitter, first.delay.positivity.shift, first.delay.positivity.scale) == (0.01, 2.0, 1.5)
    noise = first.threshold_noise
    assert (noise.sample, noise.batch, noise.fixed_mean, noise.fixed_std) == (0.0, 0.04, 0.13, 0.08)
    assert (config.network.v_threshold, config.network.tau_mem, first.weight_max) == (2.6, 1.0, 2.1)
    assert first.weight_step == pytest.approx(1 / 30)
    assert config.training.savepoints == (20, 50, 100, 200)
    assert config.training.loss.delta_t == 0.3


def test_older_files_have_lists_and_options_of_the_loss_beside_the_others():
    config = translated("yin_yang")
    first, second = config.network.layers
    assert (first.size, first.weight_init.mean, first.bias_times, first.max_silent_fraction) == (120, 1.5, (0.9,), 0.3)
    assert (second.size, second.weight_init.std, second.bias_times, second.max_silent_fraction) == (3, 0.8, (0.9,), 0.0)
    assert config.dataset.bias_time is None  # the bias spikes are those of the layers
    loss = config.training.loss
    assert (loss.name, loss.xi, loss.alpha, loss.beta) == ("cross_entropy", 0.2, 0.005, 1.0)
    assert first.max_dw_norm == pytest.approx(0.2 * 150)
    each = translated("yin_yang", {"network_layout/bias_times": [[0.9], []], "network_layout/n_biases": [1, 0]})
    assert [layer.bias_times for layer in each.network.layers] == [(0.9,), ()]
    fewer = translated("yin_yang", {"network_layout/layer_sizes": DELETED, "network_layout/n_hidden": 120})
    assert fewer == config
    assert translated("xor").dataset.complements


def test_deep_mnist_by_the_forward_integrator():
    config = translated("mnist_fourlayer")
    assert [layer.size for layer in config.network.layers] == [400, 400, 400, 400, 10]
    forward = config.training.forward
    assert (forward.name, forward.resolution, forward.t_max) == ("euler", 0.01, 3.5)
    assert config.training.time_noise == 0.3
    schedule = config.training.schedule
    assert (schedule.name, schedule.step, schedule.gamma) == ("step", 15, 0.9)


def test_losses_and_regularisers():
    terms = [
        {"type": "early_output", "alpha": 0.01, "beta": 2.0},
        {"type": "l2_delay", "alpha": 0.3, "use_effective_delays": False},
    ]
    loss = {"type": "TTFS", "xi": 0.4, "regulariser": terms}
    config = translated("yin_yang_H30_WA", {"training_params/loss": loss})
    found = config.training.loss
    assert (found.name, found.xi, found.alpha, found.beta) == ("cross_entropy", 0.4, 0.01, 2.0)
    assert [(term.name, term.strength, term.of) for term in config.training.regularizers] == [("delay_l2", 0.3, "raw")]
    beside = translated("yin_yang_H30_WA", {"training_params/regulariser": terms})
    assert beside.training.loss.alpha == 0.01
    assert beside.training.regularizers == config.training.regularizers
    mse = translated("single_in_single_out").training.loss
    assert (mse.name, mse.t_correct, mse.t_wrong, mse.t_silent) == ("mse", 5.0, 0.0, 10.0)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"type": "MultiStepLR", "milestones": [5, 9], "gamma": 0.5}, {"milestones": (5, 9), "gamma": 0.5}),
        ({"type": "ExponentialLR", "gamma": 0.9}, {"gamma": 0.9}),
        (DELETED, {"name": "constant"}),
    ],
)
def test_schedules(theirs, ours):
    schedule = translated("yin_yang", {"training_params/lr_scheduler": theirs}).training.schedule.model_dump()
    assert ours.items() <= schedule.items()


def test_seeds_of_two_generators_make_one():
    seeds = {
        translated("yin_yang", {"training_params/torch_seed": a, "training_params/numpy_seed": b}).training.seed
        for a in (0, 1, 2**31 - 1)
        for b in (0, 1, 2**31 - 1)
    }
    assert len(seeds) == 9


def test_order_of_repeats_and_biases_where_it_means_the_same():
    parts = [
        {"name": "Biases", "times": [0.5, 1.0]}, {"name": "Multiplex", "factor": 2}, {"name": "BroadcastLayer"},
        {"name": "Biases", "times": [0.9]},
    ]  # fmt: skip
    data = changed("yin_yang_H30_W", {})
    data["network_layout"]["layers"][:1] = parts
    layer = config_of(data, "their.yaml").network.layers[0]
    assert (layer.repeat, layer.bias_times) == (2, (0.5, 0.5, 1.0, 1.0, 0.9))
    assert translated("yin_yang_hwAware_W", {"dataset_params/multiply_input_layer": 3}).network.layers[0].repeat == 15


def test_neurons_of_a_layer():
    own = {"tau_mem": 2.0, "g_leak": 0.5, "threshold": 1.5, "model_tau_ratio": 1, "max_dw_norm": 0.5}
    config = translated("yin_yang_hwAware_W", {
        "network_layout/layers/2/neuron_params": own, "training_params/weight_bumping_value": 0,
    })  # fmt: skip
    first, second = config.network.layers
    neuron = first.neuron
    assert (neuron.tau_mem, neuron.tau_syn, neuron.v_threshold, first.gradient_tau_ratio) == (2.0, None, 1.5, 1.0)
    assert (first.weight_init.mean, first.max_dw_norm) == (2.0, 0.5 * 40 / 2)
    assert (second.neuron.tau_mem, second.gradient_tau_ratio, second.weight_max) == (None, None, 2.1)
    assert config.training.silent.name == "none"


# -- what is wrong ------------------------------------------------------------------------------------------------

_LAYER = "network_layout/layers/"
MISTAKES = {
    "misspelt key": (
        "yin_yang_H30_WS",
        {_LAYER + "1/weight_mean": 1.0, _LAYER + "1/weights_mean": DELETED},
        "network_layout.layers[1].weight_mean: unknown key; did you mean 'weights_mean'?",
    ),
    "misspelt in training": (
        "yin_yang",
        {"training_params/learning_rat": 0.1, "training_params/learning_rate": DELETED},
        "training_params.learning_rat: unknown key; did you mean 'learning_rate'?",
    ),
    "misspelt section": (
        "yin_yang_H30_W",
        {"defalt_neuron_params": {}, "default_neuron_params": DELETED},
        "defalt_neuron_params: unknown key; did you mean 'default_neuron_params'?",
    ),
    "wrong type": (
        "yin_yang_H30_W",
        {_LAYER + "1/size": "30"},
        "network_layout.layers[1].size: expected an integer, got the string '30' (remove the quotes)",
    ),
    "older section": ("yin_yang", {"neuron_params/threshold": "high"}, "neuron_params.threshold: expected a number"),
    "unknown layer": (
        "yin_yang_H30_W",
        {_LAYER + "0/name": "BroadcastLayr"},
        "network_layout.layers[0]: its name must be one of DelayAxonal, DelayDendritic, DelaySynaptic, BroadcastLayer, "
        "Biases, Multiplex, NeuronLayer, EqualtimeLayer, got 'BroadcastLayr'; did you mean 'BroadcastLayer'?",
    ),
    "no layer before neurons": (
        "yin_yang_H30_W",
        {_LAYER + "2": DELETED},
        "network_layout.layers[2]: NeuronLayer needs a layer before it that says how spikes get there: BroadcastLayer",
    ),
    "no neurons at the end": (
        "yin_yang_H30_W",
        {_LAYER + "3": DELETED},
        "network_layout.layers[2]: the last layer must be a NeuronLayer, got BroadcastLayer",
    ),
    "no neurons between": (
        "yin_yang_H30_WS",
        {_LAYER + "1": DELETED},
        "network_layout.layers[1]: DelaySynaptic follows DelaySynaptic, but there must be neurons between them",
    ),
    "no layers": ("yin_yang_H30_W", {"network_layout/layers": DELETED}, "network_layout.layers: is missing"),
    "biases behind delays": (
        "yin_yang_H30_WS",
        {_LAYER + "1/biases": [0.9]},
        "network_layout.layers[1].biases: bias spikes without the delays of DelaySynaptic cannot be had here",
    ),
    "classes": (
        "yin_yang_H30_W",
        {_LAYER + "3/size": 4},
        "network_layout.layers[3].size: the last layer has one neuron for each of the 3 classes of yin_yang, got 4",
    ),
    "inputs": (
        "yin_yang_H30_W",
        {"network_layout/n_inputs": 5},
        "network_layout.n_inputs: the data set yin_yang has 4 inputs, got 5",
    ),
    "lists": (
        "yin_yang",
        {"network_layout/weight_means": [1.5]},
        "network_layout.weight_means: has 1 entries for 2 layers",
    ),
    "biases": (
        "yin_yang",
        {"network_layout/n_biases": [2, 1]},
        "network_layout.n_biases: layer 0 has 2, but bias_times only 1",
    ),
    "leak": (
        "yin_yang_H30_W",
        {"default_neuron_params/g_leak": 1.0},
        "default_neuron_params.g_leak: must be tau_syn / tau_mem = 0.5, got 1",
    ),
    "leak of a layer": (
        "yin_yang_hwAware_W",
        {_LAYER + "2/neuron_params/tau_mem": 2.0},
        "network_layout.layers[2].neuron_params.g_leak: must be tau_syn / tau_mem = 0.5, got 1",
    ),
    "chip": ("yin_yang", {"training_params/use_hicannx": True}, "training_params.use_hicannx: there is no chip here"),
    "newer chip": (
        "yin_yang_H30_W",
        {"training_params/substrate": "hx_pynn"},
        "training_params.substrate: 'hx_pynn' is a chip; here is only the simulator, 'sim'",
    ),
    "data set": (
        "yin_yang_H30_W",
        {"dataset_params/name": "pattern"},
        "dataset_params.name: must be one of yin_yang, xor, bars, mnist, 16x16_mnist, single_in_single_out, got",
    ),
    "older data set": ("yin_yang", {"dataset": "yinyang"}, "did you mean 'yin_yang'?"),
    "loss": (
        "yin_yang_H30_W",
        {"training_params/loss/type": "shift_invariant_mse"},
        "training_params.loss: its type must be one of TTFS, MSE, shift_invariant_MSE, got 'shift_invariant_mse'; did",
    ),
    "no loss": ("yin_yang", {"training_params/xi": DELETED}, "training_params.loss.xi: is missing, the width of TTFS"),
    "integrator": (
        "mnist_fourlayer",
        {"training_params/sim_time": DELETED},
        "training_params.sim_time: is missing; use_forward_integrator needs it",
    ),
    "noise": (
        "xor",
        {"training_params/training_noise/mean": 0.5},
        "training_params.training_noise.mean: must be 0, got 0.5",
    ),
    "untrained": (
        "yin_yang_H30_W",
        {_LAYER + "1/trainable": False},
        "network_layout.layers[1].max_num_missing_spikes: must be 1 where trainable is false",
    ),
    "bumps": (
        "yin_yang_hwAware_W",
        {_LAYER + "2/neuron_params": {"tau_mem": 2.0, "g_leak": 0.5}},
        "training_params.weight_bumping_value: one size for all layers needs one g_leak, but the layers have 1, 0.5",
    ),
    "two names": (
        "yin_yang",
        {"dataset_params": {"name": "xor"}},
        "dataset and dataset_params are the same section; give one of the two",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKES)
def test_load_config_names_the_mistake_in_their_file(kind):
    name, changes, message = MISTAKES[kind]
    found = message_of(name, changes)
    assert message in found
    assert found.startswith("their.yaml: ")


def test_translate_leaves_the_file_as_it_was():
    data = changed("single_in_single_out", {})
    translate(data, "name", "their.yaml")
    assert data == FILES["single_in_single_out"]
    assert math.isfinite(translate(data, "name", "x").config["training"]["learning_rate"])


# -- running ------------------------------------------------------------------------------------------------------


def test_train_takes_their_file(tmp_path, capsys):
    path = tmp_path / "their.yaml"
    with path.open("w") as stream:
        YAML(typ="safe").dump(FILES["single_in_single_out"], stream)
    out = tmp_path / "runs"
    assert main(["train", str(path), "--out", str(out), "--epochs", "40", "--threads", "1", "--no-plots"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{path}: network_layout.layers[0]: no positivity is given, clip is taken"
    assert printed[1].startswith(f"{path}: ignored, as it does not matter here: training_params.batch_size_eval, ")
    (run,) = out.iterdir()
    assert load_config(run / "config.yaml") == load_config(path, {"training.epochs": 40, "training.threads": 1})
    history = metrics_of(run)["epochs"]
    assert history[0]["n_bumped"] == 1  # one weight too small to fire is raised until it does
    assert history[-1]["train_loss"] < 0.5 * history[20]["train_loss"]
    assert main(["inference", str(run)]) == 0
    assert "accuracy 100.00 %" in capsys.readouterr().out


def test_train_names_the_mistake_in_their_file(tmp_path, capsys):
    path = tmp_path / "their.yaml"
    with path.open("w") as stream:
        YAML(typ="safe").dump(changed("yin_yang", {"training_params/use_hicannx": True}), stream)
    assert main(["train", str(path), "--out", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err == (
        f"eventsnn: error: {path}: training_params.use_hicannx: there is no chip here, only the simulator; "
        "set it to false\n"
    )
    assert not (tmp_path / "runs").exists()
