"""Configurations of fastAndDeep / DelGrad: the values of published files, as far as tests need them."""

from __future__ import annotations

import json

SIGMOID = {"name": "sigmoid", "scale": 1.0}
NEURONS = {"g_leak": 0.5, "leak": 0.0, "max_dw_norm": 0.2, "tau_mem": 2.0, "tau_syn": 1.0, "threshold": 1.0}
TRAINING = {
    "batch_size": 150, "batch_size_eval": 200, "enforce_cpu": False, "epoch_number": 300, "epoch_snapshots": [],
    "learning_rate": 0.005, "loss": {"delta_t": 0.2, "type": "shift_invariant_MSE"},
    "lr_scheduler": {"gamma": 0.95, "step_size": 20, "type": "StepLR"}, "momentum": 0, "numpy_seed": 12345,
    "optimizer": "adam", "print_step_percent": 5.0, "resolution": 0.01, "sim_time": 4.0, "substrate": "sim",
    "torch_seed": 2000, "training_noise": False, "use_forward_integrator": False, "weight_bumping_exp": True,
    "weight_bumping_targeted": True, "weight_bumping_value": 0.0005,
}  # fmt: skip


def yin_yang(delay, rate, mean, *, hidden=30):
    """4-30-3 with the layers `delay` (a name, or a dict of the keys of a delay layer)."""
    between = {"name": delay} if isinstance(delay, str) else delay
    neurons = {"learning_rate": rate, "monitor": True, "name": "NeuronLayer", "trainable": True, "weights_mean": mean}
    neurons |= {"weights_std": 1.0}
    layers = [
        between, neurons | {"size": hidden, "max_num_missing_spikes": 0.3},
        between, neurons | {"size": 3, "max_num_missing_spikes": 0.0},
    ]  # fmt: skip
    return {
        "dataset_params": {"multiply_input_layer": 1, "name": "yin_yang"},
        "default_neuron_params": NEURONS,
        "network_layout": {"n_inputs": 4, "layers": layers},
        "training_params": TRAINING,
    }


def delays(name, rate):
    return {
        "name": name, "delay_mean": 0.0, "delay_std": 0.25, "learning_rate": rate, "monitor": True,
        "positivity": SIGMOID, "trainable": True,
    }  # fmt: skip


def hardware_aware(between):
    """4 (5 times) -30-3 with noisy thresholds; `between` are keys of the layers before the neurons."""
    noise = {"jitter": 0.0, "threshold_noise_b2b_std": 0.04, "threshold_noise_fp_std": 0.08}
    noise |= {"threshold_noise_fp_mean": 0.13}
    neurons = {"name": "NeuronLayer", "max_num_missing_spikes": 0.05, "neuron_params": noise, "monitor": True}
    first, second = between
    training = {
        key: value for key, value in TRAINING.items() if key not in ("resolution", "sim_time")
    } | {
        "batch_size": 40, "epoch_snapshots": [20, 50, 100, 200], "learning_rate": 0.002,
        "loss": {"type": "shift_invariant_MSE", "delta_t": 0.3}, "clip_weights_max": 2.1,
        "rounding_precision": 0.03333333333333333,
    }  # fmt: skip
    return {
        "dataset_params": {"name": "yin_yang"},
        "default_neuron_params": NEURONS | {"g_leak": 1.0, "tau_mem": 1.0, "threshold": 2.6},
        "network_layout": {
            "n_inputs": 4,
            "layers": [
                {"name": "Multiplex", "factor": 5},
                first, neurons | {"size": 30, "weights_mean": 1.0, "weights_std": 0.12},
                second, neurons | {"size": 3, "weights_mean": 0.075, "weights_std": 0.15},
            ],
        },
        "training_params": training,
    }  # fmt: skip


def older(dataset, sizes, means, stdevs, missing, **training):
    """A file of the release without delays."""
    kept = {key: value for key, value in TRAINING.items() if key not in ("loss", "substrate")}
    return {
        "dataset": dataset,
        "neuron_params": {"g_leak": 1.0, "leak": 0.0, "tau_syn": 1.0, "threshold": 1.0},
        "network_layout": {
            "bias_times": [], "layer_sizes": sizes, "n_biases": [0] * len(sizes), "n_inputs": 784,
            "n_layers": len(sizes), "weight_means": means, "weight_stdevs": stdevs,
        },
        "training_params": kept
        | {"alpha": 0.005, "beta": 1.0, "xi": 0.2, "max_dw_norm": 0.2, "max_num_missing_spikes": missing}
        | {"use_hicannx": False} | training,
    }  # fmt: skip


_CHIP_DELAY = {
    "name": "DelayAxonal", "delay_mean": 0.0, "delay_std": 0.5, "trainable": True, "monitor": True, "jitter": 0.01,
    "positivity": {"name": "sigmoid", "scale": 1.5, "shift": 2.0},
}  # fmt: skip

FILES = {
    "yin_yang_H30_W": yin_yang("BroadcastLayer", 0.02, 0.5),
    "yin_yang_H30_WA": yin_yang(delays("DelayAxonal", 0.005), 0.005, 1.0),
    "yin_yang_H30_WS": yin_yang(delays("DelaySynaptic", 0.003), 0.01, 1.0),
    "yin_yang_H5_WS": yin_yang(delays("DelaySynaptic", 0.01), 0.015, 1.0, hidden=5),
    "yin_yang_hwAware_W": hardware_aware([{"name": "BroadcastLayer"}] * 2),
    "yin_yang_hwAware_WA": hardware_aware([_CHIP_DELAY | {"presyn_sharing_factor": 5}, _CHIP_DELAY]),
    "yin_yang": older("yin_yang", [120, 3], [1.5, 0.5], [0.8, 0.8], [0.3, 0.0]),
    "xor": older("xor", [10, 2], [1.5, 0.5], [0.8, 0.8], [0.3, 0.0], training_noise={"mean": 0.0, "std_dev": 0.2}),
    "bars": older("bars", [10, 3], [1.5, 1.5], [1.0, 1.0], [0.5, 0.3], rounding_precision=False),
    "16x16_mnist": older("16x16_mnist", [128, 10], [0.1, 0.6], [0.4, 0.8], [0.5, 0.5], epoch_number=200),
    "mnist_fourlayer": older(
        "mnist", [400, 400, 400, 400, 10], [0.01] * 4 + [0.15], [0.1] * 4 + [0.8], [0.15] * 4 + [0.05],
        batch_size=80, training_noise={"mean": 0.0, "std_dev": 0.3}, use_forward_integrator=True, sim_time=3.5,
        lr_scheduler={"gamma": 0.9, "step_size": 15, "type": "StepLR"},
    ),
    "single_in_single_out": {
        "dataset": {
            "input_params": {"input_mean": 1, "input_std_dev": 0, "num_samples": 1}, "name": "single_in_single_out",
        },
        "neuron_params": {"g_leak": 1.0, "leak": 0.0, "tau_syn": 1.0, "threshold": 1.0},
        "network_layout": {
            "layers": [
                {"name": "DelaySynaptic", "delay_mean": 5.0, "delay_std": 0.05, "trainable": True, "monitor": True},
                {"name": "EqualtimeLayer", "size": 1, "weights_mean": 1.5, "weights_std": 0.8, "biases": [],
                 "max_num_missing_spikes": 0.3, "trainable": True, "monitor": True},
            ],
            "n_inputs": 1,
        },
        "training_params": TRAINING
        | {"loss": {"type": "MSE", "t_correct": 5, "t_wrong": 0}, "learning_rate": 0.05, "max_dw_norm": 10},
    },
}  # fmt: skip
for _name, _bias in (("yin_yang", [1, 1]), ("xor", [1, 1])):
    FILES[_name]["network_layout"] |= {"bias_times": [0.9], "n_biases": _bias, "n_inputs": 4}
FILES["bars"]["network_layout"]["n_inputs"] = 9
FILES["16x16_mnist"]["network_layout"]["n_inputs"] = 256


def changed(name, changes):
    """A published file with some values replaced, by path (``network_layout/layers/1/size``), `DELETED` without."""
    data = json.loads(json.dumps(FILES[name]))  # no two layers are the same object
    for path, value in changes.items():
        *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        target = data
        for key in parents:
            target = target[key]
        if value is DELETED:
            del target[last]
        else:
            target[last] = value
    return data


DELETED = object()
