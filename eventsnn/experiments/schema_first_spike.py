"""What a configuration says of a chain of neurons that fire once, described layer by layer, with delays and noise.

It is meant by ``network: {engine: first_spike}``; `eventsnn.experiments.build_first_spike` makes the objects. Times are
in units of network.tau_syn, but for time constants, which are in seconds. Weights are in the drive convention.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eventsnn.experiments.schema_base import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Strict,
    default,
    described,
)
from eventsnn.experiments.schema_network import WeightInit
from eventsnn.experiments.schema_training import (
    BumpingConfig,
    CommonTraining,
    CrossEntropyConfig,
    HingeConfig,
    MSEConfig,
    NoSilentConfig,
    ShiftInvariantMSEConfig,
)

__all__ = ["DelayConfig", "FirstSpikeLayer", "FirstSpikeNetworkConfig", "FirstSpikeTrainingConfig"]

# -- network ------------------------------------------------------------------------------------------------------


class SigmoidConfig(Strict):
    """delay = shift + scale sigmoid(raw)."""

    name: Literal["sigmoid"]
    scale: PositiveFloat = default(1.0, "width of the range, in units of the layer's tau_syn")
    shift: NonNegativeFloat = default(0.0, "lower end of the range, in units of the layer's tau_syn")


class ClipConfig(Strict):
    """delay = raw; negative ones become 0 after every update."""

    name: Literal["clip"]


class ShiftConfig(Strict):
    """delay = raw; after every update all are moved up until the least is not negative."""

    name: Literal["shift"]


class DelayConfig(Strict):
    """Delays of one connection, which may be learned: delay = tau_syn map(raw), tau_syn of the layer."""

    kind: Literal["axonal", "dendritic", "synaptic"] = described(
        "axonal: one per channel before, dendritic: one per neuron, synaptic: one per synapse"
    )
    mean: float = default(0.0, "mean of the normally distributed initial raw values")
    std: NonNegativeFloat = default(0.0, "their standard deviation")
    positivity: Annotated[SigmoidConfig | ClipConfig | ShiftConfig, Field(discriminator="name")] = default(
        {"name": "sigmoid"}, "map from raw values to delays >= 0"
    )
    trainable: bool = default(True, "whether they are learned")
    learning_rate: PositiveFloat | None = default(None, "learning rate of the raw values; null: training's")
    shared_pre: PositiveInt = default(
        1, "so many channels share a delay: with n of them, channel i has that of i mod (n / shared_pre)"
    )
    shared_post: PositiveInt = default(1, "the same for the neurons of the layer")
    jitter: NonNegativeFloat = default(
        0.0, "standard deviation of noise on the delays, drawn for every sample and synapse, in units of tau_syn"
    )

    @model_validator(mode="after")
    def _shares_what_differs(self) -> DelayConfig:
        for key, without in (("shared_pre", "dendritic"), ("shared_post", "axonal")):
            if self.kind == without and getattr(self, key) > 1:
                raise ValueError(f"{key} ({getattr(self, key)}) is given, but {without} delays are the same there")
        return self


class NeuronOverrides(Strict):
    """What the neurons of one layer have of their own; null: the network's value."""

    tau_mem: PositiveFloat | None = default(None, "membrane time constant, in seconds")
    tau_syn: PositiveFloat | None = default(None, "synaptic time constant, in seconds")
    v_threshold: float | None = default(None, "threshold")
    v_leak: float | None = default(None, "resting potential")


class ThresholdNoiseConfig(Strict):
    """Gaussian noise on the thresholds, in the unit of v_threshold; the parts add up."""

    sample: NonNegativeFloat = default(0.0, "standard deviation from sample to sample")
    batch: NonNegativeFloat = default(0.0, "standard deviation from batch to batch")
    fixed_mean: float = default(0.0, "mean of the fixed pattern, one draw per neuron for good")
    fixed_std: NonNegativeFloat = default(0.0, "its standard deviation")


class FirstSpikeLayer(Strict):
    """One layer of neurons and what comes before them: repeated channels, then bias spikes, delays, weights."""

    size: PositiveInt | None = default(None, "number of neurons; null, for the last layer only: the classes")
    repeat: PositiveInt = default(1, "every channel so many times, side by side: 0 0 .. 1 1 ..")
    bias_times: tuple[NonNegativeFloat, ...] = default(
        (), "further channels behind the others, repeated or not, that spike once, at these times", strict=False
    )
    delay: DelayConfig | None = default(None, "delays of the connection; null for none")
    weight_init: WeightInit = described("initial weights in the drive convention (a spike adds its weight to i_syn)")
    trainable: bool = default(True, "whether the weights are learned")
    learning_rate: PositiveFloat | None = default(None, "learning rate of the weights; null: training's")
    max_dw_norm: PositiveFloat | None = default(None, "as in training, of this layer; null: training's")
    max_silent_fraction: Fraction | None = default(
        None, "as in training.silent bumping, of this layer; null: that one's value"
    )
    weight_max: PositiveFloat | None = default(None, "as in training, of this layer; null: training's")
    weight_step: PositiveFloat | None = default(None, "as in training, of this layer; null: training's")
    gradient_tau_ratio: PositiveFloat | None = default(None, "as in training, of this layer; null: training's")
    neuron: NeuronOverrides = default({}, "neuron parameters of this layer")
    threshold_noise: ThresholdNoiseConfig = default({}, "noise on the thresholds")
    spike_jitter: NonNegativeFloat = default(
        0.0, "standard deviation of noise on the spike times of this layer, in units of tau_syn"
    )

    @property
    def has_threshold_noise(self) -> bool:
        """Whether the thresholds are not just those of the neurons."""
        return self.threshold_noise != ThresholdNoiseConfig()


class FirstSpikeNetworkConfig(Strict):
    """A chain of fully connected layers whose neurons fire at most once, described layer by layer."""

    engine: Literal["first_spike"] = described(
        "layers of neurons that fire once, each with delays and noise of its own"
    )
    tau_mem: PositiveFloat = described("membrane time constant, in seconds")
    tau_syn: PositiveFloat = described("synaptic time constant, in seconds: the unit of all other times")
    v_threshold: float = default(1.0, "threshold of all neurons")
    v_leak: float = default(0.0, "resting potential of all neurons, below the threshold")
    layers: tuple[FirstSpikeLayer, ...] = described("hidden layers and the output", strict=False, min_length=1)

    @model_validator(mode="after")
    def _layers_fit(self) -> FirstSpikeNetworkConfig:
        for k, layer in enumerate(self.layers):
            if layer.size is None and k < len(self.layers) - 1:
                raise ValueError(f"layers[{k}].size is missing; only the last layer, the classes, can do without")
            threshold, leak = self.value_in(layer, "v_threshold"), self.value_in(layer, "v_leak")
            if leak >= threshold:
                raise ValueError(f"layers[{k}]: v_leak ({leak}) must be less than v_threshold ({threshold})")
        return self

    def value_in(self, layer: FirstSpikeLayer, key: str) -> float:
        """A neuron parameter of a layer: its own value or the network's."""
        own = getattr(layer.neuron, key)
        value: float = getattr(self, key) if own is None else own
        return value

    @property
    def layer_names(self) -> list[str]:
        """Names of the populations, as `Sequential` gives them."""
        n_hidden = len(self.layers) - 1
        return [*(["hidden"] if n_hidden == 1 else [f"hidden{k + 1}" for k in range(n_hidden)]), "output"]


# -- training -----------------------------------------------------------------------------------------------------


class ExactForward(Strict):
    """Spike times in closed form."""

    name: Literal["exact"]


class EulerForwardConfig(Strict):
    """Spike times on a time grid by Euler's rule, for comparison; the gradient is exact at the spikes found."""

    name: Literal["euler"]
    resolution: PositiveFloat = default(0.01, "length of a step, in units of tau_syn")
    t_max: PositiveFloat = described("end of the grid, in units of tau_syn")

    @model_validator(mode="after")
    def _has_a_step(self) -> EulerForwardConfig:
        if self.t_max < self.resolution:
            raise ValueError(f"t_max ({self.t_max}) must not be less than resolution ({self.resolution})")
        return self


class DelayL2Config(Strict):
    """strength mean((delay / tau_syn)^2) over all delays that are learned, or over their raw values."""

    name: Literal["delay_l2"]
    strength: PositiveFloat = described("weight of the term")
    of: Literal["delay", "raw"] = default("delay", "what the mean is of")


class FirstSpikeTrainingConfig(CommonTraining):
    """How a chain described layer by layer is trained."""

    loss: Annotated[CrossEntropyConfig | MSEConfig | ShiftInvariantMSEConfig, Field(discriminator="name")] = default(
        {"name": "cross_entropy"}, "loss on the first spike times of the outputs"
    )
    silent: Annotated[NoSilentConfig | HingeConfig | BumpingConfig, Field(discriminator="name")] = default(
        {"name": "hinge"}, "what wakes silent neurons"
    )
    max_dw_norm: PositiveFloat | None = default(
        None, "longest weight gradient of a single sample, longer ones are shortened and counted; null: no limit"
    )
    min_slope: NonNegativeFloat = default(
        0.0, "floor for dv/dt at a spike in the gradient, in (v_threshold - v_leak) / tau_mem; 0: the exact gradient"
    )
    time_noise: NonNegativeFloat = default(0.0, "standard deviation of noise on input times, in units of tau_syn")
    regularizers: tuple[DelayL2Config, ...] = default((), "further terms of the loss", strict=False)
    weight_max: PositiveFloat | None = default(
        None, "weights are clamped to -weight_max .. weight_max after every update; null: no limit"
    )
    weight_step: PositiveFloat | None = default(
        None, "the network computes with weights rounded to multiples of this; the gradient ignores it; null: none"
    )
    gradient_tau_ratio: PositiveFloat | None = default(
        None, "tau_mem / tau_syn of the model behind the gradient; null: that of the neurons"
    )
    forward: Annotated[ExactForward | EulerForwardConfig, Field(discriminator="name")] = default(
        {"name": "exact"}, "how spike times are found"
    )
