"""The section training_params of a configuration file of fastAndDeep / DelGrad; see `schema_fast_and_deep`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from eventsnn.experiments.schema_base import (
    Decay,
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Strict,
    default,
    described,
)

__all__ = ["TTFS", "EarlyOutput", "LimitOrFalse", "Regulariser", "TheirLoss", "TrainingParams"]


def _unless_false(value: Any) -> Any:
    return None if value is False else value


#: false, as the files have it, or a number
LimitOrFalse = Annotated[PositiveFloat | None, BeforeValidator(_unless_false)]
TheirSeed = Annotated[int, Field(ge=0, lt=2**31)]


class EarlyOutput(Strict):
    """alpha exp(t / beta) of the right neuron."""

    type: Literal["early_output"]
    alpha: NonNegativeFloat = described("strength")
    beta: PositiveFloat = described("scale")


class L2Delay(Strict):
    """alpha mean(delay^2)."""

    type: Literal["l2_delay"]
    alpha: NonNegativeFloat = described("strength")
    use_effective_delays: bool = default(True, "of the delays; false: of the raw values")


Regulariser = Annotated[EarlyOutput | L2Delay, Field(discriminator="type")]


class TheirLoss(Strict):
    """What all losses may carry."""

    alpha: NonNegativeFloat | None = default(None, "strength of alpha exp(t / beta)")
    beta: PositiveFloat | None = default(None, "scale of that term")
    regulariser: tuple[Regulariser, ...] = default((), "further terms", strict=False)


class TTFS(TheirLoss):
    """Cross-entropy of the spike times."""

    type: Literal["TTFS"]
    xi: PositiveFloat | None = default(None, "width of the softmax")


class TheirMSE(TheirLoss):
    """Squared distance to two times."""

    type: Literal["MSE"]
    t_correct: float = described("wanted time of the right neuron")
    t_wrong: float = described("wanted time of the others")


class TheirShiftInvariantMSE(TheirLoss):
    """Squared distance to the right neuron's time plus delta_t."""

    type: Literal["shift_invariant_MSE"]
    delta_t: PositiveFloat = described("wanted distance")


class StepLR(Strict):
    """The learning rate is multiplied by gamma every step_size epochs."""

    type: Literal["StepLR"]
    step_size: PositiveInt = described("epochs")
    gamma: Decay = described("factor")


class MultiStepLR(Strict):
    """The learning rate is multiplied by gamma after the given epochs."""

    type: Literal["MultiStepLR"]
    milestones: tuple[PositiveInt, ...] = described("epochs", strict=False)
    gamma: Decay = described("factor")


class ExponentialLR(Strict):
    """The learning rate is multiplied by gamma after every epoch."""

    type: Literal["ExponentialLR"]
    gamma: Decay = described("factor")


class TrainingNoise(Strict):
    """Gaussian noise on the input times."""

    mean: float = default(0.0, "mean")
    std_dev: NonNegativeFloat = described("standard deviation")


class TrainingParams(Strict):
    """How the network is trained."""

    batch_size: PositiveInt = described("samples per update")
    epoch_number: PositiveInt = described("epochs")
    epoch_snapshots: tuple[int, ...] = default((), "epochs to save", strict=False)
    learning_rate: PositiveFloat = described("learning rate")
    loss: Annotated[TTFS | TheirMSE | TheirShiftInvariantMSE, Field(discriminator="type")] | None = default(
        None, "the loss; without it TTFS with alpha, beta and xi"
    )
    alpha: NonNegativeFloat | None = default(None, "of TTFS")
    beta: PositiveFloat | None = default(None, "of TTFS")
    xi: PositiveFloat | None = default(None, "of TTFS")
    regulariser: tuple[Regulariser, ...] = default((), "further terms of the loss", strict=False)
    lr_scheduler: Annotated[StepLR | MultiStepLR | ExponentialLR, Field(discriminator="type")] | None = default(
        None, "schedule of the learning rate"
    )
    optimizer: Literal["adam", "sgd"] = default("adam", "optimiser")
    momentum: float = default(0.0, "of sgd", ge=0, lt=1)
    max_dw_norm: LimitOrFalse = default(None, "limit of the gradient of a sample")
    max_num_missing_spikes: tuple[Fraction, ...] | None = default(
        None, "of every layer: it is bumped if a larger share of its spikes is missing", strict=False
    )
    weight_bumping_value: NonNegativeFloat = default(0.0, "amount added to the weights")
    weight_bumping_targeted: bool = default(True, "only those of the neurons that miss")
    weight_bumping_exp: bool = default(True, "doubled in every batch that still needs it")
    clip_weights_max: LimitOrFalse = default(None, "limit of the weights")
    rounding_precision: LimitOrFalse = default(None, "weights are rounded to multiples of it")
    training_noise: Annotated[TrainingNoise | None, BeforeValidator(_unless_false)] = default(
        None, "noise on the input times, or false"
    )
    use_forward_integrator: bool = default(False, "spike times by Euler's rule")
    resolution: LimitOrFalse = default(None, "step of Euler's rule")
    sim_time: LimitOrFalse = default(None, "end of Euler's rule")
    numpy_seed: TheirSeed = default(0, "seed")
    torch_seed: TheirSeed = default(0, "seed")
    substrate: str = default("sim", "sim, or a chip")
    use_hicannx: bool = default(False, "a chip")
    batch_size_eval: Any = default(None, "samples at a time in evaluation")
    enforce_cpu: Any = default(None, "do not use a GPU")
    print_step_percent: Any = default(None, "how often progress is printed")
    bump_weight_value: Any = default(None, "left over from an old release")
