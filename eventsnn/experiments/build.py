"""From a configuration to the things it describes, whatever kind of experiment it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventsnn.datasets import Dataset
from eventsnn.experiments import build_clocked, build_event_driven, build_first_spike
from eventsnn.experiments.schema import ClockedConfig, Config, FirstSpikeConfig
from eventsnn.graph import Network
from eventsnn.network import Sequential

if TYPE_CHECKING:
    from eventsnn.training.trainer import Trainer

__all__ = ["build_dataset", "build_network", "build_trainer"]


def build_dataset(config: Config) -> Dataset:
    """Load or generate the data set, encoded for the network."""
    dataset: Dataset = _builder(config).build_dataset(config)
    return dataset


def build_network(config: Config, n_inputs: int, n_outputs: int) -> Sequential | Network:
    """The network with its initial weights, drawn from a stream of the seed that nothing else uses."""
    network: Sequential | Network = _builder(config).build_network(config, n_inputs, n_outputs)
    return network


def build_trainer(config: Config, network: Sequential | Network, *, threads: int | None = None) -> Trainer:
    """The trainer of a network, at epoch 0; its random stream is independent of the initial weights."""
    trainer: Trainer = _builder(config).build_trainer(config, network, threads=threads)
    return trainer


def _builder(config: Config) -> Any:
    if isinstance(config, FirstSpikeConfig):
        return build_first_spike
    return build_clocked if isinstance(config, ClockedConfig) else build_event_driven
