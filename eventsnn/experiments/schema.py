"""What a configuration file may contain: one strict model per mapping of the YAML file.

To add an option, add a field in `schema_dataset`, `schema_network` or `schema_training` (with its description and
bounds), use it in `eventsnn.experiments.build`, and set it in the built-in configurations that want it. Rules that hold
everywhere: unknown keys are errors, nothing is converted (an int is accepted where a float is wanted, never a string or
a bool), numbers are finite. Variants (``dataset``, ``optimizer``, ``schedule``, ``loss``, ``silent``) are chosen by
their key ``name``.
"""

from __future__ import annotations

from pydantic import model_validator

from eventsnn.experiments.schema_base import Strict, described
from eventsnn.experiments.schema_dataset import DatasetConfig
from eventsnn.experiments.schema_network import NetworkConfig, WeightInit
from eventsnn.experiments.schema_training import TrainingConfig, VoltageAtConfig, VoltageOptions

__all__ = ["Config", "DatasetConfig", "NetworkConfig", "TrainingConfig", "WeightInit"]


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
