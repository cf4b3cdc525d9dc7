"""Configuration files of fastAndDeep / DelGrad, translated into configurations of the engine ``first_spike``.

Their membrane follows ``C dv/dt = -g_leak (v - leak) + I`` with ``C = tau_mem g_leak``, and a spike adds its weight to
I, which decays with tau_syn. Divided by g_leak that is the membrane here, driven by ``i_syn = I / g_leak``. So

    weight here = weight there / g_leak = (tau_mem / C) weight there,

and potentials and times stay as they are. What is in units of weights (their initial mean and standard deviation, their
limit, the step of rounding, the size of a bump) has the same factor f; what belongs to the gradient is scaled below.
Times are in the unit of the file; the sections of the translation that want them in units of tau_syn get them so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from eventsnn.errors import ConfigError
from eventsnn.experiments.config_errors import describe_errors
from eventsnn.experiments.fast_and_deep_layers import Link, link_layers
from eventsnn.experiments.schema_fast_and_deep import FastAndDeepFile, LayeredLayout
from eventsnn.experiments.schema_fast_and_deep_training import TTFS, EarlyOutput, Regulariser, TheirLoss

__all__ = ["Translation", "is_fast_and_deep", "translate"]

#: names of the sections in the two releases; the newer one is that of the schema
_ALIASES = {"dataset": "dataset_params", "neuron_params": "default_neuron_params"}
_SECTIONS = {"dataset_params", "neuron_params", "default_neuron_params", "network_layout", "training_params"}
#: inputs and classes of their data sets
_SIZES = {
    "yin_yang": ((4,), 3),
    "xor": ((2, 4), 2),
    "bars": ((9,), 3),
    "mnist": ((784,), 10),
    "16x16_mnist": ((256,), 10),
    "single_in_single_out": ((1,), 1),
}
#: the window of input times of all their data sets
_EARLY, _LATE = 0.15, 2.0
_NO_MATTER = ("batch_size_eval", "enforce_cpu", "print_step_percent", "bump_weight_value")


@dataclass
class Translation:
    """A configuration as `load_config` takes it, and what the user should know about it, a line each."""

    config: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def is_fast_and_deep(data: Mapping[str, Any]) -> bool:
    """Whether a file has the sections of fastAndDeep."""
    return bool(_SECTIONS & set(data)) and not {"network", "training"} & set(data)


def translate(data: Mapping[str, Any], name: str, where: str) -> Translation:
    """Translate the content of a file of theirs.

    Parameters
    ----------
    data : mapping, as read from the YAML file
    name : name of the experiment
    where : what errors begin with

    Raises
    ------
    ConfigError
        An unknown, missing or misplaced key, a wrong type, a chip as substrate, or what does not fit together; one line
        for each, with its path in the file.
    """
    file, names = _read(data, where)
    try:
        return _Translator(file, name, data).run()
    except ConfigError as error:
        raise ConfigError(f"{where}: {_as_in_the_file(str(error), names)}") from None


def _read(data: Mapping[str, Any], where: str) -> tuple[FastAndDeepFile, dict[str, str]]:
    """The checked file, and the names of its sections that are not those of the schema."""
    sections, names = dict(data), {}
    for old, new in _ALIASES.items():
        if old in sections:
            if new in sections:
                raise ConfigError(f"{where}: {old} and {new} are the same section; give one of the two")
            sections[new] = sections.pop(old)
            names[new] = old
    if isinstance(sections.get("dataset_params"), str):
        sections["dataset_params"] = {"name": sections["dataset_params"]}
    try:
        return FastAndDeepFile.model_validate(sections), names
    except ValidationError as error:
        lines = [_as_in_the_file(line, names) for line in describe_errors(error, sections, FastAndDeepFile)]
    separator = "\n  " if len(lines) > 1 else " "
    raise ConfigError(f"{where}:{separator}" + "\n  ".join(lines))


def _as_in_the_file(line: str, names: Mapping[str, str]) -> str:
    for new, old in names.items():
        line = line.replace(new, old)
    return line


class _Translator:
    def __init__(self, file: FastAndDeepFile, name: str, data: Mapping[str, Any]) -> None:
        self.file, self.name = file, name
        self.given = set(data.get("training_params", {}))
        self.training, self.neurons = file.training_params, file.default_neuron_params
        self.tau_syn = self.neurons.tau_syn
        self.unused: list[str] = [f"training_params.{key}" for key in _NO_MATTER if key in self.given]
        self.notes: list[str] = []

    def run(self) -> Translation:
        self._refuse_chips()
        dataset, n_classes = self._dataset()
        links = link_layers(self.file, n_classes)
        layers = [self._layer(link) for link in links]
        if isinstance(self.file.network_layout, LayeredLayout) and any(
            layer.monitor for layer in self.file.network_layout.layers
        ):
            self.unused.append("network_layout.layers[..].monitor (all savepoints hold all parameters)")
        training = self._training(links)
        if self.unused:
            self.notes.append(f"ignored, as it does not matter here: {', '.join(self.unused)}")
        network = {
            "engine": "first_spike",
            "tau_mem": self.neurons.tau_mem or self.tau_syn,
            "tau_syn": self.tau_syn,
            "v_threshold": self.neurons.threshold,
            "v_leak": self.neurons.leak,
            "layers": layers,
        }
        config = {"name": self.name, "dataset": dataset, "network": network, "training": training}
        return Translation(config, self.notes)

    def _refuse_chips(self) -> None:
        if self.training.use_hicannx:
            raise ConfigError("training_params.use_hicannx: there is no chip here, only the simulator; set it to false")
        if self.training.substrate != "sim":
            raise ConfigError(
                f"training_params.substrate: {self.training.substrate!r} is a chip; here is only the simulator, 'sim'"
            )

    # -- data -----------------------------------------------------------------------------------------------------

    def _dataset(self) -> tuple[dict[str, Any], int]:
        theirs, n_inputs = self.file.dataset_params, self.file.network_layout.n_inputs
        sizes, n_classes = _SIZES[theirs.name]
        if n_inputs not in {n * factor for n in sizes for factor in (1, theirs.multiply_input_layer)}:
            raise ConfigError(
                f"network_layout.n_inputs: the data set {theirs.name} has {' or '.join(map(str, sizes))} inputs, got "
                f"{n_inputs}"
            )
        window = {"t_early": _EARLY / self.tau_syn, "t_late": _LATE / self.tau_syn}
        match theirs.name:
            case "single_in_single_out":
                spike = theirs.input_params
                parts = dict.fromkeys(("n_train", "n_valid", "n_test"), spike.num_samples)
                times = {"time": spike.input_mean / self.tau_syn, "jitter": spike.input_std_dev / self.tau_syn}
                return {"name": theirs.name, **times, **parts}, n_classes
            case "mnist":
                return {"name": "mnist", **window}, n_classes
            case "16x16_mnist":
                return {"name": "mnist_16x16", **window}, n_classes
        options: dict[str, Any] = {"bias_time": None}  # theirs come from the layers
        if theirs.name == "bars":
            options["jitter"] = 0.0
        if theirs.name == "xor":
            options["complements"] = n_inputs // theirs.multiply_input_layer == 4 or n_inputs == 4
        return {"name": theirs.name, **window, **options}, n_classes

    # -- layers ---------------------------------------------------------------------------------------------------

    def _layer(self, link: Link) -> dict[str, Any]:
        neuron, layer, training = link.neuron, link.layer, self.training
        factor = link.weight_factor
        # Adam's steps have the size of the learning rate whatever the gradient's unit; those of gradient descent carry
        # the gradient, dL/d(weight here) = dL/d(weight there) / f, so that their rate needs the square.
        per_step = factor if training.optimizer == "adam" else factor**2
        rate = (layer.learning_rate or training.learning_rate) * per_step
        limit = neuron.max_dw_norm or training.max_dw_norm
        step, most = training.rounding_precision, neuron.clip_weights_max or training.clip_weights_max
        translated: dict[str, Any] = {
            "size": layer.size,
            "repeat": link.repeat,
            "bias_times": [time / self.tau_syn for time in link.bias_times],
            "delay": self._delay(link),
            "weight_init": {"mean": layer.weights_mean * factor, "std": layer.weights_std * factor},
            "trainable": layer.trainable,
            "learning_rate": None if rate == training.learning_rate else rate,
            # Theirs bounds gradients of the loss's mean over the batch, in their weights; here it is a single sample's.
            # (Theirs drops what one neuron gets from one sample if an entry of it is larger; here the gradient of the
            # sample is shortened.)
            "max_dw_norm": limit * training.batch_size / factor if limit else None,
            "weight_max": most * factor if most else None,
            "weight_step": step * factor if step else None,
            "neuron": {
                key: value
                for key, value, common in (
                    ("tau_mem", link.tau_mem, self.neurons.tau_mem or self.tau_syn),
                    ("tau_syn", neuron.tau_syn, self.tau_syn),
                    ("v_threshold", neuron.threshold, self.neurons.threshold),
                    ("v_leak", neuron.leak, self.neurons.leak),
                )
                if value != common
            },
            "threshold_noise": {
                "sample": neuron.threshold_noise_s2s_std,
                "batch": neuron.threshold_noise_b2b_std,
                "fixed_mean": neuron.threshold_noise_fp_mean,
                "fixed_std": neuron.threshold_noise_fp_std,
            },
            "spike_jitter": neuron.jitter / self.tau_syn,
        }
        if training.weight_bumping_value > 0:
            translated["max_silent_fraction"] = layer.max_num_missing_spikes
        ratio = neuron.model_tau_ratio
        if ratio is not None and not math.isclose(ratio, link.tau_mem / neuron.tau_syn):
            translated["gradient_tau_ratio"] = ratio
        return translated

    def _delay(self, link: Link) -> dict[str, Any] | None:
        theirs, tau = link.delay, link.neuron.tau_syn
        if theirs is None:
            return None
        positivity, unit = theirs.positivity, 1.0
        if positivity is None:
            self.notes.append(f"{link.delay_path}: no positivity is given, clip is taken")
        if positivity is not None and positivity.name == "sigmoid":  # its raw values have no unit
            mapped = {"name": "sigmoid", "scale": positivity.scale / tau, "shift": positivity.shift / tau}
        else:
            mapped, unit = {"name": "clip" if positivity is None else positivity.name}, 1.0 / tau
        per_step = unit if self.training.optimizer == "adam" else unit**2
        rate = (theirs.learning_rate or self.training.learning_rate) * per_step
        return {
            "kind": theirs.name.removeprefix("Delay").lower(),
            "mean": theirs.delay_mean * unit,
            "std": theirs.delay_std * unit,
            "positivity": mapped,
            "trainable": theirs.trainable,
            "learning_rate": None if rate == self.training.learning_rate else rate,
            "shared_pre": theirs.presyn_sharing_factor,
            "shared_post": theirs.postsyn_sharing_factor,
            "jitter": theirs.jitter / self.tau_syn,
        }

    # -- training -------------------------------------------------------------------------------------------------

    def _training(self, links: list[Link]) -> dict[str, Any]:
        theirs = self.training
        loss, regularizers = self._loss()
        translated: dict[str, Any] = {
            "epochs": theirs.epoch_number,
            "batch_size": theirs.batch_size,
            "learning_rate": theirs.learning_rate,
            "optimizer": {"name": "adam"},
            "loss": loss,
            "regularizers": regularizers,
            "silent": self._silent(links),
            "seed": (theirs.numpy_seed << 31) + theirs.torch_seed,  # another one for every pair
            "savepoint_every": max(1, theirs.epoch_number // 15),
            "savepoints": sorted({k for k in theirs.epoch_snapshots if 1 <= k <= theirs.epoch_number}),
        }
        if theirs.optimizer == "sgd":
            translated["optimizer"] = {"name": "sgd", "momentum": theirs.momentum}
        elif theirs.momentum:
            self.unused.append("training_params.momentum")
        scheduler = theirs.lr_scheduler
        if scheduler is not None:
            names = {"StepLR": "step", "MultiStepLR": "multi_step", "ExponentialLR": "exponential"}
            options = scheduler.model_dump(exclude={"type"})
            if "step_size" in options:
                options["step"] = options.pop("step_size")
            translated["schedule"] = {"name": names[scheduler.type], **options}
        if theirs.training_noise is not None:
            if theirs.training_noise.mean != 0:
                raise ConfigError(f"training_params.training_noise.mean: must be 0, got {theirs.training_noise.mean}")
            translated["time_noise"] = theirs.training_noise.std_dev / self.tau_syn
        if theirs.use_forward_integrator:
            for key in ("resolution", "sim_time"):
                if getattr(theirs, key) is None:
                    raise ConfigError(f"training_params.{key}: is missing; use_forward_integrator needs it")
            assert theirs.resolution is not None
            assert theirs.sim_time is not None
            step, end = theirs.resolution / self.tau_syn, theirs.sim_time / self.tau_syn
            translated["forward"] = {"name": "euler", "resolution": step, "t_max": end}
        else:
            self.unused += [f"training_params.{key}" for key in ("resolution", "sim_time") if key in self.given]
        return translated

    def _loss(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        theirs = self.training
        own: TheirLoss | None = theirs.loss
        terms: tuple[Regulariser, ...] = theirs.regulariser
        flat = ("alpha", "beta", "xi")
        if own is None:  # the older files have the options of TTFS beside the others
            own = TTFS(type="TTFS", **{key: getattr(theirs, key) for key in flat})
        elif isinstance(own, TTFS):
            own = own.model_copy(
                update={key: getattr(theirs, key) for key in flat if getattr(own, key) is None and key in self.given}
            )
        else:
            self.unused += [f"training_params.{key}" for key in flat if key in self.given]
        options = own.model_dump(exclude={"type", "alpha", "beta", "regulariser"})
        if isinstance(own, TTFS):
            if own.xi is None:
                raise ConfigError("training_params.loss.xi: is missing, the width of TTFS")
            translated = {"name": "cross_entropy", **options}  # xi is in units of tau_syn there, too
        else:
            name = "mse" if "t_correct" in options else "shift_invariant_mse"
            translated = {"name": name, **{key: value / self.tau_syn for key, value in options.items()}}
        if "t_correct" in translated:  # a silent output must not count as one that fires when it should
            translated["t_silent"] = max(translated["t_correct"], translated["t_wrong"]) + 5.0
        early, beta, prices = own.alpha or 0.0, own.beta, []
        for term in (*own.regulariser, *terms):
            if isinstance(term, EarlyOutput):
                early, beta = term.alpha, term.beta
            elif term.alpha > 0:
                of = "delay" if term.use_effective_delays else "raw"
                unit = self.tau_syn**2 if of == "delay" else 1.0  # here (delay / tau_syn)^2
                prices.append({"name": "delay_l2", "strength": term.alpha * unit, "of": of})
        translated["alpha"] = early
        if beta is not None:
            translated["beta"] = beta
        return translated, prices

    def _silent(self, links: list[Link]) -> dict[str, Any]:
        theirs = self.training
        if theirs.weight_bumping_value == 0:
            return {"name": "none"}
        factors = {link.weight_factor for link in links if link.layer.trainable}
        if len(factors) > 1:
            raise ConfigError(
                "training_params.weight_bumping_value: one size for all layers needs one g_leak, but the layers have "
                f"{', '.join(f'{1 / f:g}' for f in sorted(factors))}"
            )
        return {
            "name": "bumping",
            "size": theirs.weight_bumping_value * (factors.pop() if factors else 1.0),
            "targeted": theirs.weight_bumping_targeted,
            "exponential": theirs.weight_bumping_exp,
        }
