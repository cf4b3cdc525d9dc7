"""A chain whose neurons fire at most once, in training: weights and delays, gradients in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.gradients.first_spike import BlockGradient, BlockOutcome, TimeLoss
from eventsnn.network import Sequential
from eventsnn.simulation.delayed_layers import DelayedRunner
from eventsnn.simulation.event_driven import first_spike_times
from eventsnn.simulation.parallel import BlockPool
from eventsnn.spikes import Spikes
from eventsnn.training.learn import Rate, chosen, kind_of
from eventsnn.training.learned_delays import DelayL2, LearnedDelay, add_prices, delay_prices, price_of
from eventsnn.training.models import OfChain

__all__ = ["FirstSpikeModel"]

_KINDS = ("weight", "delay")


class FirstSpikeModel(OfChain):
    """Weights are learned in place; of delays, raw values, whose delays the network follows (`refresh`).

    Parameters
    ----------
    network : a chain of layers that fire once
    loss : a loss on first spike times
    learn : as in `Trainer`
    regularizers : `DelayL2`
    """

    def __init__(
        self, network: Sequential, loss: TimeLoss, learn: Mapping[str, Any], regularizers: Sequence[DelayL2] = ()
    ) -> None:
        super().__init__(network, loss, np.inf)
        self._learned: dict[str, LearnedDelay] = {}
        self._delays: dict[str, NDArray[np.float64]] = {}
        self._units: dict[str, float] = {}
        self.arrays, self.rates = {}, {}
        self.by_layer = []
        wanted = _chosen(network, learn)
        for layer in self._network.layers:
            own = [name for name in (f"{layer.name}.weight", f"{layer.name}.delay") if name in wanted]
            for name in own:
                how = wanted[name]
                if isinstance(how, LearnedDelay):
                    self._units[name] = float(np.median(layer.neuron.tau_syn))
                    delay = np.array(layer.connection.delay)
                    self.arrays[name] = how.raw_of(f"Trainer.learn: {name}", delay, self._units[name])
                    self._learned[name], self._delays[name], self.rates[name] = how, delay, how.rate
                    seen = delay.view()
                    seen.flags.writeable = False
                    object.__setattr__(layer.connection, "delay", seen)  # a network of our own: it follows `refresh`
                else:
                    self.arrays[name], self.rates[name] = layer.connection.weight, how
            self.by_layer.append(own)
        self._prices = delay_prices(regularizers, self._learned)
        self.refresh([])

    def block(self, gradients: dict[str, NDArray[np.floating]]) -> BlockGradient:
        """See `Model.block`."""
        return self._block_of(self._network, gradients)

    def _block_of(
        self,
        network: Sequential,
        gradients: dict[str, NDArray[np.floating]],
        runners: Sequence[DelayedRunner] | None = None,
    ) -> BlockGradient:
        delays = {name: np.zeros(delay.shape) for name, delay in self._delays.items()}
        return _Block(network, gradients, delays, runners)

    def shared(self, spikes: Any) -> frozenset[str]:
        """The raw values of delays: their gradients follow from the sum over the blocks."""
        return frozenset(self._learned)

    def finish(
        self, outcomes: list[BlockOutcome], gradients: Mapping[str, NDArray[np.floating]], pool: BlockPool
    ) -> None:
        """See `Model.finish`."""
        for name, learned in self._learned.items():
            total, *others = [outcome.deferred[name] for outcome in outcomes]
            for other in others:  # in this order, whoever computed them; the arrays are the blocks' own
                total += other
            raw: Any = self.arrays[name]
            gradients[name][0] += learned.raw_gradient(raw, total, self._units[name]).reshape(-1)
        add_prices(self._prices, self._raw(), outcomes, gradients)

    def _raw(self) -> dict[str, tuple[LearnedDelay, Any]]:
        return {name: (learned, self.arrays[name]) for name, learned in self._learned.items()}

    def outputs(self, spikes: Spikes, pool: BlockPool) -> NDArray[np.float64]:
        """See `Model.outputs`."""
        return first_spike_times(self._network, spikes, pool)

    def evaluate(
        self, spikes: Any, labels: NDArray[np.int64] | None, pool: BlockPool, **options: Any
    ) -> tuple[Any, Any, Any]:
        """See `Model.evaluate`; the losses contain the price of the delays."""
        losses, classes, outputs = super().evaluate(spikes, labels, pool, **options)
        return losses + price_of(self._prices, self._raw()), classes, outputs

    def refresh(self, blocks: list[Any]) -> None:
        """See `Model.refresh`."""
        for name, learned in self._learned.items():
            raw: Any = self.arrays[name]
            learned.rectify(raw)
            learned.delay_of(raw, self._units[name], out=self._delays[name])


class _Block(BlockGradient):
    """A block that hands over its gradients of delays, `BlockOutcome.deferred`; valid until it runs again."""

    def __init__(
        self,
        network: Sequential,
        gradients: Mapping[str, NDArray[np.floating]],
        delays: dict[str, NDArray[np.float64]],
        runners: Sequence[DelayedRunner] | None,
    ) -> None:
        super().__init__(network, {**gradients, **delays}, runners)
        self._delays = delays

    def run(self, *arguments: Any, **options: Any) -> BlockOutcome:
        for gradient in self._delays.values():
            gradient[...] = 0.0
        outcome = super().run(*arguments, **options)
        outcome.deferred = self._delays
        return outcome


def _chosen(network: Sequential, learn: Mapping[str, Any]) -> dict[str, Rate]:
    """Rates of the weights that are learned, and how delays are, by name."""

    def is_left_out(name: str, by_name: bool) -> bool:
        if kind_of(name) != "delay" or network.parameter(name).ndim:
            return False
        if by_name:
            raise ValidationError(
                f"Trainer.learn: {name} is one number for all synapses; give delays of shape (n_pre, 1), (1, n_post) "
                "or (n_pre, n_post)"
            )
        return True

    return chosen(learn, network.parameter_names, _KINDS, is_left_out)
