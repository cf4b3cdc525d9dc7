"""`check_gradients` by EventProp: `loss_and_grad` of any network and loss against differences of the simulated loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from eventsnn._names import hint
from eventsnn.errors import ValidationError
from eventsnn.gradients.chain import loss_of, target_of
from eventsnn.gradients.check import GradientEntry, GradientReport, drawn, with_errors
from eventsnn.gradients.eventprop_check import moved_array
from eventsnn.gradients.eventprop_differences import SimulatedDifference
from eventsnn.gradients.graph_gradient import GraphGradient
from eventsnn.gradients.loss_gradient import loss_and_grad
from eventsnn.graph import Network
from eventsnn.network import Sequential
from eventsnn.simulation.event_driven import simulate
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes

__all__ = ["check_by_eventprop"]


def check_by_eventprop(
    network: Sequential | Network, spikes: Spikes, targets: ArrayLike, loss: Any, *, parameters: Sequence[str] | None,
    n_entries: int | None, step: float | None, rng: int | np.random.Generator | None, t_max: float, output: str | None,
    tolerance: float,
) -> GradientReport:  # fmt: skip
    """See `check_gradients`."""
    graph = network.as_network() if isinstance(network, Sequential) else network
    if isinstance(graph, Network):
        weights = {name: weight.astype(np.float64) for name, weight in graph.parameters().items()}
        graph = graph.with_parameters(weights)
    if target_of(loss) == "counts":
        raise ValidationError("check_gradients.loss: the gradient of spike counts is a surrogate, no derivative")
    _, gradients = loss_and_grad(graph, spikes, targets, loss, method="eventprop", t_max=t_max, output=output)
    assert isinstance(graph, Network)  # loss_and_grad refuses all else
    (source,) = graph.inputs
    analytic = {**gradients.parameters, f"{source}.times": gradients.input_times}
    names = list(analytic) if parameters is None else list(dict.fromkeys(parameters))
    for name in names:
        if name not in analytic:
            raise ValidationError(f"check_gradients.parameters: no {name!r}{hint(name, analytic)}")
    result = simulate(graph, spikes, t_max, progress=False)
    labels = np.asarray(targets, dtype=np.int64)
    last = list(graph.populations)[-1] if output is None else output

    def mean_loss(other: Result) -> tuple[float, dict[str, Any]]:
        values = GraphGradient(other._graph, loss, last, t_max, {}).outputs_of(other)
        return float(loss_of(loss, values, labels, graph.populations[last].neuron.tau_syn)[0].mean()), {}

    how = SimulatedDifference(result, mean_loss)
    generator = np.random.default_rng(rng) if rng is not None else None
    entries: dict[str, list[GradientEntry]] = {}
    for name in names:
        places = drawn("check_gradients", name, np.argwhere(np.ones(analytic[name].shape)), n_entries, generator)
        array = moved_array(result, None, name)
        found = [how.entry(array, index, float(analytic[name][index]), step) for index in places]
        entries[name] = with_errors(found)
    return GradientReport(entries, tolerance)
