"""What a configuration file of fastAndDeep / DelGrad may contain; `eventsnn.experiments.fast_and_deep` translates it.

One model for both releases. The sections have two names each (``dataset`` and ``dataset_params``, ``neuron_params`` and
``default_neuron_params``), and ``network_layout`` describes the layers one by one or by lists with one entry per layer.
Times are in the unit of the file's tau_syn, which is 1 in every published file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from eventsnn.experiments.schema_base import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Strict,
    default,
    described,
)
from eventsnn.experiments.schema_fast_and_deep_training import LimitOrFalse, TrainingParams

__all__ = [
    "FastAndDeepFile",
    "LayeredLayout",
    "ListedLayout",
    "NeuronParams",
    "TheirBiases",
    "TheirBroadcast",
    "TheirDelay",
    "TheirLayer",
    "TheirMultiplex",
    "TheirNeurons",
]


# -- data and neurons ---------------------------------------------------------------------------------------------


class InputParams(Strict):
    """The spike of the data set single_in_single_out."""

    input_mean: NonNegativeFloat = default(1.0, "time of the input spike")
    input_std_dev: NonNegativeFloat = default(0.0, "standard deviation of the noise on it")
    num_samples: PositiveInt = default(1, "samples")


class TheirDataset(Strict):
    """The data set."""

    name: Literal["yin_yang", "xor", "bars", "mnist", "16x16_mnist", "single_in_single_out"]
    multiply_input_layer: PositiveInt = default(1, "every input so many times")
    input_params: InputParams = default({}, "of single_in_single_out")


class NeuronParams(Strict):
    """Parameters of all neurons."""

    g_leak: PositiveFloat = described("leak conductance; tau_syn / tau_mem")
    leak: float = default(0.0, "resting potential")
    tau_syn: PositiveFloat = described("synaptic time constant")
    tau_mem: PositiveFloat | None = default(None, "membrane time constant; null: tau_syn")
    threshold: float = described("threshold")
    max_dw_norm: LimitOrFalse = default(None, "limit of the gradient of a sample")
    model_tau_ratio: PositiveFloat | None = default(None, "tau_mem / tau_syn of the gradient's model")
    clip_weights_max: LimitOrFalse = default(None, "limit of the weights")
    jitter: NonNegativeFloat = default(0.0, "noise on the spike times")
    threshold_noise_s2s_std: NonNegativeFloat = default(0.0, "threshold noise from sample to sample")
    threshold_noise_b2b_std: NonNegativeFloat = default(0.0, "threshold noise from batch to batch")
    threshold_noise_fp_std: NonNegativeFloat = default(0.0, "fixed threshold noise")
    threshold_noise_fp_mean: float = default(0.0, "its mean")


class NeuronOverrides(Strict):
    """Parameters of the neurons of one layer; what is not given is the default's."""

    g_leak: PositiveFloat | None = default(None, "see NeuronParams")
    leak: float | None = default(None, "see NeuronParams")
    tau_syn: PositiveFloat | None = default(None, "see NeuronParams")
    tau_mem: PositiveFloat | None = default(None, "see NeuronParams")
    threshold: float | None = default(None, "see NeuronParams")
    max_dw_norm: LimitOrFalse = default(None, "see NeuronParams")
    model_tau_ratio: PositiveFloat | None = default(None, "see NeuronParams")
    clip_weights_max: LimitOrFalse = default(None, "see NeuronParams")
    jitter: NonNegativeFloat | None = default(None, "see NeuronParams")
    threshold_noise_s2s_std: NonNegativeFloat | None = default(None, "see NeuronParams")
    threshold_noise_b2b_std: NonNegativeFloat | None = default(None, "see NeuronParams")
    threshold_noise_fp_std: NonNegativeFloat | None = default(None, "see NeuronParams")
    threshold_noise_fp_mean: float | None = default(None, "see NeuronParams")


# -- layers -------------------------------------------------------------------------------------------------------


class TheirPositivity(Strict):
    """What keeps delays positive."""

    name: Literal["sigmoid", "clip", "shift"]
    scale: PositiveFloat = default(1.0, "of the sigmoid")
    shift: NonNegativeFloat = default(0.0, "of the sigmoid")


class AnyLayer(Strict):
    """What every layer may carry; saved copies of a file have the sizes in it."""

    monitor: bool = default(False, "record it over the epochs")
    feat_in: Any = default(None, "written by the program")
    feat_out: Any = default(None, "written by the program")


class MaybeDelay(AnyLayer):
    """The keys of a delay layer, none of them needed."""

    delay_mean: float = default(0.0, "mean of the raw values")
    delay_std: NonNegativeFloat = default(0.0, "their standard deviation")
    positivity: TheirPositivity | None = default(None, "map from raw values to delays")
    presyn_sharing_factor: PositiveInt = default(1, "channels that share a delay")
    postsyn_sharing_factor: PositiveInt = default(1, "neurons that share a delay")
    trainable: bool = default(True, "whether they are learned")
    learning_rate: PositiveFloat | None = default(None, "null: training_params'")
    jitter: NonNegativeFloat = default(0.0, "noise on the delays")


class TheirDelay(MaybeDelay):
    """Delays of the next layer of neurons."""

    name: Literal["DelayAxonal", "DelayDendritic", "DelaySynaptic"]
    delay_mean: float = described("mean of the raw values")
    delay_std: NonNegativeFloat = described("their standard deviation")


class TheirBroadcast(MaybeDelay):
    """No delays. Sweeps put it in the place of a delay layer by its name alone, so that layer's keys may stand here."""

    name: Literal["BroadcastLayer"]


class TheirBiases(AnyLayer):
    """Further channels that spike once."""

    name: Literal["Biases"]
    times: tuple[NonNegativeFloat, ...] = described("times of the spikes", strict=False)


class TheirMultiplex(AnyLayer):
    """Every channel several times."""

    name: Literal["Multiplex"]
    factor: PositiveInt = described("how many times")


class TheirNeurons(AnyLayer):
    """Neurons and the weights before them."""

    name: Literal["NeuronLayer", "EqualtimeLayer"]
    size: PositiveInt = described("number of neurons")
    weights_mean: float = described("mean of the initial weights")
    weights_std: NonNegativeFloat = described("their standard deviation")
    max_num_missing_spikes: Fraction = described("bumped if a larger share of its spikes is missing")
    learning_rate: PositiveFloat | None = default(None, "null: training_params'")
    trainable: bool = default(True, "whether the weights are learned")
    biases: tuple[NonNegativeFloat, ...] = default((), "times of bias spikes", strict=False)
    neuron_params: NeuronOverrides = default({}, "what these neurons have of their own")


TheirLayer = Annotated[
    TheirDelay | TheirBroadcast | TheirBiases | TheirMultiplex | TheirNeurons, Field(discriminator="name")
]


class LayeredLayout(Strict):
    """The layers one by one."""

    n_inputs: PositiveInt = described("number of inputs")
    layers: tuple[TheirLayer, ...] = described("what the spikes pass, in order", strict=False, min_length=1)


def _bias_form(value: Any) -> str:
    nested = isinstance(value, (list, tuple)) and any(isinstance(item, (list, tuple)) for item in value)
    return "each" if nested else "all"


_Times = Annotated[tuple[NonNegativeFloat, ...], Field(strict=False)]
BiasTimes = Annotated[
    Annotated[_Times, Tag("all")] | Annotated[tuple[_Times, ...], Field(strict=False), Tag("each")],
    Discriminator(_bias_form),
]


class ListedLayout(Strict):
    """The layers by lists with one entry per layer."""

    n_inputs: PositiveInt = described("number of inputs")
    n_layers: PositiveInt | None = default(None, "number of layers")
    layer_sizes: tuple[PositiveInt, ...] = default((), "neurons of each", strict=False)
    n_hidden: Annotated[
        tuple[PositiveInt, ...], BeforeValidator(lambda value: [value] if isinstance(value, int) else value)
    ] = default((), "neurons of the hidden layers, in place of layer_sizes", strict=False)
    weight_means: tuple[float, ...] = described("means of the initial weights", strict=False)
    weight_stdevs: tuple[NonNegativeFloat, ...] = described("their standard deviations", strict=False)
    n_biases: tuple[Annotated[int, Field(ge=0)], ...] = default((), "bias spikes of each layer", strict=False)
    bias_times: BiasTimes = default((), "their times: one list for all layers, or one for each")

    @property
    def n(self) -> int:
        """Number of layers."""
        return len(self.layer_sizes) or len(self.n_hidden) + 1

    def times_of_layers(self) -> list[tuple[float, ...]]:
        """Times of the bias spikes of each layer; a list for all is cut to the number of each."""
        each: list[Any] = list(self.bias_times)
        if not each or not isinstance(each[0], tuple):
            each = [self.bias_times] * self.n
        counts = self.n_biases or [len(times) for times in each]
        return [tuple(times[:count]) for times, count in zip(each, counts, strict=False)]

    @model_validator(mode="after")
    def _one_list_of_sizes(self) -> ListedLayout:
        if bool(self.layer_sizes) == bool(self.n_hidden):
            raise ValueError("network_layout.layer_sizes: give it or n_hidden, one of the two")
        for k, (count, times) in enumerate(zip(self.n_biases, self.times_of_layers(), strict=False)):
            if len(times) < count:
                raise ValueError(f"network_layout.n_biases: layer {k} has {count}, but bias_times only {len(times)}")
        return self


def _layout_form(value: Any) -> str:
    listed = isinstance(value, dict) and "layers" not in value and set(value) & {"layer_sizes", "n_hidden"}
    return "listed" if listed or isinstance(value, ListedLayout) else "layered"


# -- the file -----------------------------------------------------------------------------------------------------


class FastAndDeepFile(Strict):
    """A whole file, its sections under the newer names."""

    dataset_params: TheirDataset = described("the data set")
    default_neuron_params: NeuronParams = described("parameters of the neurons")
    network_layout: Annotated[
        Annotated[LayeredLayout, Tag("layered")] | Annotated[ListedLayout, Tag("listed")],
        Discriminator(_layout_form),
    ] = described("the layers")
    training_params: TrainingParams = described("how the network is trained")

    @model_validator(mode="after")
    def _lists_have_an_entry_per_layer(self) -> FastAndDeepFile:
        layout, missing = self.network_layout, self.training_params.max_num_missing_spikes
        if isinstance(layout, LayeredLayout):
            if missing is not None:
                raise ValueError(
                    "training_params.max_num_missing_spikes: goes into the layers of network_layout.layers, where they "
                    "are described one by one"
                )
            return self
        n = layout.n
        if missing is None:
            raise ValueError("training_params.max_num_missing_spikes: is missing")
        for key, value in (
            ("network_layout.weight_means", layout.weight_means),
            ("network_layout.weight_stdevs", layout.weight_stdevs),
            ("network_layout.n_biases", layout.n_biases or [0] * n),
            ("network_layout.bias_times", layout.times_of_layers()),
            ("training_params.max_num_missing_spikes", missing),
        ):
            if len(value) != n:
                raise ValueError(f"{key}: has {len(value)} entries for {n} layers")
        if layout.n_layers not in (None, n):
            raise ValueError(f"network_layout.n_layers: is {layout.n_layers}, but there are {n} layers")
        return self
