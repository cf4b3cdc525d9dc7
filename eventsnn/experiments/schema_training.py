"""The training section of a configuration: one model per optimiser, schedule, loss and treatment of silent neurons."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from eventsnn.experiments.schema_base import (
    Decay,
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Seed,
    Strict,
    default,
    described,
)

__all__ = [
    "CommonTraining",
    "MaxVoltageConfig",
    "MeanVoltageConfig",
    "TrainingConfig",
    "VoltageAtConfig",
    "VoltageOptions",
]


def _list_or_number(value: Any) -> str:
    return "per_layer" if isinstance(value, (list, tuple)) else "all_layers"


NumberOrList = Annotated[
    Annotated[Fraction, Tag("all_layers")] | Annotated[tuple[Fraction, ...], Field(strict=False), Tag("per_layer")],
    Discriminator(_list_or_number),
]


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
    """Cross-entropy on the highest potential of every output."""

    name: Literal["max_voltage"]


class MeanVoltageConfig(VoltageOptions):
    """Cross-entropy on the mean potential of every output, from 0 to t_max or over all steps."""

    name: Literal["mean_voltage"]


class VoltageAtConfig(VoltageOptions):
    """Cross-entropy on the mean of the potentials of every leaky output at given times."""

    name: Literal["voltage_at"]
    times: tuple[NonNegativeFloat, ...] = described(
        "in seconds, in rising order, not after t_max", strict=False, min_length=1
    )


class LearnConfig(Strict):
    """What is learned, and how fast: factors on the learning rate, 0 for what stays as it is."""

    weights: NonNegativeFloat = default(1.0, "of the weights")
    delays: NonNegativeFloat = default(0.0, "of the delays, which are learned in units of tau_syn")
    tau_mem: NonNegativeFloat = default(0.0, "of the hidden neurons' membrane time constants, one each, as logarithms")
    tau_syn: NonNegativeFloat = default(0.0, "of the hidden neurons' synaptic time constants, likewise")

    @property
    def only_weights(self) -> bool:
        """Whether it is what every network can learn."""
        return self == LearnConfig()


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
    """Weights of layers that are silent too often are raised."""

    name: Literal["bumping"]
    size: PositiveFloat = default(5e-4, "amount added to the weights")
    max_silent_fraction: NumberOrList = default(
        0.3, "a layer of whose spikes a larger share is missing is bumped: one for all, or one per layer"
    )
    targeted: bool = default(True, "bump only the neurons that are silent in some sample, not their whole layer")
    exponential: bool = default(True, "double the amount in every further batch that needs a bump of the same layer")


OptimizerConfig = Annotated[SGDConfig | AdamConfig, Field(discriminator="name")]
ScheduleConfig = Annotated[
    ConstantConfig | StepConfig | MultiStepConfig | ExponentialConfig | CosineConfig, Field(discriminator="name")
]
LossConfig = Annotated[
    CrossEntropyConfig | MSEConfig | ShiftInvariantMSEConfig | MaxVoltageConfig | MeanVoltageConfig | VoltageAtConfig,
    Field(discriminator="name"),
]
SilentConfig = Annotated[NoSilentConfig | HingeConfig | BumpingConfig, Field(discriminator="name")]


class CommonTraining(Strict):
    """What training by any gradient needs."""

    epochs: PositiveInt = described("epochs in all")
    batch_size: PositiveInt = default(128, "samples per weight update")
    learning_rate: PositiveFloat = described("learning rate of the first epoch")
    optimizer: OptimizerConfig = default({"name": "adam"}, "optimiser and its options")
    schedule: ScheduleConfig = default({"name": "constant"}, "how the learning rate changes over the epochs")
    input_dropout: float = default(0.0, "probability that an input spike is left out in training", ge=0, lt=1)
    image_shift: int = default(0, "pixels by which images are moved at most in training, at random", ge=0, le=15)
    dtype: Literal["float32", "float64"] = default("float32", "precision of weights and voltages")
    seed: Seed = default(0, "seed of the initial weights, the order of samples and the noise")
    threads: PositiveInt | None = default(
        None, "threads; null: all cores this process may use. The results are the same bits for any number"
    )
    savepoint_every: PositiveInt = default(1, "epochs between two savepoints (the last epoch always gets one)")
    savepoints: tuple[PositiveInt, ...] = default((), "further epochs after which there is a savepoint", strict=False)

    @model_validator(mode="after")
    def _warmup_ends(self) -> CommonTraining:
        if isinstance(self.schedule, CosineConfig) and self.schedule.warmup >= self.epochs:
            raise ValueError(f"schedule.warmup ({self.schedule.warmup}) must be less than epochs ({self.epochs})")
        return self


class TrainingConfig(CommonTraining):
    """How a network in continuous time is trained."""

    loss: LossConfig = default(
        {"name": "cross_entropy"}, "loss on the first spike times or the potentials of the outputs"
    )
    learn: LearnConfig = default({}, "what is learned, and how fast")
    silent: SilentConfig = default({"name": "hinge"}, "what wakes silent hidden neurons")
    max_dw_norm: PositiveFloat | None = default(
        None, "longest weight gradient of a single sample, longer ones are shortened and counted; null: no limit"
    )
    min_slope: NonNegativeFloat = default(
        0.0, "floor for dv/dt at a spike in the gradient, in (v_threshold - v_leak) / tau_mem; 0: the exact gradient"
    )
    time_noise: NonNegativeFloat = default(0.0, "standard deviation of noise on input times, in units of tau_syn")
