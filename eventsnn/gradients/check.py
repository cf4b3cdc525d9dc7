"""`check_gradients`: every gradient against central differences, both numbers side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.gradients.chain import VoltageLoss, require_time_loss
from eventsnn.gradients.differences import (
    FLOAT64_TOLERANCE,
    INPUT_TIMES,
    ROUNDING,
    Float64Difference,
    HighPrecisionDifference,
    LossDifference,
)
from eventsnn.gradients.first_spike import TimeLoss, require_first_spike
from eventsnn.gradients.loss_gradient import check_targets, loss_and_grad
from eventsnn.graph import Network
from eventsnn.network import Sequential
from eventsnn.simulation.event_driven import check_inputs
from eventsnn.spikes import Spikes

__all__ = ["GradientEntry", "GradientReport", "check_gradients"]

#: precision "auto" computes everything in high precision up to this many neuron evaluations (a few seconds)
SMALL = 2_000

Place = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class GradientEntry:
    """One derivative: `analytic` from `loss_and_grad` or `eventprop`, `numeric` from differences in `precision`.

    changed: the step made or removed a spike, or moved one past an input of its neuron, where the derivative jumps;
    the entry then does not count. error: |analytic - numeric| relative to the largest |numeric| of the array, or to
    least_scale, of delays and of `check_eventprop`: what lies below it is lost in rounding of larger numbers.
    """

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    precision: str
    changed: bool
    error: float = math.nan
    least_scale: float = 0.0

    def __str__(self) -> str:
        place = f"{self.name}[{', '.join(map(str, self.index))}]"
        end = "spikes changed" if self.changed else f"{self.error:10.2e}"
        return f"{place:<28} {self.analytic:24.16e} {self.numeric:24.16e} {end}  {self.precision}"


@dataclass(frozen=True)
class GradientReport:
    """Outcome of `check_gradients` and `check_eventprop`; `print` it to see the table.

    Attributes
    ----------
    entries : list of GradientEntry by name of the array ("hidden.weight", ..., "input_times")
    tolerance : largest relative error allowed
    float64_tolerance : that of entries in float64 where it is another one; else None
    loss_entries : of `check_eventprop`, the derivatives that the loss gives ("loss.d_times[output]", ...)
    """

    entries: dict[str, list[GradientEntry]]
    tolerance: float
    float64_tolerance: float | None = None
    loss_entries: dict[str, list[GradientEntry]] = field(default_factory=dict)

    def max_errors(self) -> dict[str, float]:
        """Largest relative error of each array, those of the loss behind; nan where no entry could be compared."""
        return {
            name: max((e.error for e in entries if not e.changed), default=math.nan)
            for name, entries in (self.entries | self.loss_entries).items()
        }

    @property
    def max_relative_error(self) -> float:
        """Largest error of all but the loss's own entries; nan if none could be compared."""
        return max((e.error for entries in self.entries.values() for e in entries if not e.changed), default=math.nan)

    @property
    def n_entries(self) -> int:
        """Number of derivatives looked at, those that do not count included."""
        return sum(len(entries) for entries in self.entries.values())

    @property
    def n_changed(self) -> int:
        """Number of entries left out because the step changed which neurons fire, or what a spike had seen."""
        return sum(e.changed for entries in self.entries.values() for e in entries)

    @property
    def passed(self) -> bool:
        """Whether something was compared and no error is above the tolerance."""
        tolerances = {"high": self.tolerance, "float64": self.float64_tolerance or self.tolerance}
        every = [e for own in (self.entries | self.loss_entries).values() for e in own if not e.changed]
        compared = any(not e.changed for own in self.entries.values() for e in own)
        return compared and all(e.error <= tolerances[e.precision] for e in every)

    def __str__(self) -> str:
        lines = [f"{'':<28} {'analytic':>24} {'numeric':>24} {'error':>10}"]
        lines += [str(e) for entries in (self.entries | self.loss_entries).values() for e in entries]
        lines += [f"{name}: largest error {error:.2e}" for name, error in self.max_errors().items()]
        coarse = f" ({self.float64_tolerance:.0e} in float64)" if self.float64_tolerance else ""
        lines.append(
            f"largest relative error {self.max_relative_error:.2e} (of the largest numeric entry of each array), "
            f"tolerance {self.tolerance:.0e}{coarse}: {'passed' if self.passed else 'FAILED'}"
        )
        if self.n_changed:
            lines.append(
                f"{self.n_changed} of {self.n_entries} entries left out: the step changed which neurons fire, or which "
                "inputs a spike had seen"
            )
        return "\n".join(lines)


def check_gradients(
    network: Sequential | Network,
    spikes: Spikes,
    targets: ArrayLike,
    loss: TimeLoss | VoltageLoss,
    *,
    method: Literal["first_spike", "eventprop"] = "first_spike",
    t_max: float = math.inf,
    output: str | None = None,
    parameters: Sequence[str] | None = None,
    n_entries: int | None = None,
    precision: Literal["auto", "float64", "high"] = "auto",
    digits: int = 40,
    step: float | None = None,
    rng: int | np.random.Generator | None = None,
    silent_strength: float = 0.0,
    tolerance: float | None = None,
    verbose: bool = True,
) -> GradientReport:
    """Compare `loss_and_grad` with central differences, entry by entry.

    Parameters
    ----------
    network, spikes, targets, loss : as for `loss_and_grad`; float32 weights are checked in float64
    method, t_max, output : as for `loss_and_grad`. By "eventprop" differences are in float64; a loss of one's own is
        checked in high precision by `check_eventprop`
    parameters : names as in `Sequential.parameter_names`, and "input_times"; default all, of delays those given per
        neuron or synapse, or not 0 (input times only if every input neuron fires at most once per sample). By
        "eventprop" names as in `Network.parameter_names`, and "input.times"
    n_entries : how many entries of each array, drawn with `rng`; default all of them
    precision : "float64", or "high" for `digits` decimal digits (mpmath, slow); "auto" takes "high" for small problems
        and, in larger ones, where float64 and the analytic value differ by more than `tolerance`
    digits : decimal digits of "high", >= 20
    step : relative to the largest weight of the matrix, to the layer's tau_syn for delays and times; default 6e-6 in
        float64 and 10^(-3/8 digits) in high precision, both the best compromise of rounding and truncation
    rng : seed or generator; needed when entries are drawn
    silent_strength : as for `loss_and_grad`; the hinge has no high-precision twin, so float64 only
    tolerance : what `GradientReport.passed` compares with; default 1e-7, by "eventprop" 1e-5
    verbose : print the table

    Returns
    -------
    GradientReport

    Raises
    ------
    ValidationError
        An unknown name or precision, entries to be drawn without `rng`, a number out of range; and all that
        `loss_and_grad` refuses.

    Notes
    -----
    The error of an entry is |analytic - numeric| relative to the largest |numeric| of its array. Entries for which the
    step changes which neurons fire, or whether a spike comes before or after an input of its neuron, are reported,
    counted and left out: there the loss has a jump or a kink. A spike at a time below the step gets a one-sided
    difference of the same order. Cost: two simulations per entry.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, FirstSpikeMSE, LIF, Sequential, Spikes, check_gradients
    >>> net = Sequential([Dense(np.array([[3.0], [2.0]])), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    >>> spikes = Spikes([0, 0], [0, 1], [0.1, 0.4], n_samples=1, n_neurons=2)
    >>> report = check_gradients(net, spikes, [0], FirstSpikeMSE(t_correct=1.0, t_wrong=2.0), verbose=False)
    >>> report.n_entries, report.passed, report.max_relative_error < 1e-12
    (4, True, True)
    """
    if method not in ("first_spike", "eventprop"):
        raise ValidationError(f"check_gradients: unknown method {method!r}; available: 'first_spike', 'eventprop'")
    if method == "eventprop":
        from eventsnn.gradients.loss_gradient_check import check_by_eventprop  # it imports this module

        if precision == "high" or silent_strength != 0.0:
            raise ValidationError(
                "check_gradients: precision='high' and silent_strength are for method='first_spike'; check_eventprop "
                "has high precision for any network and a loss of one's own"
            )
        _check_arguments(precision, digits, n_entries, silent_strength)
        limit = number("check_gradients.tolerance", FLOAT64_TOLERANCE if tolerance is None else tolerance, above=0)
        report = check_by_eventprop(
            network, spikes, targets, loss, parameters=parameters, n_entries=n_entries, step=step, rng=rng,
            t_max=t_max, output=output, tolerance=limit,
        )  # fmt: skip
        if verbose:
            print(report)
        return report
    if t_max != math.inf or output is not None:
        raise ValidationError("check_gradients: t_max and output are for method='eventprop'")
    require_first_spike(network)
    require_time_loss("check_gradients", loss)
    assert isinstance(network, Sequential)  # it is required
    check_inputs(network, spikes)
    labels = check_targets(network.n_outputs, spikes.n_samples, targets)
    _check_arguments(precision, digits, n_entries, silent_strength)
    tolerance = number("check_gradients.tolerance", 1e-7 if tolerance is None else tolerance, above=0)
    network = network.astype(np.float64)
    value, gradients = loss_and_grad(network, spikes, labels, loss, silent_strength=silent_strength)
    analytic: dict[str, NDArray[np.floating]] = {**gradients.parameters, INPUT_TIMES: gradients.input_times}
    places = _places(gradients.parameters, spikes, parameters, n_entries, rng)
    on_times: Any = loss  # `loss_and_grad` has refused all others
    arguments = (network, spikes, labels, on_times)

    def differences(names: Sequence[Place], forward: LossDifference) -> list[GradientEntry]:
        relative = forward.default_step if step is None else number("check_gradients.step", step, above=0)
        # A delay of all neurons alike moves nothing that a loss on differences of times can see: all is rounding.
        step_of_rounding = relative if forward.precision == "float64" else 0.01  # of the sums of the analytic value
        least = {
            name: ROUNDING * abs(value) / (step_of_rounding * scale * tolerance) if name.endswith(".delay") else 0.0
            for name, scale in forward.scales.items()
        }
        return [
            GradientEntry(
                name, index, float(analytic[name][index]), *forward.derivative(name, index, relative),
                least_scale=least[name],
            )
            for name, index in names
        ]  # fmt: skip

    may_refine = precision == "auto" and silent_strength == 0
    if precision == "high" or (may_refine and _work(network, spikes, places) <= SMALL):
        entries = differences(places, HighPrecisionDifference(*arguments, digits))
    else:
        entries = differences(places, Float64Difference(*arguments, silent_strength))
        if may_refine:
            coarse = [k for k, e in enumerate(with_errors(entries)) if e.changed or not e.error <= tolerance]
            if coarse:
                finer = differences([places[k] for k in coarse], HighPrecisionDifference(*arguments, digits))
                for k, entry in zip(coarse, finer, strict=True):
                    entries[k] = entry
    by_name: dict[str, list[GradientEntry]] = {name: [] for name, _ in places}
    for entry in with_errors(entries):
        by_name[entry.name].append(entry)
    report = GradientReport(by_name, tolerance)
    if verbose:
        print(report)
    return report


def check_precision(where: str, precision: str, digits: int, n_entries: int | None) -> None:
    """The arguments that all checks share."""
    if precision not in ("auto", "float64", "high"):
        raise ValidationError(f"{where}.precision: must be 'auto', 'float64' or 'high', got {precision!r}")
    for name, value, least in (("digits", digits, 20), ("n_entries", n_entries, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ValidationError(f"{where}.{name}: must be an integer >= {least}, got {value!r}")


def _check_arguments(precision: str, digits: int, n_entries: int | None, silent_strength: float) -> None:
    check_precision("check_gradients", precision, digits, n_entries)
    number("check_gradients.silent_strength", silent_strength, at_least=0)
    if silent_strength > 0 and precision == "high":
        raise ValidationError(
            "check_gradients.silent_strength: the hinge on silent neurons can only be checked with precision='float64'"
        )


def _places(
    arrays: Mapping[str, NDArray[Any]],
    spikes: Spikes,
    names: Sequence[str] | None,
    n_entries: int | None,
    rng: int | np.random.Generator | None,
) -> list[Place]:
    """Name and index of every entry to look at."""
    single = spikes.n_events == 0 or int(spikes.counts().max()) <= 1
    known = [*arrays, INPUT_TIMES]
    if names is None:
        names = known if single else known[:-1]
    elif isinstance(names, str) or not set(names) <= set(known):
        raise ValidationError(f"check_gradients.parameters: must be a list of names out of {known}, got {names!r}")
    elif INPUT_TIMES in names and not single:
        raise ValidationError("check_gradients.parameters: 'input_times' needs at most one spike per input neuron")
    generator = np.random.default_rng(rng) if rng is not None else None
    places: list[Place] = []
    for name in dict.fromkeys(names):
        if name == INPUT_TIMES:
            indices = np.stack((spikes.samples, spikes.neurons), axis=1)
        else:
            indices = np.argwhere(np.ones(arrays[name].shape, dtype=bool))
        places += [(name, index) for index in drawn("check_gradients", name, indices, n_entries, generator)]
    return places


def drawn(
    where: str, name: str, indices: NDArray[np.int64], n_entries: int | None, generator: np.random.Generator | None
) -> list[tuple[int, ...]]:
    """The rows of `indices`, or `n_entries` of them, in order."""
    if n_entries is not None and n_entries < len(indices):
        if generator is None:
            raise ValidationError(
                f"{where}.rng: {n_entries} of the {len(indices)} entries of {name} are drawn; give a seed"
            )
        indices = indices[np.sort(generator.choice(len(indices), n_entries, replace=False))]
    return [tuple(int(i) for i in index) for index in indices]


def _work(network: Sequential, spikes: Spikes, places: list[Place]) -> int:
    """Neurons to be evaluated in high precision, roughly: of the layer itself those that move, and all later ones."""
    sizes = [layer.n_neurons for layer in network.layers]
    costs = {INPUT_TIMES: sum(sizes)}
    for k, layer in enumerate(network.layers):
        delay = layer.connection.delay
        n_sharing = sizes[k] // layer.connection.weight.shape[-1]  # more than one with a convolution
        moved = {"weight": n_sharing, "delay": 1 if delay.ndim == 2 and delay.shape[1] > 1 else sizes[k]}
        for kind, n_moved in moved.items():
            costs[f"{layer.name}.{kind}"] = (n_moved + sum(sizes[k + 1 :])) * spikes.n_samples
    return sum(2 * costs[name] for name, _ in places)


def with_errors(entries: list[GradientEntry]) -> list[GradientEntry]:
    """The entries with their errors filled in."""
    largest: dict[str, float] = {}
    for e in entries:
        if not e.changed:
            largest[e.name] = max(largest.get(e.name, 0.0), abs(e.numeric), e.least_scale)
    result = []
    for e in entries:
        difference, scale = abs(e.analytic - e.numeric), largest.get(e.name, 0.0)
        error = difference / scale if scale > 0 else (0.0 if difference == 0 else math.inf)
        result.append(replace(e, error=error))
    return result
