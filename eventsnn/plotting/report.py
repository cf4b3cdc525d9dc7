"""All pictures that apply to a trained network, written into a run folder, and each beside the untrained one's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from eventsnn.errors import EventSNNError, ValidationError
from eventsnn.network import Sequential
from eventsnn.plotting.report_pictures import Draw, Pictures, TestedData, output_of
from eventsnn.plotting.sheet import plot_beside, plot_sheet, share_scales
from eventsnn.plotting.style import check_first_times, check_index, graph_of

if TYPE_CHECKING:
    from eventsnn.clock import Clock
    from eventsnn.graph import Network
    from eventsnn.training.monitor import ParameterMonitor

__all__ = ["write_comparison", "write_report"]

#: what the summary shows, in the order of the report
_ON_SHEET = (
    "curve", "learned_spike", "confusion_matrix", "sorted_output_times", "spike_time_histograms", "yin_yang_map",
    "yin_yang_output_times", "raster", "traces", "weight_histograms", "delay_histograms", "receptive_fields",
    "parameters",
)  # fmt: skip
_LONGEST_LINE = 200


def write_report(
    folder: Path,
    network: Sequential | Network,
    dataset: TestedData,
    history: Sequence[Mapping[str, Any] | Any],
    *,
    encoding: Mapping[str, Any] | None = None,
    sample: int = 0,
    t_max: float = math.inf,
    clock: Clock | None = None,
    predictions: ArrayLike | None = None,
    monitor: ParameterMonitor | None = None,
    target_time: float | None = None,
    output_times: ArrayLike | None = None,
    noisy: bool = False,
    n_threads: int = 1,
) -> list[Path]:
    """Draw every picture that applies into ``folder/plots/`` as PNG.

    Parameters
    ----------
    folder : Path
        The run folder.
    network : Sequential
        The trained network.
    dataset : Dataset
        Its test part is simulated once for the confusion matrix and the sorted output times.
    history : sequence of mappings or dataclasses
        As for `plot_history`; empty: no curve.
    encoding : mapping, optional
        How values became times, for the Yin-Yang maps: `t_early`, `t_late`, `bias_time` in units of tau_syn, as in the
        dataset section of a configuration (other keys are ignored). Without it there are no maps.
    sample : int
        Test sample of the raster and the traces.
    t_max : float
        End of the simulations, in the unit of the spike times.
    clock : Clock, optional
        The time grid of a network that runs on one.
    predictions : array_like, shape (n_test,), optional
        Class found for each test sample; by default the output that fires first. Needed for readouts, whose outputs
        do not fire, and with a clock.
    monitor : ParameterMonitor, optional
        The parameters over the epochs, for their picture.
    target_time : float, optional
        The spike time that the right output was to learn, in the unit of the spike times; drawn where there is one
        output neuron.
    output_times : array_like, shape (n_test, n_outputs), optional
        First output spikes of the test part, inf where silent; default those of a simulation.
    noisy : bool
        Whether `predictions` and `output_times` are those of a network with noise (`Hardware`): the titles of what is
        simulated here, which is without, then say so.
    n_threads : int
        Threads of the simulations.

    Returns
    -------
    list of Path
        The pictures, in the order drawn: curve, learned_spike (one output neuron, all parameters recorded),
        confusion_matrix; of outputs that fire, without a clock, sorted_output_times, spike_time_histograms,
        time_differences; for the data set "yin_yang" yin_yang_map, yin_yang_output_times, yin_yang_time_differences
        and yin_yang_<name>_times of every hidden population; raster, traces; euler (chains whose outputs fire);
        weight_histograms, weight_matrices, delay_histograms and delay_matrices (of what has delays), receptive_fields
        (inputs that form a square of at least 8 x 8), parameters (more than one epoch recorded); and summary, a sheet
        of most of them.

    Raises
    ------
    ValidationError
        An empty test part, a sample out of range, an encoding that does not fit.
    EventSNNError
        Some pictures failed: all others are written, and the message names each failure.
    """
    where = "write_report"
    classes = _checked(where, network, dataset, sample, clock, predictions)
    report = Pictures(
        network, dataset, history, encoding, sample, t_max, clock, classes, n_threads, monitor, target_time,
        _checked_times(where, network, dataset, output_times), noisy,
    )  # fmt: skip
    return _write(where, Path(folder) / "plots", report.pictures(), lambda: _facts(report))


def _facts(report: Pictures) -> list[str]:
    """What the summary says above its pictures."""
    n_right = int(np.count_nonzero(report.classes == report.dataset.test.labels))
    n_test = len(report.dataset.test)
    result = f"test accuracy {100 * n_right / n_test:.2f} % ({n_right} of {n_test})"
    entries = [entry if isinstance(entry, Mapping) else vars(entry) for entry in report.history]
    if entries:
        result += f" after {entries[-1]['epoch']} epochs"
        seconds = [entry.get("seconds") for entry in entries]
        if all(isinstance(value, (int, float)) for value in seconds):
            result += f", {sum(seconds):.3g} s of training"  # type: ignore[arg-type]
    shape = " ".join(repr(report.network).split())
    return [result, shape if len(shape) <= _LONGEST_LINE else f"{shape[:_LONGEST_LINE]} ..."]


def write_comparison(
    folder: Path,
    untrained: Sequential | Network,
    trained: Sequential | Network,
    dataset: TestedData,
    *,
    encoding: Mapping[str, Any] | None = None,
    sample: int = 0,
    t_max: float = math.inf,
    clock: Clock | None = None,
    predictions: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
    output_times: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
    noisy: bool = False,
    n_threads: int = 1,
) -> list[Path]:
    """Draw the pictures of two networks of the same shape beside each other, into ``folder/plots/untrained/`` as PNG.

    Parameters
    ----------
    folder : Path
        The run folder.
    untrained, trained : Sequential or Network
        To the left and to the right.
    dataset, encoding, sample, t_max, clock, noisy, n_threads
        As for `write_report`.
    predictions, output_times : (array_like or None, array_like or None)
        As for `write_report`, of both networks.

    Returns
    -------
    list of Path
        The pictures of `write_report` but for those of the course of training, with axes and colour scales wide enough
        for both networks.

    Raises
    ------
    ValidationError
        As `write_report`, or networks of different shape.
    EventSNNError
        Some pictures failed: all others are written, and the message names each failure.
    """
    where = "write_comparison"
    one, other = graph_of(untrained), graph_of(trained)
    if (one.sizes, one.projection_names) != (other.sizes, other.projection_names):
        raise ValidationError(f"{where}: needs two networks of one shape, got {untrained!r} and {trained!r}")
    sides = []
    for network, own, times in zip((untrained, trained), predictions, output_times, strict=True):
        classes = _checked(where, network, dataset, sample, clock, own)
        first = _checked_times(where, network, dataset, times)
        side = Pictures(
            network, dataset, [], encoding, sample, t_max, clock, classes, n_threads, output_times=first, noisy=noisy
        )  # fmt: skip
        sides.append(side)
    before, after = sides
    before.beside, after.beside = after, before
    left_of = dict(before.pictures())

    def beside(left: Draw, right: Draw) -> Draw:
        def draw(path: Path | None) -> Figure:
            pair = left(None), right(None)
            share_scales(*pair)
            return plot_beside(*pair, path=path)

        return draw

    # A network whose delays are all 0 has no pictures of them; the other one may have.
    pairs = [(name, beside(left_of[name], draw)) for name, draw in after.pictures() if name in left_of]
    return _write(where, Path(folder) / "plots" / "untrained", pairs)


def _checked(
    where: str, network: Sequential | Network, dataset: TestedData, sample: int, clock: Clock | None,
    predictions: ArrayLike | None,
) -> NDArray[np.int64] | None:  # fmt: skip
    """The predictions as an array, once everything fits."""
    if len(dataset.test) == 0:
        raise ValidationError(f"{where}.dataset: the test part is empty")
    check_index(f"{where}.sample", sample, len(dataset.test), "n_test")
    if predictions is None and not output_of(network)[1].can_spike:
        raise ValidationError(f"{where}.predictions: needed, the outputs of this network do not fire")
    if predictions is None and clock is not None:
        raise ValidationError(f"{where}.predictions: needed with a clock, Trainer.predict gives them")
    return None if predictions is None else np.asarray(predictions)


def _checked_times(
    where: str, network: Sequential | Network, dataset: TestedData, output_times: ArrayLike | None
) -> NDArray[np.float64] | None:
    """The output's first spikes as an array that fits."""
    if output_times is None:
        return None
    times = check_first_times(f"{where}.output_times", output_times)
    shape = len(dataset.test), output_of(network)[1].n_neurons
    if times.shape != shape:
        raise ValidationError(f"{where}.output_times: must have shape {shape}, got {times.shape}")
    return times


def _write(
    where: str, folder: Path, pictures: Sequence[tuple[str, Draw]], facts: Callable[[], list[str]] | None = None
) -> list[Path]:
    """Draw all that can be drawn, then report what could not; with `facts` a summary of what is on the sheet."""
    written, failed = [], []
    shown: list[Figure] = []
    first_error: Exception | None = None
    if facts is not None:
        heading = facts

        def summary(path: Path | None) -> Figure:
            return plot_sheet(shown, folder.parent.name, heading(), path=path)

        pictures = [*pictures, ("summary", summary)]
    for name, draw in pictures:
        path = folder / f"{name}.png"
        try:
            figure = draw(path)
        except Exception as error:
            failed.append(f"{path.name} ({type(error).__name__}: {error})")
            first_error = first_error or error
        else:
            written.append(path)
            if name in _ON_SHEET:
                figure.set_layout_engine("none")  # it was laid out when it was written; that takes half of the time
                shown.append(figure)
    if failed:
        raise EventSNNError(
            f"{where}: {len(failed)} of {len(failed) + len(written)} pictures failed: {'; '.join(failed)}"
        ) from first_error
    return written
