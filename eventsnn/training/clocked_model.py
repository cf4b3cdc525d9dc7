"""`ClockedModel`: what a `Trainer` trains on a time grid, by surrogate gradients or by e-prop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.clock import Clock
from eventsnn.clocked_neurons import StepNeuron
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError
from eventsnn.gradients.eprop import EPROP_KINDS, EpropGradient, require_eprop
from eventsnn.gradients.first_spike import BlockOutcome, block_events
from eventsnn.gradients.grid_outputs import output_of, require_grid_loss
from eventsnn.gradients.loss_gradient import check_targets
from eventsnn.gradients.surrogate import ClockedGradient
from eventsnn.graph import Network
from eventsnn.kernels.constants import InputEvents
from eventsnn.network import Sequential
from eventsnn.simulation.grid_inputs import GridEvents, binned_events, events_of_currents, n_steps_of, require_on_grid
from eventsnn.simulation.grid_network import GridNetwork
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.parallel import BLOCK_SIZE, BlockPool, sample_blocks
from eventsnn.spikes import Spikes
from eventsnn.training.count_regularizers import SpikeCountTarget
from eventsnn.training.learn import chosen
from eventsnn.training.models import Model

__all__ = ["ClockedModel", "clocked_model_of"]

#: learned as their logarithm: they stay positive, and a step changes them by a factor
_BY_LOGARITHM = ("tau_mem", "tau_syn", "v_threshold")
#: shares that are left after a step: set back into 0 .. 1 after an update
_SHARES = ("alpha", "beta")
#: what the gradients of the blocks of a batch may take in all
_GRADIENT_BYTES = 2**23
#: columns of a gradient are summed in so many pieces
_PIECES = 4

_KINDS = ("weight", "bias", "v_init", *_SHARES, *_BY_LOGARITHM)


class ClockedModel(Model):
    """A network on a time grid.

    Parameters
    ----------
    learn : relative learning rate by kind (weight, bias, v_init, beta, alpha, tau_mem, tau_syn, v_threshold) or by name
        of a parameter, which goes before its kind; default: weights, and biases of units that have one of their own
    """

    def __init__(
        self,
        network: Sequential | Network,
        loss: Any,
        clock: Clock,
        *,
        output: str | None,
        learn: Mapping[str, float] | None,
        regularizers: Sequence[Any],
    ) -> None:
        super().__init__(loss, np.inf)
        self.clock, self.regularizers = clock, tuple(regularizers)
        self._given = network
        graph = network.as_network() if isinstance(network, Sequential) else network
        if len(graph.inputs) != 1:
            raise ValidationError(f"Trainer.network: must have one input, got {list(graph.inputs)}")
        self._graph = graph.with_parameters(graph.parameters())  # copies
        self._grid = GridNetwork(self._graph, clock.dt)
        self.output = output_of("Trainer", self._graph, output)
        population = self._graph.populations[self.output]
        require_grid_loss("Trainer", loss, clock, self.output, population.can_spike)
        wanted = _default(self._graph) if learn is None else learn
        known = [name for name in self._graph.parameter_names if _can_be_learned(self._graph, name)]
        # no delays are learned here, so rates are numbers
        self._learned: dict[str, Any] = dict(chosen(wanted, known, _KINDS, lambda name, by_name: False))
        self._idle: list[ClockedGradient] = []
        if clock.method == "eprop":
            require_eprop("Trainer", self._grid, clock, self.output)
            _require_eprop_learns(self._learned)
        self.arrays, self.rates = {}, {}
        for name, rate in self._learned.items():
            kind = name.rpartition(".")[2]
            value: NDArray[np.floating] = np.array(self._graph.parameter(name), dtype=self._grid.dtype)
            if kind == "weight":
                value = self._grid.weights[name.removesuffix(".weight")]
            elif kind in _BY_LOGARITHM:
                value = np.array(np.log(value))
            self.arrays[self._short(name)] = value
            self.rates[self._short(name)] = rate
        self.hidden_sizes = [
            own.n_neurons for name, own in self._graph.populations.items() if own.can_spike and name != self.output
        ]

    def _short(self, name: str) -> str:
        """Of a Sequential "hidden.weight" instead of "input->hidden.weight"."""
        return name.rpartition("->")[2] if isinstance(self._given, Sequential) else name

    @property
    def network(self) -> Sequential | Network:
        """See `Model.network`."""
        neurons = self._grid.neurons
        if not isinstance(self._given, Sequential):
            own = self._graph.populations
            return replace(self._graph, populations={n: replace(own[n], neuron=neurons[n]) for n in own})
        parts: list[Any] = []
        for projection in self._graph.projections:
            parts += [projection.connection, neurons[projection.target]]
        return Sequential(parts, [layer.name for layer in self._given.layers])

    @property
    def n_outputs(self) -> int:
        """See `Model.n_outputs`."""
        return self._graph.populations[self.output].n_neurons

    @property
    def tau_syn(self) -> Any:
        """None: no loss on a grid has a unit of time."""
        return None

    # -- training --------------------------------------------------------------------------------------------------

    def block(self, gradients: dict[str, NDArray[np.floating]]) -> _Block:
        """See `Model.block`."""
        full = {self._short(name): name for name in self._learned}
        return _Block(self, {full[name]: gradient for name, gradient in gradients.items()})

    def n_buffers(self, n_blocks: int) -> int:
        """See `Model.n_buffers`: whatever the batch, their gradients take no more than `_GRADIENT_BYTES`."""
        n_bytes = sum(array.nbytes for array in self.arrays.values())
        return min(n_blocks, max(2, 2 * (_GRADIENT_BYTES // (2 * max(n_bytes, 1)))))

    def shared(self, spikes: Any) -> frozenset[str]:
        """See `Model.shared`: of a constant input, the weights of its dense connections."""
        if not (isinstance(spikes, Currents) and spikes.is_constant):
            return frozenset()
        names = {f"{projection.name}.weight" for part in self._grid.parts for projection in part.projections
                 if projection.is_dense and projection.source in self._graph.inputs}  # fmt: skip
        return frozenset(self._short(name) for name in names & set(self._learned))

    def finish(
        self, outcomes: list[BlockOutcome], gradients: Mapping[str, NDArray[np.floating]], pool: BlockPool
    ) -> None:
        """See `Model.finish`: by columns, so that threads can share the work and every bit keeps its order."""
        constants = [own for outcome in outcomes for own in outcome.deferred]
        if not constants:
            return
        targets = {own.name: gradients[self._short(own.name)][0] for own in constants}

        def work(piece: int) -> None:
            for own in constants:
                n_post = own.a.shape[1]
                weight = targets[own.name].reshape(-1, n_post)
                own.add(weight, n_post * piece // _PIECES, n_post * (piece + 1) // _PIECES)

        pool.map(work, range(_PIECES))

    # A chunk's buffers are many times its results; they are lent to whichever block is running.

    def borrow(self, gradients: Mapping[str, NDArray[np.floating]]) -> ClockedGradient:
        """A gradient for the arrays of a block; give it back."""
        names = {f"{p.name}.weight" for part in self._grid.parts for p in part.projections}
        try:
            found = self._idle.pop()
        except IndexError:
            kind = EpropGradient if self.clock.method == "eprop" else ClockedGradient
            found = kind(
                self._grid, self.loss, self.clock, self.output, dict.fromkeys(self._learned, np.empty(0)), BLOCK_SIZE,
                regularizers=self.regularizers,
            )  # fmt: skip
        found.gradients, found.scales = gradients, self._scales()
        found.deferred = (names & set(self._learned)) - set(gradients)
        return found

    def give_back(self, gradient: ClockedGradient) -> None:
        """After a block; not after an error, which may have left something in the buffers."""
        self._idle.append(gradient)

    def _scales(self) -> dict[str, Any]:
        """By name, the derivative of a parameter with respect to its array, where it is not 1."""
        found = {}
        for name in self._learned:
            if name.rpartition(".")[2] in _BY_LOGARITHM:
                found[name] = np.exp(self.arrays[self._short(name)])
        return found

    def refresh(self, blocks: list[Any]) -> None:
        """See `Model.refresh`."""
        values: dict[str, dict[str, Any]] = {}
        for name in self._learned:
            owner, _, kind = name.rpartition(".")
            if kind == "weight":
                continue
            array = self.arrays[self._short(name)]
            if kind in _SHARES:
                np.clip(array, 0.0, 1.0, out=array)
            value = np.exp(array) if kind in _BY_LOGARITHM else array
            values.setdefault(owner, {})[kind] = float(value) if value.ndim == 0 else value.astype(np.float64)
        self._grid.refresh({owner: replace(self._grid.neurons[owner], **own) for owner, own in values.items()})

    def source(self, spikes: Any) -> Any:
        """See `Model.source`."""
        return spikes if isinstance(spikes, Currents) else input_events(spikes)

    def take(self, source: Any, chosen: NDArray[np.int64]) -> Any:
        """See `Model.take`."""
        return source[chosen] if isinstance(source, Currents) else block_events(source, chosen)

    def on_grid(self, events: Any) -> dict[str, GridEvents]:
        """What `take` or a slice of samples gives, as the engine wants it."""
        clock, dtype = self.clock, self._grid.dtype
        if isinstance(events, Currents):
            found = events_of_currents(events.values, clock.n_steps, dtype)
        else:
            found = binned_events(events.offsets, events.neurons, events.times, clock.dt, clock.n_steps, dtype)
        return {next(iter(self._graph.inputs)): found}

    # -- use -------------------------------------------------------------------------------------------------------

    def evaluate(
        self, spikes: Any, labels: NDArray[np.int64] | None, pool: BlockPool, **options: Any
    ) -> tuple[Any, Any, Any]:
        """See `Model.evaluate`."""

        def work(block: tuple[int, int]) -> Any:
            start, stop = block
            gradient = self.borrow({})
            own = spikes[start:stop]
            events = own if isinstance(own, Currents) else input_events(own)
            known = None if labels is None else labels[start:stop]
            outcome = gradient.evaluate(self.on_grid(events), stop - start, known, start)
            self.give_back(gradient)
            return outcome

        found = pool.map(work, sample_blocks(spikes.n_samples))
        if not found:
            return np.empty(0), np.empty(0, np.int64), np.empty((0, self.n_outputs))
        losses, classes, shown = (np.concatenate(column) for column in zip(*found, strict=True))
        return losses, classes, shown

    def outputs(self, spikes: Any, pool: BlockPool) -> NDArray[np.float64]:
        """See `Model.outputs`."""
        shown: NDArray[np.float64] = self.evaluate(spikes, None, pool)[2]
        return shown

    def check(self, spikes: Any, labels: Any = None) -> None:
        """See `Model.check`."""
        name, n_inputs = next(iter(self._graph.inputs.items()))
        if not isinstance(spikes, (Spikes, Currents)):
            raise ValidationError(
                f"Trainer: spikes must be Spikes or Currents, got {type(spikes).__name__}; "
                "Spikes.from_sparse(coo, dt) takes a sparse.COO"
            )
        if spikes.n_neurons != n_inputs:
            raise ValidationError(
                f"spikes: n_neurons={spikes.n_neurons}, but the network has {n_inputs} input channels"
            )
        n_steps_of("Trainer", {name: spikes}, self.clock.n_steps)
        if isinstance(spikes, Spikes):
            require_on_grid("Trainer: spikes", spikes, self.clock.dt, self.clock.n_steps)
        if labels is not None:
            check_targets(self.n_outputs, spikes.n_samples, labels)


class _Block:
    """One block of a batch; see `Model.block`."""

    def __init__(self, model: ClockedModel, gradients: Mapping[str, NDArray[np.floating]]) -> None:
        self.model, self.gradients = model, gradients

    def run(self, events: InputEvents | Currents, labels: NDArray[np.int64], loss: Any, **_: Any) -> BlockOutcome:
        """Add the block's gradients; the other arguments of a block are refused by the trainer."""
        gradient = self.model.borrow(self.gradients)
        outcome = gradient.run(self.model.on_grid(events), labels.size, labels)
        self.model.give_back(gradient)
        return outcome


def clocked_model_of(
    network: Any, loss: Any, clock: Any, output: str | None, learn: Any, regularizers: Sequence[Any],
    others: Mapping[str, Any],
) -> ClockedModel:  # fmt: skip
    """The model of a network on a time grid; `others` are arguments of the trainer that it does not take.

    Raises
    ------
    ValidationError
        Something that does not fit a time grid.
    """
    if not isinstance(clock, Clock):
        raise ValidationError(f"Trainer.clock: must be a Clock, got {clock!r}")
    if not isinstance(network, (Sequential, Network)):
        raise ValidationError(f"Trainer.network: must be a Sequential or a Network, got {type(network).__name__}")
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ValidationError(f"Trainer.{given[0]}: not with a clock; it is for networks in continuous time")
    for regularizer in regularizers:
        if getattr(regularizer, "looks_at", None) != "counts" or isinstance(regularizer, SpikeCountTarget):
            raise ValidationError(
                "Trainer.regularizers: with a clock they are functions of the spike counts of one sample, such as "
                f"SpikeCountUpperBound, got {regularizer!r}"
            )
    return ClockedModel(network, loss, clock, output=output, learn=learn, regularizers=regularizers)


def _default(network: Network) -> dict[str, float]:
    """Weights, and the biases that are given per neuron."""
    found = {"weight": 1.0}
    for name, population in network.populations.items():
        if isinstance(population.neuron, StepNeuron) and isinstance(population.neuron.bias, np.ndarray):
            found[f"{name}.bias"] = 1.0
    return found


def _require_eprop_learns(learned: Mapping[str, float]) -> None:
    refused = [name for name in learned if name.rpartition(".")[2] not in EPROP_KINDS]
    if refused:
        raise ValidationError(
            f"Trainer.learn: e-prop has no gradient of {refused[0]}; learn weights and biases only, or use "
            "Clock(method='surrogate')"
        )


def _can_be_learned(network: Network, name: str) -> bool:
    owner, _, kind = name.rpartition(".")
    if kind == "weight":
        return True
    if owner not in network.populations or not isinstance(network.populations[owner].neuron, StepNeuron):
        return False
    return kind in _KINDS and not (kind == "v_threshold" and not np.isfinite(network.parameter(name)).all())
