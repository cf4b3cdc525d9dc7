"""What a configuration file may contain: one strict model per mapping of the YAML file.

To add an option, add a field here (with its description and bounds), use it in `eventsnn.experiments.build`, and set
it in the built-in configurations that want it. Rules that hold everywhere: unknown keys are errors, nothing is
converted (an int is accepted where a float is wanted, never a string or a bool), numbers are finite. Variants
(``dataset``, ``optimizer``, ``schedule``, ``loss``, ``silent``) are chosen by their key ``name``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

__all__ = ["Config", "DatasetConfig", "NetworkConfig", "TrainingConfig", "WeightInit"]

PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def described(text: str, **bounds: Any) -> Any:
    """A field without default, with a description."""
    return Field(description=text, **bounds)


def default(value: Any, text: str, **bounds: Any) -> Any:
    """A field with a default and a description."""
    return Field(default=value, description=text, **bounds)


class Strict(BaseModel):
    """Base of all models: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True)


# -- dataset ------------------------------------------------------------------------------------------------------


class Latency(Strict):
    """Values are encoded as spike times between `t_early` and `t_late`."""

    t_early: NonNegativeFloat = default(0.15, "time of the earliest input spike, in units of tau_syn")
    t_late: PositiveFloat = default(2.0, "time of the latest input spike, in units of tau_syn")

    @model_validator(mode="after")
    def _early_before_late(self) -> Latency:
        if self.t_early >= self.t_late:
            raise ValueError(f"t_early ({self.t_early}) must be less than t_late ({self.t_late})")
        return self


class YinYang(Latency):
    """The Yin-Yang data set: x, y, 1 - x, 1 - y as four spike times, and a bias spike."""

    name: Literal["yin_yang"]
    bias_time: NonNegativeFloat | None = default(0.9, "time of the bias spike, in units of tau_syn; null for none")
    n_train: PositiveInt = default(5000, "training samples")
    n_valid: PositiveInt = default(1000, "validation samples")
    n_test: PositiveInt = default(1000, "test samples")
    seeds: tuple[Seed, Seed, Seed] = default(
        (42, 41, 40),
        "seeds of the training, validation and test samples; the default gives the published ones",
        strict=False,
    )


class Xor(Latency):
    """Two binary inputs and a bias spike."""

    name: Literal["xor"]
    bias_time: NonNegativeFloat | None = default(0.15, "time of the bias spike, in units of tau_syn; null for none")
    jitter: NonNegativeFloat = default(0.0, "standard deviation of the noise on input times, in units of tau_syn")
    n_train: PositiveInt = default(400, "training samples")
    n_valid: PositiveInt = default(100, "validation samples")
    n_test: PositiveInt = default(100, "test samples")
    seed: Seed = default(0, "seed of the generated samples")


class Bars(Latency):
    """Horizontal, vertical and diagonal bars on 3 x 3 pixels."""

    name: Literal["bars"]
    bias_time: NonNegativeFloat | None = default(None, "time of the bias spike, in units of tau_syn; null for none")
    jitter: NonNegativeFloat = default(0.05, "standard deviation of the noise on input times, in units of tau_syn")
    n_train: PositiveInt = default(600, "training samples")
    n_valid: PositiveInt = default(150, "validation samples")
    n_test: PositiveInt = default(150, "test samples")
    seed: Seed = default(0, "seed of the generated samples")


class Mnist(Latency):
    """MNIST, full (28 x 28) or reduced to 16 x 16; bright pixels fire early, dark pixels stay silent."""

    name: Literal["mnist", "mnist_16x16"]
    threshold: Fraction | None = default(0.0, "pixels of a value (0 to 1) up to this stay silent; null: all spike")
    n_train: PositiveInt | None = default(None, "use the first n_train training images; null: all")
    n_valid: int = default(5000, "training images held back for validation", ge=0, le=59_999)
    n_test: PositiveInt | None = default(None, "use the first n_test test images; null: all")
    path: str | None = default(None, "file with the images; null: the shipped one")


DatasetConfig = Annotated[YinYang | Xor | Bars | Mnist, Field(discriminator="name")]


# -- network ------------------------------------------------------------------------------------------------------


class WeightInit(Strict):
    """Normally distributed initial weights of one layer."""

    mean: float = described("mean of the weights")
    std: NonNegativeFloat = described("standard deviation of the weights")
    scale: Literal["none", "fan_in"] = default(
        "none", "fan_in: the mean is divided by n_pre and the standard deviation by sqrt(n_pre)"
    )


class HiddenAndOutput(Strict):
    """One initialisation for all hidden layers, one for the output layer."""

    hidden: WeightInit = described("initial weights of every hidden layer")
    output: WeightInit = described("initial weights of the output layer")


def _list_or_mapping(value: Any) -> str:
    return "per_layer" if isinstance(value, (list, tuple)) else "hidden_and_output"


WeightInits = Annotated[
    Annotated[HiddenAndOutput, Tag("hidden_and_output")]
    | Annotated[tuple[WeightInit, ...], Field(strict=False), Tag("per_layer")],
    Discriminator(_list_or_mapping),
]


class NetworkConfig(Strict):
    """A chain of fully connected layers; by default every neuron fires at most once."""

    tau_mem: PositiveFloat = described("membrane time constant, in seconds")
    tau_syn: PositiveFloat = described("synaptic time constant, in seconds")
    v_threshold: float = default(1.0, "threshold of all neurons")
    v_leak: float = default(0.0, "resting potential of all neurons, below the threshold")
    hidden: tuple[PositiveInt, ...] = described("sizes of the hidden layers, for example [120]", strict=False)
    hidden_spikes: PositiveInt | None = default(
        1, "spikes of a hidden neuron in a sample, at most; null: no limit. Other than 1, EventProp gives the gradients"
    )
    output: Literal["first_spike", "leaky"] = default(
        "first_spike", "output neurons: they fire once, or they are leaky integrators whose potential is read out"
    )
    t_max: PositiveFloat | None = default(
        None, "end of every simulation, in seconds; null: when nothing happens any more"
    )
    weight_init: WeightInits = described(
        "initial weights in the drive convention (a spike adds its weight to i_syn): hidden and output, or one entry "
        "per layer"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> NetworkConfig:
        if self.v_leak >= self.v_threshold:
            raise ValueError(f"v_leak ({self.v_leak}) must be less than v_threshold ({self.v_threshold})")
        n_layers = len(self.hidden) + 1
        if isinstance(self.weight_init, tuple) and len(self.weight_init) != n_layers:
            raise ValueError(
                f"weight_init has {len(self.weight_init)} entries for {n_layers} layers "
                f"({len(self.hidden)} hidden and the output)"
            )
        return self


def _list_or_number(value: Any) -> str:
    return "per_layer" if isinstance(value, (list, tuple)) else "all_layers"


NumberOrList = Annotated[
    Annotated[Fraction, Tag("all_layers")] | Annotated[tuple[Fraction, ...], Field(strict=False), Tag("per_layer")],
    Discriminator(_list_or_number),
]


# -- training -----------------------------------------------------------------------------------------------------


class SGDConfig(Strict):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    momentum: float = default(0.0, "momentum", ge=0, lt=1)


class AdamConfig(Strict):
    """Adam, or AMSGrad."""

    name: Literal["adam"]
    beta1: float = default(0.9, "decay of the mean gradient", ge=0, lt=1)
    beta2: float = default(0.999, "decay of the mean squared gradient", ge=0, lt=1)
    epsilon: PositiveFloat = default(1e-8, "added to the root of the mean squared gradient")
    amsgrad: bool = default(False, "never let the mean squared gradient decrease (AMSGrad)")


class ConstantConfig(Strict):
    """The learning rate stays."""

    name: Literal["constant"]


class StepConfig(Strict):
    """The learning rate is multiplied by gamma every `step` epochs."""

    name: Literal["step"]
    step: PositiveInt = described("epochs between two steps")
    gamma: Decay = described("factor of each step")


class MultiStepConfig(Strict):
    """The learning rate is multiplied by gamma after each of the given epochs."""

    name: Literal["multi_step"]
    milestones: tuple[PositiveInt, ...] = described("epochs after which the factor applies", strict=False)
    gamma: Decay = described("factor of each milestone")


class ExponentialConfig(Strict):
    """The learning rate is multiplied by gamma after every epoch."""

    name: Literal["exponential"]
    gamma: Decay = described("factor of each epoch")


class CosineConfig(Strict):
    """The learning rate falls along half a cosine over all epochs."""

    name: Literal["cosine"]
    minimum: Fraction = default(0.0, "last value as a fraction of the learning rate")
    warmup: NonNegativeFloat = default(0.0, "epochs in which the learning rate rises from 0 first")


class LossOptions(Strict):
    """What all losses share."""

    alpha: NonNegativeFloat = default(0.0, "strength of alpha exp(t* / (beta tau_syn)): the right neuron fires early")
    beta: PositiveFloat = default(1.0, "scale of that term, in units of tau_syn")
    t_silent: PositiveFloat = default(5.0, "time at which a silent output counts as firing, in units of tau_syn")


class CrossEntropyConfig(LossOptions):
    """Cross-entropy of the first spike times: log sum exp(-t / (xi tau_syn)) + t* / (xi tau_syn)."""

    name: Literal["cross_entropy"]
    xi: PositiveFloat = default(0.2, "width of the softmax, in units of tau_syn")


class MSEConfig(LossOptions):
    """Squared distance of the spike times to `t_correct` (the right neuron) and `t_wrong` (the others)."""

    name: Literal["mse"]
    t_correct: float = described("wanted time of the right neuron, in units of tau_syn")
    t_wrong: float = described("wanted time of the other neurons, in units of tau_syn")


class ShiftInvariantMSEConfig(LossOptions):
    """Squared distance of the spike times from `delta_t` behind the right neuron's."""

    name: Literal["shift_invariant_mse"]
    delta_t: PositiveFloat = described("wanted distance behind the right neuron, in units of tau_syn")


class VoltageOptions(Strict):
    """What the losses on potentials of leaky outputs share."""

    scale: PositiveFloat = default(1.0, "the logits are scale times the values")


class MaxVoltageConfig(VoltageOptions):
    """Cross-entropy on the highest potential of every leaky output."""

    name: Literal["max_voltage"]


class MeanVoltageConfig(VoltageOptions):
    """Cross-entropy on the mean potential of every leaky output from 0 to t_max."""

    name: Literal["mean_voltage"]


class NoSilentConfig(Strict):
    """Nothing is done for silent hidden neurons."""

    name: Literal["none"]


class HingeConfig(Strict):
    """Hinge on the peak voltage of silent neurons, differentiated exactly."""

    name: Literal["hinge"]
    strength: NonNegativeFloat = default(0.01, "weight of the hidden layers' term")
    max_silent_fraction: Fraction = default(
        0.5, "hidden neurons silent in up to this fraction of samples are left alone"
    )
    output_strength: NonNegativeFloat = default(
        10.0, "weight of the term of the right output neuron where it is silent"
    )
    memory: float = default(0.9, "share of its old value that the running silent fraction keeps per batch", ge=0, lt=1)


class BumpingConfig(Strict):
    """Weights into neurons that are silent too often are raised."""

    name: Literal["bumping"]
    size: PositiveFloat = default(5e-4, "amount added to the weights")
    max_silent_fraction: NumberOrList = default(0.3, "neurons silent in more samples are bumped: one, or one per layer")
    targeted: bool = default(True, "bump only the neurons that miss, not their whole layer")
    exponential: bool = default(True, "double the amount in every batch that still needs a bump")


OptimizerConfig = Annotated[SGDConfig | AdamConfig, Field(discriminator="name")]
ScheduleConfig = Annotated[
    ConstantConfig | StepConfig | MultiStepConfig | ExponentialConfig | CosineConfig, Field(discriminator="name")
]
LossConfig = Annotated[
    CrossEntropyConfig | MSEConfig | ShiftInvariantMSEConfig | MaxVoltageConfig | MeanVoltageConfig,
    Field(discriminator="name"),
]
SilentConfig = Annotated[NoSilentConfig | HingeConfig | BumpingConfig, Field(discriminator="name")]


class TrainingConfig(Strict):
    """How the network is trained."""

    epochs: PositiveInt = described("epochs in all")
    batch_size: PositiveInt = default(128, "samples per weight update")
    learning_rate: PositiveFloat = described("learning rate of the first epoch")
    optimizer: OptimizerConfig = default({"name": "adam"}, "optimiser and its options")
    schedule: ScheduleConfig = default({"name": "constant"}, "how the learning rate changes over the epochs")
    loss: LossConfig = default(
        {"name": "cross_entropy"}, "loss on the first spike times or the potentials of the outputs"
    )
    silent: SilentConfig = default({"name": "hinge"}, "what wakes silent hidden neurons")
    max_dw_norm: PositiveFloat | None = default(
        None, "longest weight gradient of a single sample, longer ones are shortened and counted; null: no limit"
    )
    min_slope: NonNegativeFloat = default(
        0.0, "floor for dv/dt at a spike in the gradient, in (v_threshold - v_leak) / tau_mem; 0: the exact gradient"
    )
    time_noise: NonNegativeFloat = default(0.0, "standard deviation of noise on input times, in units of tau_syn")
    input_dropout: float = default(0.0, "probability that an input spike is left out in training", ge=0, lt=1)
    dtype: Literal["float32", "float64"] = default("float32", "precision of weights and voltages")
    seed: Seed = default(0, "seed of the initial weights, the order of samples and the noise")
    threads: PositiveInt | None = default(
        None, "threads; null: all cores this process may use. The results are the same bits for any number"
    )
    savepoint_every: PositiveInt = default(1, "epochs between two savepoints (the last epoch always gets one)")

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainingConfig:
        if isinstance(self.schedule, CosineConfig) and self.schedule.warmup >= self.epochs:
            raise ValueError(f"schedule.warmup ({self.schedule.warmup}) must be less than epochs ({self.epochs})")
        return self


class Config(Strict):
    """A whole experiment."""

    name: str = described(
        "name of the run folder: letters, digits, '.', '_', '-'", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80
    )
    dataset: DatasetConfig = described("data set and its options")
    network: NetworkConfig = described("neurons, layers and initial weights")
    training: TrainingConfig = described("how the network is trained")

    @model_validator(mode="after")
    def _loss_fits_output(self) -> Config:
        network, training = self.network, self.training
        if isinstance(training.loss, VoltageOptions) != (network.output == "leaky"):
            raise ValueError(
                f"training.loss is {training.loss.name!r}, but network.output is {network.output!r}; the losses on "
                "potentials (max_voltage, mean_voltage) and leaky outputs go together"
            )
        if training.loss.name == "mean_voltage" and network.t_max is None:
            raise ValueError("training.loss mean_voltage needs network.t_max, the end of the time it is the mean over")
        by_eventprop = network.output == "leaky" or network.hidden_spikes != 1 or network.t_max is not None
        if by_eventprop and training.max_dw_norm is not None:
            raise ValueError(
                "training.max_dw_norm is only for networks in which every neuron fires at most once, simulated without "
                "network.t_max; training.min_slope bounds the gradients of the others"
            )
        if network.output == "leaky" and training.silent.name == "bumping":
            raise ValueError("training.silent bumping is not for leaky outputs; use hinge or none")
        return self
