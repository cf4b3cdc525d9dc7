"""What a configuration says of a clock-driven network: its data, its network and its training.

It is meant by ``network: {engine: clocked}``; `eventsnn.experiments.build_clocked` makes the objects.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from eventsnn.experiments.schema_base import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Strict,
    default,
    described,
)
from eventsnn.experiments.schema_dataset import GeneratedConfig, MnistImages
from eventsnn.experiments.schema_network import WeightInit
from eventsnn.experiments.schema_surrogate import SurrogateConfig
from eventsnn.experiments.schema_training import CommonTraining, MaxVoltageConfig, MeanVoltageConfig, VoltageOptions

__all__ = ["ClockedDatasetConfig", "ClockedNetworkConfig", "ClockedTrainingConfig", "InitialWeights"]

# -- data ---------------------------------------------------------------------------------------------------------


class LatencyEncoding(Strict):
    """Every pixel x fires once, in the step (1 - x) n_steps; dark ones are silent."""

    name: Literal["latency"]
    threshold: Fraction = default(0.25, "pixels of a value (0 to 1) below this stay silent")


class CurrentEncoding(Strict):
    """Every pixel is a constant current, the same in every step."""

    name: Literal["currents"]


class ClockedMnist(MnistImages):
    """MNIST, its pixels as spikes in steps or as currents."""

    encoding: Annotated[LatencyEncoding | CurrentEncoding, Field(discriminator="name")] = described(
        "what the pixels become"
    )


ClockedDatasetConfig = Annotated[GeneratedConfig | ClockedMnist, Field(discriminator="name")]

# -- network ------------------------------------------------------------------------------------------------------


class Unit(Strict):
    """What the units of a time grid share; see `eventsnn.clocked_neurons`."""

    v_threshold: PositiveFloat = default(1.0, "a unit fires where its potential is above")
    reset: Literal["zero", "subtract", "none"] = default(
        "subtract", "after a spike the threshold is subtracted, the potential is set to 0, or nothing happens"
    )
    reset_at: Literal["same_step", "next_step"] = default(
        "same_step", "next_step: the threshold is subtracted from the potential of the next step, after its decay"
    )


class CurrentLIFUnit(Unit):
    """Current-based leaky integrate-and-fire unit, by its time constants."""

    name: Literal["current_lif"]
    tau_mem: PositiveFloat = described("membrane time constant, in the unit of dt")
    tau_syn: PositiveFloat = described("synaptic time constant, in the unit of dt")
    decay: Literal["exponential", "euler"] = default(
        "exponential", "factors of a step: exp(-dt/tau), or 1 - dt/tau by Euler's rule"
    )


class LeakyUnit(Unit):
    """Leaky integrate-and-fire unit without synaptic current."""

    name: Literal["leaky"]
    beta: Fraction = described("share of the potential that is left after a step")


class SynapticUnit(Unit):
    """Second-order unit with a synaptic current."""

    name: Literal["synaptic"]
    alpha: Fraction = described("share of the current that is left after a step")
    beta: Fraction = described("share of the potential that is left after a step")


class IFUnit(Unit):
    """Integrate-and-fire unit without leak."""

    name: Literal["if"]


class NormalWeights(WeightInit):
    """Normally distributed initial weights; biases begin at 0."""

    name: Literal["normal"]


class UniformWeights(Strict):
    """Evenly distributed initial weights; biases begin at 0."""

    name: Literal["uniform"]
    low: float = described("lowest weight")
    high: float = described("highest weight")

    @model_validator(mode="after")
    def _in_order(self) -> UniformWeights:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be more than high ({self.high})")
        return self


class TorchLinearWeights(Strict):
    """As torch's linear layers begin: weights and biases evenly from -1/sqrt(n_pre) to 1/sqrt(n_pre)."""

    name: Literal["torch_linear"]


InitialWeights = Annotated[NormalWeights | UniformWeights | TorchLinearWeights, Field(discriminator="name")]


def _list_or_mapping(value: Any) -> str:
    return "per_layer" if isinstance(value, (list, tuple)) else "all_layers"


OneOrPerLayer = Annotated[
    Annotated[InitialWeights, Tag("all_layers")]
    | Annotated[tuple[InitialWeights, ...], Field(strict=False), Tag("per_layer")],
    Discriminator(_list_or_mapping),
]


class ClockedNetworkConfig(Strict):
    """A chain of fully connected layers that takes one step after the other."""

    engine: Literal["clocked"] = described("clocked: steps on a time grid; event_driven: exact events")
    dt: PositiveFloat = default(1.0, "length of a step, in the unit of the times")
    n_steps: PositiveInt = described("steps of every sample")
    neuron: Annotated[CurrentLIFUnit | LeakyUnit | SynapticUnit | IFUnit, Field(discriminator="name")] = described(
        "units of all layers"
    )
    hidden: tuple[PositiveInt, ...] = described("sizes of the hidden layers, for example [128]", strict=False)
    output: Literal["spiking", "readout"] = default(
        "spiking", "output units: they fire like all others, or they have no threshold and their potential is read out"
    )
    bias: bool = default(False, "every unit has a bias of its own, added to its potential in every step and learned")
    weight_init: OneOrPerLayer = described("initial weights of all layers, or a list with one entry per layer")
    recurrent: InitialWeights | None = default(
        None, "initial weights of connections from every hidden layer to itself, a step later; null for none"
    )
    decode: Literal["rate", "latency", "membrane", "mean_membrane", "last_membrane"] = default(
        "rate",
        "the class is the output that fires most or first, or that of the highest, highest mean or last potential",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ClockedNetworkConfig:
        neuron, n_layers = self.neuron, len(self.hidden) + 1
        if isinstance(self.weight_init, tuple) and len(self.weight_init) != n_layers:
            raise ValueError(
                f"weight_init has {len(self.weight_init)} entries for {n_layers} layers "
                f"({len(self.hidden)} hidden and the output)"
            )
        if neuron.name == "current_lif" and neuron.decay == "euler" and self.dt > min(neuron.tau_mem, neuron.tau_syn):
            raise ValueError(
                f"neuron.decay euler needs dt ({self.dt}) up to neuron.tau_mem ({neuron.tau_mem}) and neuron.tau_syn "
                f"({neuron.tau_syn})"
            )
        if self.output == "readout" and self.decode in ("rate", "latency"):
            raise ValueError(
                f"decode {self.decode} needs output spikes, but output is readout; use membrane, "
                "mean_membrane or last_membrane"
            )
        if self.recurrent is not None and not self.hidden:
            raise ValueError("recurrent needs hidden layers, hidden is empty")
        return self


# -- training -----------------------------------------------------------------------------------------------------


class SpikeCountMSEConfig(Strict):
    """Squared error of the spike counts of the outputs."""

    name: Literal["spike_count_mse"]
    correct: NonNegativeFloat = described("wanted number of spikes of the right output")
    wrong: NonNegativeFloat = described("wanted number of spikes of each other output")
    reduction: Literal["half_sum", "mean"] = default(
        "half_sum", "half the sum over the outputs, or their mean as in torch"
    )

    @model_validator(mode="after")
    def _right_above_wrong(self) -> SpikeCountMSEConfig:
        if self.correct <= self.wrong:
            raise ValueError(f"correct ({self.correct}) must be more than wrong ({self.wrong})")
        return self


class SpikeCountCrossEntropyConfig(VoltageOptions):
    """Cross-entropy on the spike counts of the outputs."""

    name: Literal["spike_count_cross_entropy"]


class SpikeRateCrossEntropyConfig(VoltageOptions):
    """Cross-entropy on the spikes per step of the outputs."""

    name: Literal["spike_rate_cross_entropy"]


class MembraneCrossEntropyConfig(VoltageOptions):
    """Cross-entropy on the potentials of the outputs, summed over the steps."""

    name: Literal["membrane_cross_entropy"]


class RatePenalty(Strict):
    """What the spikes of hidden units cost: in proportion to the counts (l1) or to their squares (l2)."""

    name: Literal["spike_rate_l1", "spike_rate_l2"]
    strength: NonNegativeFloat = described("factor on the term")


class ClockedLearn(Strict):
    """What is learned, and how fast: factors on the learning rate, 0 for what stays as it is; one value per unit."""

    weights: NonNegativeFloat = default(1.0, "of the weights, and of the biases where network.bias is true")
    tau_mem: NonNegativeFloat = default(0.0, "of the membrane time constants of current_lif units")
    tau_syn: NonNegativeFloat = default(0.0, "of the synaptic time constants of current_lif units")
    alpha: NonNegativeFloat = default(0.0, "of the currents' decays of synaptic units")
    beta: NonNegativeFloat = default(0.0, "of the potentials' decays of leaky and synaptic units")
    v_threshold: NonNegativeFloat = default(0.0, "of the thresholds of units that fire")


ClockedLoss = Annotated[
    SpikeCountMSEConfig
    | SpikeCountCrossEntropyConfig
    | SpikeRateCrossEntropyConfig
    | MembraneCrossEntropyConfig
    | MaxVoltageConfig
    | MeanVoltageConfig,
    Field(discriminator="name"),
]


class ClockedTrainingConfig(CommonTraining):
    """How a clock-driven network is trained: by surrogate gradients, backwards through the steps, or by e-prop."""

    loss: ClockedLoss = described("loss on the spike counts or the potentials of the outputs")
    surrogate: SurrogateConfig = default(
        {"name": "fast_sigmoid"}, "what stands in for the derivative of a spike by its distance x from the threshold"
    )
    method: Literal["surrogate", "eprop"] = default(
        "surrogate", "surrogate: back through time; eprop: forward, without what goes through recurrent spikes"
    )
    detach_reset: bool = default(False, "true: gradients go around the reset; false: through it")
    truncate: PositiveInt | None = default(None, "gradients are cut every so many steps; null: they go all the way")
    learn: ClockedLearn = default({}, "what is learned, and how fast")
    regularizers: tuple[RatePenalty, ...] = default((), "terms on the spikes of hidden units", strict=False)
