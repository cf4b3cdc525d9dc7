"""What a configuration file may contain: one strict model per mapping of the YAML file.

To add an option, add a field in `schema_dataset`, `schema_network` or `schema_training` (with its description and
bounds), in `schema_first_spike` for chains described layer by layer, or in `schema_clocked` for networks on a time
grid; use it in `eventsnn.experiments.build_event_driven`, `build_first_spike` or `build_clocked`, and set it in the
built-in configurations that want it. Rules that hold everywhere: unknown keys are errors, nothing is converted (an int
is accepted where a float is wanted, never a string or a bool), numbers are finite.
Variants (``dataset``, ``optimizer``, ``schedule``, ``loss``, ``silent``) are chosen by their key ``name``, the kind of
experiment by ``network.engine``.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

from pydantic import model_validator

from eventsnn.experiments.schema_base import Strict, described
from eventsnn.experiments.schema_clocked import (
    ClockedDatasetConfig,
    ClockedMnist,
    ClockedNetworkConfig,
    ClockedTrainingConfig,
)
from eventsnn.experiments.schema_dataset import DatasetConfig, MnistImages
from eventsnn.experiments.schema_first_spike import FirstSpikeNetworkConfig, FirstSpikeTrainingConfig
from eventsnn.experiments.schema_network import NetworkConfig, WeightInit
from eventsnn.experiments.schema_training import CommonTraining, TrainingConfig, VoltageAtConfig, VoltageOptions

__all__ = ["ENGINES", "ClockedConfig", "Config", "EventDrivenConfig", "FirstSpikeConfig", "WeightInit"]


class Config(Strict):
    """A whole experiment: what all kinds of it have."""

    name: str = described(
        "name of the run folder: letters, digits, '.', '_', '-'", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80
    )
    dataset: Any = described("data set and its options")
    network: Any = described("neurons, layers and initial weights")
    training: CommonTraining = described("how the network is trained")

    @model_validator(mode="after")
    def _only_images_are_moved(self) -> Self:
        is_image = isinstance(self.dataset, MnistImages)
        as_currents = isinstance(self.dataset, ClockedMnist) and self.dataset.encoding.name == "currents"
        if self.training.image_shift > 0 and (not is_image or as_currents):
            what = "dataset.encoding is currents" if as_currents else f"dataset {self.dataset.name} has no images"
            raise ValueError(f"training.image_shift moves images of spikes, but {what}")
        if self.training.input_dropout > 0 and as_currents:
            raise ValueError("training.input_dropout leaves out input spikes, but dataset.encoding is currents")
        return self

    @property
    @abstractmethod
    def output_may_be_silent(self) -> bool:
        """Whether a sample can go without a class, because no output fires."""


class EventDrivenConfig(Config):
    """An experiment in continuous time."""

    dataset: DatasetConfig = described("data set and its options")
    network: NetworkConfig = described("neurons, layers and initial weights")
    training: TrainingConfig = described("how the network is trained")

    @model_validator(mode="after")
    def _loss_fits_output(self) -> EventDrivenConfig:
        network, training = self.network, self.training
        if isinstance(training.loss, VoltageOptions) != (network.output == "leaky"):
            raise ValueError(
                f"training.loss is {training.loss.name!r}, but network.output is {network.output!r}; the losses on "
                "potentials (max_voltage, mean_voltage, voltage_at) and leaky outputs go together"
            )
        if training.loss.name == "mean_voltage" and network.t_max is None:
            raise ValueError("training.loss mean_voltage needs network.t_max, the end of the time it is the mean over")
        by_eventprop = network.output == "leaky" or network.hidden_spikes != 1 or network.t_max is not None
        if by_eventprop and training.max_dw_norm is not None:
            raise ValueError(
                "training.max_dw_norm is only for networks in which every neuron fires at most once, simulated without "
                "network.t_max; training.min_slope bounds the gradients of the others"
            )
        self._require_any_network_options()
        if network.output == "leaky" and training.silent.name == "bumping":
            raise ValueError("training.silent bumping is not for leaky outputs; use hinge or none")
        return self

    @property
    def output_may_be_silent(self) -> bool:
        """See `Config.output_may_be_silent`."""
        return self.network.output != "leaky"

    @property
    def is_graph(self) -> bool:
        """Whether the network is more than a chain whose weights are learned."""
        return self.network.recurrent is not None or not self.training.learn.only_weights

    def _require_any_network_options(self) -> None:
        network, training = self.network, self.training
        if isinstance(training.loss, VoltageAtConfig):
            times, end = list(training.loss.times), network.t_max
            if times != sorted(times) or (end is not None and times[-1] > end):
                raise ValueError(f"training.loss.times must rise and not exceed network.t_max ({end}), got {times}")
        if not self.is_graph:
            return
        why = "network.recurrent is given" if network.recurrent else "training.learn goes beyond the weights"
        if network.recurrent is not None and network.t_max is None:
            raise ValueError("network.recurrent needs network.t_max: such a network could fire for ever")
        if training.learn.delays > 0 and (network.recurrent is None or network.recurrent.delay[1] == 0):
            raise ValueError("training.learn.delays needs connections with delays: set network.recurrent.delay")
        if training.dtype != "float64":
            raise ValueError(f"training.dtype must be float64 where {why}; got {training.dtype}")
        if training.max_dw_norm is not None:
            raise ValueError(f"training.max_dw_norm must be null where {why}; training.min_slope bounds the gradients")
        if training.silent.name == "bumping":
            raise ValueError(f"training.silent bumping is not for networks where {why}; use hinge or none")


class FirstSpikeConfig(Config):
    """An experiment with a chain of neurons that fire once, described layer by layer."""

    dataset: DatasetConfig = described("data set and its options")
    network: FirstSpikeNetworkConfig = described("neurons, layers, delays and initial weights")
    training: FirstSpikeTrainingConfig = described("how the network is trained")

    @property
    def output_may_be_silent(self) -> bool:
        """See `Config.output_may_be_silent`."""
        return True

    @model_validator(mode="after")
    def _layers_fit_training(self) -> FirstSpikeConfig:
        training, layers = self.training, self.network.layers
        delays_are_learned = any(layer.delay is not None and layer.delay.trainable for layer in layers)
        if not delays_are_learned and not any(layer.trainable for layer in layers):
            raise ValueError("network.layers: nothing is learned, trainable is false everywhere")
        if training.regularizers and not delays_are_learned:
            raise ValueError("training.regularizers delay_l2 is given, but no delay of network.layers is learned")
        bumping = training.silent.name == "bumping"
        if training.silent.name == "bumping" and isinstance(training.silent.max_silent_fraction, tuple):
            raise ValueError(
                "training.silent.max_silent_fraction must be one number; single layers have their own, "
                "network.layers[..].max_silent_fraction"
            )
        for k, layer in enumerate(layers):
            own = layer.max_silent_fraction
            if own is not None and not bumping:
                raise ValueError(
                    f"network.layers[{k}].max_silent_fraction is given, but training.silent is {training.silent.name}, "
                    "not bumping"
                )
            if bumping and not layer.trainable and own != 1:
                raise ValueError(
                    f"network.layers[{k}]: trainable is false, but bumping would raise the weights; set "
                    "max_silent_fraction: 1"
                )
        return self


class ClockedConfig(Config):
    """An experiment on a time grid."""

    dataset: ClockedDatasetConfig = described("data set and its options")
    network: ClockedNetworkConfig = described("units, layers and initial weights")
    training: ClockedTrainingConfig = described("how the network is trained")

    @property
    def output_may_be_silent(self) -> bool:
        """See `Config.output_may_be_silent`."""
        return self.network.decode in ("rate", "latency")

    @model_validator(mode="after")
    def _sections_fit_together(self) -> ClockedConfig:
        dataset, network, training = self.dataset, self.network, self.training
        neuron, loss = network.neuron, training.loss
        if not isinstance(dataset, MnistImages) and neuron.name != "current_lif":
            raise ValueError(
                f"dataset {dataset.name} gives its times in units of tau_syn, which network.neuron {neuron.name} does "
                "not have; use current_lif"
            )
        if network.output == "readout" and loss.name.startswith("spike_"):
            raise ValueError(
                f"training.loss is {loss.name!r}, but network.output is 'readout', which never fires; use "
                "membrane_cross_entropy or max_voltage"
            )
        if loss.name == "spike_count_mse" and loss.correct > network.n_steps:
            raise ValueError(
                f"training.loss.correct ({loss.correct:g}) must not be more than network.n_steps ({network.n_steps}): "
                "a unit fires once in a step at most"
            )
        for parameter, rate in training.learn:
            if rate > 0 and parameter not in ("weights", "v_threshold") and not hasattr(neuron, parameter):
                raise ValueError(f"training.learn.{parameter} is given, but network.neuron {neuron.name} has none")
        if not any(rate > 0 for _, rate in training.learn):
            raise ValueError("training.learn leaves nothing to learn: all its factors are 0")
        if training.learn.v_threshold > 0 and network.output == "readout" and not network.hidden:
            raise ValueError("training.learn.v_threshold is given, but no unit of the network has a threshold")
        if training.regularizers and not network.hidden:
            raise ValueError("training.regularizers act on hidden units, but network.hidden is empty")
        if training.method == "eprop":
            self._require_eprop_fits()
        return self

    def _require_eprop_fits(self) -> None:
        network, training = self.network, self.training
        if network.output != "readout" or len(network.hidden) != 1:
            raise ValueError(
                "training.method eprop needs one hidden layer and network.output readout; method surrogate takes all"
            )
        if training.truncate is not None:
            raise ValueError("training.truncate must be null with method eprop, which does not go back in time")
        if any(rate > 0 for name, rate in training.learn if name != "weights"):
            raise ValueError("training.learn: method eprop has gradients of the weights only")


#: kinds of experiments by their network.engine
ENGINES: dict[str, type[Config]] = {
    "event_driven": EventDrivenConfig,
    "first_spike": FirstSpikeConfig,
    "clocked": ClockedConfig,
}
