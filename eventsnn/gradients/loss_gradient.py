"""`loss_and_grad`: the mean loss and its gradient, in closed form, by EventProp, by a surrogate or by e-prop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import index_array, number
from eventsnn.clock import Clock
from eventsnn.clocked_neurons import StepNeuron
from eventsnn.errors import ValidationError
from eventsnn.gradients.chain import require_time_loss
from eventsnn.gradients.eprop import EPROP_KINDS, EpropGradient, require_eprop
from eventsnn.gradients.first_spike import BlockGradient, BlockOutcome, block_events, require_first_spike
from eventsnn.gradients.graph_gradient import GraphGradient, require_graph
from eventsnn.gradients.grid_outputs import output_of, require_grid_loss
from eventsnn.gradients.surrogate import ClockedGradient
from eventsnn.graph import Network
from eventsnn.network import Sequential
from eventsnn.simulation.event_driven import check_inputs, require_continuous
from eventsnn.simulation.grid_inputs import GridInput, checked_inputs, n_steps_of
from eventsnn.simulation.grid_network import GridNetwork
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.spikes import Spikes

__all__ = ["Gradients", "check_targets", "loss_and_grad"]


@dataclass(frozen=True)
class Gradients:
    """Derivatives of the mean loss over the samples.

    Attributes
    ----------
    parameters : by name as in `Sequential.parameters` or, of a Network, in `Network.parameter_names`; by EventProp also
        delays and neuron parameters ("hidden.delay", "hidden.tau_mem", ...), by surrogate those of the units of the
        grid ("hidden.bias", "hidden.beta", ...), by e-prop their biases, in the shapes that were given
    input_times : "first_spike": (n_samples, n_inputs), dL/dt of each input neuron's spike (0 where it has none);
        "eventprop": (n_events,), in the order of the input spikes; otherwise empty, a grid has no derivative by time
    """

    parameters: dict[str, NDArray[np.floating]]
    input_times: NDArray[np.float64]


def loss_and_grad(
    network: Sequential | Network,
    spikes: Any,
    targets: ArrayLike,
    loss: Any,
    *,
    method: Literal["first_spike", "eventprop", "surrogate", "eprop"] = "first_spike",
    clock: Clock | None = None,
    t_max: float = np.inf,
    output: str | None = None,
    min_slope: float = 0.0,
    silent_strength: float = 0.0,
    n_threads: int = 1,
) -> tuple[float, Gradients]:
    """Mean loss over the samples and its gradient: exact, but for "surrogate" and "eprop".

    Parameters
    ----------
    network : for "first_spike" a chain of layers whose neurons fire at most once; for "eventprop" any
        network with one input; for "surrogate" any network that `simulate_clocked` takes; for "eprop" one hidden
        population, recurrent or not, and a readout that never fires, by `Dense` connections with one delay each
    spikes : input; for "first_spike" at most one spike per input neuron for `Gradients.input_times` to be meaningful;
        for "surrogate" and "eprop" whatever `simulate_clocked` takes
    targets : class of each sample, shape (n_samples,)
    loss : a loss on first spike times; for "eventprop" also on the potentials of a readout or on spike counts; for
        "surrogate" on spike counts, rates or membrane potentials, for "eprop" on membrane potentials
    method : "first_spike", the closed-form gradient of weights and delays; "eventprop", that of every parameter, in
        float64; "surrogate", backpropagation through time on the grid of `clock`, in the dtype of the weights; "eprop",
        the same without what goes through recurrent spikes, by eligibility traces forward in time: of weights and
        biases
    clock : "surrogate" and "eprop": the grid, the surrogate, and how the reset is treated; its own `method` is for
        `Trainer`
    t_max : "eventprop": end of the simulation
    output : all but "first_spike": population that the loss looks at; default: the last one
    min_slope : "eventprop": bounds the gradients of nearly grazing spikes, see `eventprop`
    silent_strength : strength of the hinge on the peak potential of *every* silent neuron, hidden or the right output
    n_threads : threads over blocks of samples; the result does not depend on it

    Returns
    -------
    (loss, gradients)

    Raises
    ------
    ValidationError
        Inputs or targets that do not fit, an empty batch, an unknown method, a network or loss that the method does not
        cover.
    SimulationError
        The membrane potential is not finite; a spike that the loss depends on grazes the threshold.

    Notes
    -----
    dT/dw = -k(T - t_j)/(dv/dt), dT/dt_j = w k'(T - t_j)/(dv/dt) (Goeltz et al. 2021); exact while no spike appears or
    vanishes. A silent neuron passes nothing but its hinge. Of losses on spike counts the gradient is the surrogate of
    `SpikeCountSurrogate`. Parameters of the neurons of a readout are left out; `eventprop` has them.

    e-prop (Bellec et al. 2020): dL/dW_ji = sum_t L_j[t] F(e_ji)[t], with the eligibility e_ji[t] = sigma(u_j[t] -
    v_threshold) du_j[t]/dW_ji along the neuron's own potential, F the response of the readout, and the learning signal
    L_j = sum_k W_jk dL/du_k. Without a recurrent connection it is what "surrogate" gives, to rounding; with one it is
    that of a network whose recurrent spikes are given from outside. Learning online needs a loss whose derivative in
    step t is known then, such as `MembraneCrossEntropy`; with others the traces run forward as well, but the learning
    signal is known at the end of a sample only.

    References
    ----------
    Goeltz, J. et al. (2021), Fast and energy-efficient neuromorphic deep learning with first-spike times,
    doi 10.1038/s42256-021-00388-x; Bellec, G. et al. (2020), A solution to the learning dilemma for recurrent networks
    of spiking neurons, doi 10.1038/s41467-020-17236-y

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, FirstSpikeCrossEntropy, LIF, Sequential, Spikes, loss_and_grad
    >>> net = Sequential([Dense(np.full((2, 2), 3.0)), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    >>> spikes = Spikes([0, 0], [0, 1], [0.1, 0.4], n_samples=1, n_neurons=2)
    >>> value, grad = loss_and_grad(net, spikes, [0], FirstSpikeCrossEntropy(xi=1.0))
    >>> round(value, 6), grad.parameters["output.weight"].shape
    (0.693147, (2, 2))
    >>> value, grad = loss_and_grad(net, spikes, [0], FirstSpikeCrossEntropy(xi=1.0), method="eventprop")
    >>> list(grad.parameters)[:4]
    ['output.weight', 'output.delay', 'output.tau_mem', 'output.tau_syn']
    """
    if method not in ("first_spike", "eventprop", "surrogate", "eprop"):
        raise ValidationError(
            f"loss_and_grad: unknown method {method!r}; available: 'first_spike', 'eventprop', 'surrogate', 'eprop'"
        )
    number("loss_and_grad.silent_strength", silent_strength, at_least=0.0)
    number("loss_and_grad.min_slope", min_slope, at_least=0.0)
    if method in ("surrogate", "eprop"):
        if t_max != np.inf or min_slope != 0.0 or silent_strength != 0.0:
            raise ValidationError(f"loss_and_grad: t_max, min_slope and silent_strength are not for method={method!r}")
        return _on_grid(network, spikes, targets, loss, method, clock, output, n_threads)
    if clock is not None:
        raise ValidationError("loss_and_grad: clock is for method='surrogate' and method='eprop'")
    require_continuous("loss_and_grad", network)
    if method == "eventprop":
        return _by_eventprop(network, spikes, targets, loss, t_max, output, min_slope, silent_strength, n_threads)
    if t_max != np.inf or output is not None or min_slope != 0.0:
        raise ValidationError("loss_and_grad: t_max, output and min_slope are for method='eventprop'")
    require_first_spike(network)
    require_time_loss("loss_and_grad", loss)
    assert isinstance(network, Sequential)  # it is required
    check_inputs(network, spikes)
    labels = check_targets(network.n_outputs, spikes.n_samples, targets)
    source = input_events(spikes)
    hinge = [(np.ones(layer.n_neurons, dtype=bool), silent_strength) for layer in network.layers[:-1]]

    def run(start: int, stop: int, gradients: dict[str, NDArray[Any]]) -> BlockOutcome:
        return BlockGradient(network, gradients).run(
            block_events(source, np.arange(start, stop)), labels[start:stop], loss,
            hidden_hinge=hinge if silent_strength > 0 else None, output_hinge=silent_strength,
            want_inputs=True, first_sample=start,
        )  # fmt: skip

    return _mean(run, _first_spike_parameters(network), labels.size, n_threads)


def _first_spike_parameters(network: Sequential) -> dict[str, NDArray[Any]]:
    """Zeros for the gradients of all weights, and of delays that were given per neuron or synapse or are not 0."""
    found: dict[str, NDArray[Any]] = {}
    for layer in network.layers:
        delay = layer.connection.delay
        if f"{layer.name}.weight" not in network.parameter_names:
            continue  # fixed
        found[f"{layer.name}.weight"] = np.zeros_like(layer.connection.weight)
        if delay.ndim == 2 or layer.connection.has_delay:
            found[f"{layer.name}.delay"] = np.zeros(delay.shape)
    return found


def _by_eventprop(
    network: Any, spikes: Spikes, targets: ArrayLike, loss: Any, t_max: float, output: str | None, min_slope: float,
    silent_strength: float, n_threads: int,
) -> tuple[float, Gradients]:  # fmt: skip
    graph = network.as_network() if isinstance(network, Sequential) else network
    name = require_graph("loss_and_grad", graph, loss, output, t_max)
    check_inputs(graph, spikes)
    labels = check_targets(graph.populations[name].n_neurons, spikes.n_samples, targets)
    source = input_events(spikes)
    readouts = {own for own, population in graph.populations.items() if not population.can_spike}
    wanted = {own: np.zeros(graph.parameter(own).shape) for own in graph.parameter_names
              if own.rpartition(".")[0] not in readouts}  # fmt: skip
    hidden = [own for own, population in graph.populations.items() if population.can_spike and own != name]
    hinge = [(np.ones(graph.populations[own].n_neurons, dtype=bool), silent_strength) for own in hidden]

    def run(start: int, stop: int, gradients: dict[str, NDArray[Any]]) -> BlockOutcome:
        return GraphGradient(graph, loss, name, t_max, gradients).run(
            block_events(source, np.arange(start, stop)), labels[start:stop], loss,
            hidden_hinge=hinge, output_hinge=silent_strength, min_slope=min_slope, first_sample=start,
        )  # fmt: skip

    return _named_as(network, _mean(run, wanted, labels.size, n_threads))


def _on_grid(
    network: Any, inputs: Any, targets: ArrayLike, loss: Any, method: str, clock: Clock | None, output: str | None,
    n_threads: int,
) -> tuple[float, Gradients]:  # fmt: skip
    if not isinstance(clock, Clock):
        raise ValidationError(f"loss_and_grad: method={method!r} needs clock=Clock(...), got {clock!r}")
    grid = GridNetwork(network, clock.dt)
    name = output_of("loss_and_grad", grid.graph, output)
    require_grid_loss("loss_and_grad", loss, clock, name, grid.graph.populations[name].can_spike)
    if method == "eprop":
        require_eprop("loss_and_grad", grid, clock, name)
    given = checked_inputs("loss_and_grad", grid.graph, inputs, clock.dt)
    n_steps = n_steps_of("loss_and_grad", given, clock.n_steps)
    sources = {
        own: GridInput(f"loss_and_grad: input {own!r}", data, grid.graph.inputs[own], clock.dt, n_steps, grid.dtype)
        for own, data in given.items()
    }
    n_samples = next(iter(sources.values())).n_samples
    labels = check_targets(grid.graph.populations[name].n_neurons, n_samples, targets)
    wanted = {own: np.zeros_like(array) for own, array in grid.graph.parameters().items()}
    for own, population in grid.graph.populations.items():
        if isinstance(population.neuron, StepNeuron):
            for key in population.neuron.parameter_names():
                value = np.asarray(getattr(population.neuron, key))
                if method == "surrogate" or key in EPROP_KINDS:
                    wanted[f"{own}.{key}"] = np.zeros(value.shape, grid.dtype)
    kind = EpropGradient if method == "eprop" else ClockedGradient

    def run(start: int, stop: int, gradients: dict[str, NDArray[Any]]) -> BlockOutcome:
        events = {own: source.block(start, stop) for own, source in sources.items()}
        block = kind(grid, loss, clock, name, gradients, stop - start)
        return block.run(events, stop - start, labels[start:stop], first_sample=start)

    return _named_as(network, _mean(run, wanted, n_samples, n_threads))


def _named_as(network: Any, found: tuple[float, Gradients]) -> tuple[float, Gradients]:
    """Names as in `Sequential.parameters` if it is one: "input->hidden.weight" is "hidden.weight" there."""
    value, gradients = found
    if isinstance(network, Sequential):
        parameters = {own.rpartition("->")[2]: array for own, array in gradients.parameters.items()}
        gradients = Gradients(parameters, gradients.input_times)
    return value, gradients


def _mean(run: Any, zeros: dict[str, NDArray[Any]], n_samples: int, n_threads: int) -> tuple[float, Gradients]:
    """Run all blocks and sum their gradients in order."""
    blocks = sample_blocks(n_samples)
    by_block = [{name: array.copy() for name, array in zeros.items()} for _ in blocks]
    with BlockPool(n_threads) as pool:
        outcomes = pool.map(lambda k: run(*blocks[k], by_block[k]), range(len(blocks)))
    value = float(np.concatenate([o.losses for o in outcomes]).mean())
    parameters = {}
    for name, array in zeros.items():
        total = by_block[0][name]
        for other in by_block[1:]:
            total = total + other[name]
        parameters[name] = np.asarray(total / array.dtype.type(n_samples))
    of_inputs = [o.d_inputs for o in outcomes if o.d_inputs is not None]
    d_inputs = np.concatenate(of_inputs) / n_samples if of_inputs else np.empty(0)
    return value, Gradients(parameters, d_inputs)


def check_targets(n_outputs: int, n_samples: int, targets: ArrayLike) -> NDArray[np.int64]:
    """Labels as int64, or raise."""
    labels = index_array("targets", targets, n_outputs, "number of outputs")
    if labels.size != n_samples:
        raise ValidationError(f"targets: {labels.size} labels for {n_samples} samples")
    if labels.size == 0:
        raise ValidationError("targets: the batch is empty; a loss needs at least one sample")
    return labels
