"""e-prop: gradients of a recurrent network forward in time, by an eligibility trace of every synapse.

Of a hidden neuron j with potential u_j (before the reset) and factors alpha, beta and gain, a presynaptic spike (or
input value) z_i[t] as it arrives, a recurrent one in the step after it was fired, and a readout k that never fires:

    eps_i[t] = alpha_j eps_i[t-1] + z_i[t]
    eps_u[t] = d(u_j[t])/d(u_j[t-1]) eps_u[t-1] + gain_j eps_i[t]
    e_ji[t]  = sigma(u_j[t] - v_threshold) eps_u[t]
    F(e)     = the response of the readout to e: f[t] = alpha_k f[t-1] + e[t], g[t] = beta_k g[t-1] + gain_k f[t]
    L_j[t]   = sum_k W_jk dL/du_k[t]
    dL/dW_ji = sum_t L_j[t] F(e_ji)[t]

d(u_j[t])/d(u_j[t-1]) is beta_j times the derivative of the reset (or of what is subtracted one step later), which goes
around the reset with `Clock.detach_reset`. Weights of the readout get their exact gradient, the sum of dL/du_k[t] times
the filtered spikes; biases that with 1 instead of z, added to the potential.

It is the exact (surrogate) gradient of a network whose recurrent spikes are given from outside: what a spike does to
other hidden neurons, and to its own neuron through a recurrent connection, is left out.

Bellec, G. et al. (2020), A solution to the learning dilemma for recurrent networks of spiking neurons, doi
10.1038/s41467-020-17236-y: "symmetric" e-prop, of LIF neurons and of those with a synaptic current.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.clock import Clock
from eventsnn.connections import Dense
from eventsnn.errors import ValidationError
from eventsnn.gradients.surrogate import ClockedGradient
from eventsnn.kernels.eprop import (
    ONE_CURRENT,
    ONE_TRACE,
    OWN_CURRENT,
    eprop_gradient,
    events_by_neuron,
    local_decays,
    readout_gradient,
)
from eventsnn.kernels.grid_projection import gather_dense
from eventsnn.kernels.grid_step import LATE, NONE, ZERO
from eventsnn.simulation.grid_network import GridNetwork, GridPart, GridProjection, GridRule

__all__ = ["EPROP_KINDS", "EpropGradient", "require_eprop"]

#: kinds of parameters that e-prop has a gradient of
EPROP_KINDS = ("weight", "bias")

Floats = NDArray[np.floating]


class EpropGradient(ClockedGradient):
    """`ClockedGradient` with e-prop in the place of the way back; for networks that `require_eprop` lets through.

    Of a chunk of samples the forward pass comes first, and the traces run after it: the learning signal of step t may
    use all of the sample. It does not where the derivative of the loss in step t depends on the potentials of that step
    only (`MembraneCrossEntropy`). With a maximum over time it is known at the end, and an online learner would have to
    keep F(e) of the step that turns out to be the highest.
    """

    NEEDS_SLOPES = True
    NEEDS_SPIKES = True

    def __init__(
        self, grid: GridNetwork, loss: Any, clock: Clock, output: str, *arguments: Any, **options: Any
    ) -> None:
        super().__init__(grid, loss, clock, output, *arguments, **options)
        self._reads_out = next(k for k, part in enumerate(grid.parts) if part.populations[0][0] == output)
        self._fires = 1 - self._reads_out  # `require_eprop`: there are two
        n, dtype = grid.parts[self._fires].n, grid.dtype
        self._decay = np.zeros((self.runner.n_samples, clock.n_steps, n), dtype)
        self._traces = np.zeros((4, n), dtype)
        self._ticks = _clock_ticks(self.runner.n_samples, clock.n_steps, dtype)

    def _backward(
        self,
        n_samples: int,
        d_counts: Mapping[str, Any],
        d_u: NDArray[np.float64] | None,
        d_constants: Mapping[int, Any],
    ) -> None:
        assert d_u is not None  # the output never fires, so the loss looks at its potentials
        dtype = self.grid.dtype
        errors = d_u.astype(dtype)
        self._add_of_readout(errors, d_constants.get(self._reads_out))
        name, _, n = self.grid.parts[self._fires].populations[0]
        direct = np.asarray(d_counts[name], dtype) if name in d_counts else np.empty((0, n), dtype)
        self._add_of_hidden(self._signal(errors), direct, d_constants.get(self._fires))

    def _signal(self, errors: Floats) -> Floats:
        """L_j[t]; where a spike acts some steps later, dL/du of that later step."""
        readout, signal = self.grid.parts[self._reads_out], self._adjoints[self._fires].e[: len(errors)]
        signal[:] = 0
        for projection in readout.projections:
            if projection.source not in self.grid.graph.inputs:
                assert isinstance(projection, GridProjection)  # see `require_eprop`
                gather_dense(projection.transposed, errors, projection.lag + _lateness(readout), 0, 0, 0, signal)
        return signal

    def _add_of_readout(self, errors: Floats, d_constant: Any) -> None:
        """Gradients of its weights and biases, and of its constant drive (n_samples, n)."""
        part, late = self.grid.parts[self._reads_out], _lateness(self.grid.parts[self._reads_out])
        for projection in part.projections:
            trains = self._trains(projection.name, projection.source, len(errors))
            if trains is not None:
                weight = self.gradients[f"{projection.name}.weight"]
                readout_gradient(*trains, projection.lag + late, _filtering(part.rule), errors, weight)
        d_drive = self._adjoints[self._reads_out].d_drive[None]
        readout_gradient(*self._ticks, 0, _filtering(part.rule, of_bias=True), errors, d_drive)
        for s in range(0 if d_constant is None else len(errors)):
            readout_gradient(*self._ticks, late, _filtering(part.rule), errors[s : s + 1], d_constant[s : s + 1])

    def _add_of_hidden(self, signal: Floats, direct: Floats, d_constant: Any) -> None:
        """The same of the hidden population; direct : (n_samples, n), dL/d(counts), or of no samples."""
        part, n_samples, is_detached = self.grid.parts[self._fires], len(signal), self.clock.detach_reset
        rule, sigma, decay = part.rule, self._slopes(self._fires, n_samples), self._decay[:n_samples]
        filtering, late = _filtering(self.grid.parts[self._reads_out].rule), _lateness(part)
        kind = _kind_of(rule, is_detached)
        if kind != ONE_TRACE:
            local_decays(
                self.runner.buffers[self._fires].u[:n_samples], sigma, rule.beta, rule.threshold, rule.height,
                rule.v_reset, rule.reset, is_detached, decay,
            )  # fmt: skip

        def add(trains: Any, lag: int, target: Floats, *, samples: slice = slice(None), of_bias: bool = False) -> None:
            alpha, gain = (np.zeros_like(rule.alpha), np.ones_like(rule.gain)) if of_bias else (rule.alpha, rule.gain)
            eprop_gradient(
                *trains, lag, kind, alpha, rule.beta, gain, decay[samples], sigma[samples], signal[samples],
                direct[samples], filtering, self._traces, target,
            )  # fmt: skip

        arriving = [(own.name, own.source, own.lag) for own in part.projections]
        arriving += [(name, part.populations[0][0], lag) for name, lag in _loop_lags(part)]
        for name, source, lag in arriving:
            trains = self._trains(name, source, n_samples)
            if trains is not None:
                add(trains, lag + late, self.gradients[f"{name}.weight"])
        add(self._ticks, 0, self._adjoints[self._fires].d_drive[None], of_bias=True)
        for s in range(0 if d_constant is None else n_samples):
            add(self._ticks, late, d_constant[s : s + 1], samples=slice(s, s + 1))

    def _trains(self, name: str, source: str, n_samples: int) -> tuple[Any, Any, Any] | None:
        """Events of the source by neuron; None for a constant input, and where no gradient is wanted."""
        events, weight = self.runner.events(source), self.gradients.get(f"{name}.weight")
        if weight is None or events.is_constant:
            return None
        n_pre, n_events = len(weight), int(events.starts[-1] - events.starts[0])
        firsts, steps = np.zeros(n_samples * n_pre + 1, np.int64), np.empty(n_events, np.int64)
        ordered = np.empty(n_events if events.values.size else 0, events.values.dtype)
        n_steps = self.clock.n_steps
        events_by_neuron(events.starts, events.neurons, events.values, n_steps, n_pre, firsts, steps, ordered)
        return firsts, steps, ordered


def require_eprop(where: str, grid: GridNetwork, clock: Clock, output: str) -> None:
    """Raise unless the network is one that `EpropGradient` takes: inputs, one hidden population, a readout.

    Raises
    ------
    ValidationError
        What does not fit, and what does.
    """
    graph = grid.graph
    instead = "method='surrogate' takes any network"
    if graph.populations[output].can_spike:
        raise ValidationError(
            f"{where}.output: e-prop needs a readout that never fires, but {output!r} does; give it v_threshold=inf"
        )
    others = [name for name in graph.populations if name != output]
    if len(others) != 1 or not graph.populations[others[0]].can_spike:
        raise ValidationError(
            f"{where}.network: e-prop needs one hidden population that fires, and the readout {output!r}; besides the "
            f"readout there are {others}; {instead}"
        )
    for projection, name in zip(graph.projections, graph.projection_names, strict=True):
        connection = projection.connection
        if not isinstance(connection, Dense) or connection.delay.ndim:
            raise ValidationError(
                f"{where}.network: e-prop needs Dense connections with one delay each, but {name} is {connection!r}; "
                f"{instead}"
            )
    rule = grid.part_of[output][0].rule
    for key in ("alpha", "beta", "gain"):
        if not _is_shared(getattr(rule, key)):
            raise ValidationError(
                f"{where}.network: the readouts {output!r} have different {key}; e-prop filters the trace of every "
                f"synapse by it: give them one value, or {instead}"
            )
    if clock.truncate is not None:
        raise ValidationError(
            f"{where}.clock: truncate={clock.truncate} is for backpropagation through time; e-prop does not go back in "
            "time, leave it out"
        )


def _is_shared(values: Floats) -> bool:
    return bool((values == values[0]).all())


def _lateness(part: GridPart) -> int:
    """Steps between the arrival of a spike and its effect on the potential."""
    return int(part.rule.current == LATE)


def _kind_of(rule: GridRule, is_detached: bool) -> int:
    """Which traces the synapses of one presynaptic neuron have of their own."""
    if not (_is_shared(rule.alpha) and _is_shared(rule.gain)):
        return OWN_CURRENT
    resets_alike = rule.reset == NONE or (is_detached and rule.reset != ZERO)
    return ONE_TRACE if resets_alike and _is_shared(rule.beta) else ONE_CURRENT


def _filtering(rule: GridRule, *, of_bias: bool = False) -> Floats:
    """alpha, beta and gain of the readout; those with which its bias acts."""
    dtype = rule.beta.dtype
    return np.array([0.0, rule.beta[0], 1.0] if of_bias else [rule.alpha[0], rule.beta[0], rule.gain[0]], dtype)


def _loop_lags(part: GridPart) -> list[tuple[str, int]]:
    """The recurrent connections and the steps until their spikes arrive."""
    loop = part.loop
    if loop.dense.size:
        return [(loop.names[0], 1)]
    return [(name, int(loop.lags[places[0]])) for name, places in zip(loop.names, loop.places, strict=True)]


def _clock_ticks(n_samples: int, n_steps: int, dtype: Any) -> tuple[Any, Any, Any]:
    """Events by neuron of one that fires in every step."""
    firsts = np.arange(n_samples + 1, dtype=np.int64) * n_steps
    return firsts, np.tile(np.arange(n_steps, dtype=np.int64), n_samples), np.empty(0, dtype)
