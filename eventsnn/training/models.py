"""What a `Trainer` trains: the arrays it changes, the blocks that give their gradients, and what the loss looks at.

Three kinds of network, three ways to their exact gradient: chains of first-spike layers in closed form, other chains
layer by layer by EventProp, everything else by EventProp over the events of `simulate`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.decoding import decode_first_spike
from eventsnn.gradients.chain import ChainGradient, VoltageLoss, loss_of, target_of
from eventsnn.gradients.first_spike import BlockOutcome, TimeLoss, block_events
from eventsnn.gradients.graph_gradient import GraphGradient, require_graph
from eventsnn.gradients.loss_gradient import check_targets
from eventsnn.gradients.spike_count_surrogate import SpikeCountSurrogate
from eventsnn.graph import Network
from eventsnn.kernels.constants import InputEvents
from eventsnn.network import Sequential
from eventsnn.simulation.event_driven import check_inputs, slice_events
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.spikes import Spikes
from eventsnn.training.learnable import Learnable
from eventsnn.training.learned_delays import DelayL2, LearnedDelay, add_prices, delay_prices, price_of

__all__ = ["ChainModel", "GraphModel", "Model", "OfChain"]


class Model(ABC):
    """A network in training.

    Attributes
    ----------
    arrays : by name, what the optimiser changes in place; call `refresh` afterwards
    rates : by name, factor on the learning rate
    hidden_sizes : neurons of every population that fires, without the output
    layer_names, by_layer : of a chain, its populations, and the names of the arrays of each, weights first
    """

    arrays: dict[str, NDArray[np.floating]]
    rates: dict[str, float]
    hidden_sizes: list[int]
    layer_names: list[str]
    by_layer: list[list[str]]

    def __init__(self, loss: TimeLoss | VoltageLoss, t_max: float) -> None:
        self.loss, self.t_max = loss, t_max

    @property
    @abstractmethod
    def network(self) -> Sequential | Network:
        """The network with the present values."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Neurons of the output."""

    @property
    @abstractmethod
    def tau_syn(self) -> Any:
        """Synaptic time constant of the output: the unit of the losses on spike times."""

    @abstractmethod
    def block(self, gradients: dict[str, NDArray[np.floating]]) -> Any:
        """Something whose `run` adds to `gradients`; see `BlockGradient.run`."""

    @abstractmethod
    def outputs(self, spikes: Spikes, pool: BlockPool) -> NDArray[np.float64]:
        """What the loss looks at, for every sample."""

    def source(self, spikes: Any) -> Any:
        """The samples that `take` takes from."""
        return input_events(spikes)

    def take(self, source: Any, chosen: NDArray[np.int64]) -> Any:
        """A copy of the events of some samples."""
        return block_events(source, chosen)

    def n_buffers(self, n_blocks: int) -> int:
        """Blocks that may run side by side, each with gradients of its own."""
        return n_blocks

    def shared(self, spikes: Any) -> frozenset[str]:
        """Names whose gradients have one array for all blocks, filled by `finish`, for such inputs."""
        return frozenset()

    def finish(  # noqa: B027 - for models with shared gradients
        self, outcomes: list[BlockOutcome], gradients: Mapping[str, NDArray[np.floating]], pool: BlockPool
    ) -> None:
        """Add what the blocks left to be added, in their order."""

    def refresh(self, blocks: list[Any]) -> None:  # noqa: B027 - a chain's arrays are its weights themselves
        """Take over the present values of `arrays`."""

    def begin_batch(self, step: int) -> None:  # noqa: B027 - for models that draw noise
        """Make ready for the update number `step`, counted from 0."""

    def options_of_block(self, block: int, n_samples: int) -> dict[str, Any]:
        """Further arguments of the block's `run`."""
        return {}

    def end_batch(self, gradients: Mapping[str, NDArray[np.floating]]) -> None:  # noqa: B027 - likewise
        """Take the gradients of the batch, summed by block, back to `arrays`, in place."""

    def noise_state(self) -> dict[str, Any]:
        """What a savepoint must know of the noise."""
        return {}

    def load_noise_state(self, state: dict[str, Any]) -> None:  # noqa: B027 - likewise
        """Take over a `noise_state`."""

    def evaluate(
        self, spikes: Any, labels: NDArray[np.int64] | None, pool: BlockPool, **options: Any
    ) -> tuple[Any, Any, Any]:
        """Loss of every sample (zeros without labels), its class, -1 where no output fired, and its outputs.

        options : of `outputs`
        """
        outputs = self.outputs(spikes, pool, **options)
        loss: Any = self.loss
        losses = np.zeros(len(outputs)) if labels is None else loss_of(loss, outputs, labels, self.tau_syn)[0]
        classes = decode_first_spike(outputs) if target_of(loss) == "times" else loss.predictions(outputs)
        return losses, classes, outputs

    def check(self, spikes: Any, labels: Any = None) -> None:
        """Raise unless the data fit."""
        check_inputs(self.network, spikes)
        if labels is not None:
            check_targets(self.n_outputs, spikes.n_samples, labels)


class OfChain(Model):
    """A chain in training; it has a copy of its own, whose arrays are what is learned."""

    def __init__(self, network: Sequential, loss: TimeLoss | VoltageLoss, t_max: float) -> None:
        super().__init__(loss, t_max)
        self._network = network.astype(network.layers[0].connection.dtype)
        self.hidden_sizes = [layer.n_neurons for layer in network.layers[:-1]]
        self.layer_names = [layer.name for layer in network.layers]

    @property
    def network(self) -> Sequential:
        """See `Model.network`."""
        return self._network

    @property
    def n_outputs(self) -> int:
        """See `Model.n_outputs`."""
        return self._network.n_outputs

    @property
    def tau_syn(self) -> Any:
        """See `Model.tau_syn`."""
        return self._network.layers[-1].neuron.tau_syn


class ChainModel(OfChain):
    """A chain whose weights are learned: gradients layer by layer by EventProp."""

    def __init__(self, network: Sequential, loss: TimeLoss | VoltageLoss, t_max: float) -> None:
        super().__init__(network, loss, t_max)
        self.arrays = self._network.parameters()
        self.rates = dict.fromkeys(self.arrays, 1.0)
        names = (f"{layer.name}.weight" for layer in network.layers)
        self.by_layer = [[name] if name in self.arrays else [] for name in names]

    def block(self, gradients: dict[str, NDArray[np.floating]]) -> ChainGradient:
        """See `Model.block`."""
        layers = self._network.layers
        d_weights = [gradients.get(f"{own.name}.weight", np.zeros_like(own.connection.weight)) for own in layers]
        return ChainGradient(self._network, d_weights, self.loss, self.t_max)

    def outputs(self, spikes: Spikes, pool: BlockPool) -> NDArray[np.float64]:
        """See `Model.outputs`."""

        def work(events: InputEvents, first: int) -> NDArray[np.float64]:
            chain = ChainGradient(self._network, [], self.loss, self.t_max, keep_trace=False)
            return chain.outputs(events, first).copy()

        return _by_block(work, spikes, pool, self.n_outputs)


class GraphModel(Model):
    """Any network and parameter: gradients by EventProp over the events of `simulate`, in float64."""

    def __init__(
        self,
        network: Network,
        loss: TimeLoss | VoltageLoss,
        t_max: float,
        output: str | None,
        learn: Mapping[str, float | LearnedDelay],
        regularizers: Sequence[Any],
        surrogate: SpikeCountSurrogate | None,
    ) -> None:
        super().__init__(loss, t_max)
        others = tuple(term for term in regularizers if not isinstance(term, DelayL2))
        self._terms: dict[str, Any] = {"regularizers": others, "surrogate": surrogate}
        self.output = require_graph("Trainer", network, loss, output, t_max)
        self._learnable = Learnable(network, learn)
        self._prices = delay_prices(regularizers, self._learnable.delays)
        self.arrays, self.rates = self._learnable.arrays, self._learnable.rates
        self._network = self._learnable.network()
        self.hidden_sizes = [
            population.n_neurons
            for name, population in network.populations.items()
            if population.can_spike and name != self.output
        ]

    @property
    def network(self) -> Network:
        """See `Model.network`."""
        return self._network

    @property
    def n_outputs(self) -> int:
        """See `Model.n_outputs`."""
        return self._network.populations[self.output].n_neurons

    @property
    def tau_syn(self) -> Any:
        """See `Model.tau_syn`."""
        return self._network.populations[self.output].neuron.tau_syn

    def block(self, gradients: dict[str, NDArray[np.floating]]) -> GraphGradient:
        """See `Model.block`."""
        block = GraphGradient(self._network, self.loss, self.output, self.t_max, gradients, **self._terms)
        block.put(self._network, self._learnable.rules())
        return block

    def outputs(self, spikes: Spikes, pool: BlockPool) -> NDArray[np.float64]:
        """See `Model.outputs`."""

        def work(events: InputEvents, first: int) -> NDArray[np.float64]:
            return GraphGradient(self._network, self.loss, self.output, self.t_max, {}).outputs(events, first).copy()

        return _by_block(work, spikes, pool, self.n_outputs)

    def finish(
        self, outcomes: list[BlockOutcome], gradients: Mapping[str, NDArray[np.floating]], pool: BlockPool
    ) -> None:
        """See `Model.finish`."""
        add_prices(self._prices, self._learnable.delays, outcomes, gradients)

    def evaluate(
        self, spikes: Any, labels: NDArray[np.int64] | None, pool: BlockPool, **options: Any
    ) -> tuple[Any, Any, Any]:
        """See `Model.evaluate`; the losses contain the price of the delays, and of the other regularisers nothing."""
        losses, classes, outputs = super().evaluate(spikes, labels, pool, **options)
        return losses + price_of(self._prices, self._learnable.delays), classes, outputs

    def refresh(self, blocks: list[Any]) -> None:
        """See `Model.refresh`."""
        self._network = self._learnable.network()
        rules = self._learnable.rules()
        for block in blocks:
            block.put(self._network, rules)


def _by_block(work: Any, spikes: Spikes, pool: BlockPool, n_outputs: int) -> NDArray[np.float64]:
    source = input_events(spikes)
    found = pool.map(lambda block: work(slice_events(source, *block), block[0]), sample_blocks(spikes.n_samples))
    return np.concatenate(found) if found else np.empty((0, n_outputs))
