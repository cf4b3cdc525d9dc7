"""What `eventsnn convert` says, writes and draws of a conversion."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.conversion.accuracy import AccuracyOverTime
from eventsnn.conversion.energy import EnergyEstimate
from eventsnn.conversion.report import LayerReport
from eventsnn.conversion.spiking_network import SpikingNetwork
from eventsnn.experiments.run_folder import versions
from eventsnn.training.files import write_bytes_atomic, write_json_atomic

__all__ = ["ConversionOutcome", "ExitOutcome", "LayerOutcome", "shortfalls", "write_outcome"]

_LACKING = 0.01  # of accuracy to the ANN, worth a word
_RISING = 0.005  # of accuracy, in the second half of the steps
_SATURATED = 0.01  # share of a layer's activations above its scale
_ERROR = 0.2  # relative difference of a layer's activations
_RARE = 1e-3  # spikes per step


@dataclass(frozen=True, eq=False)
class LayerOutcome:
    """A layer beside that of the ANN, on some images.

    Attributes
    ----------
    name : str
    report : what was chosen for it
    rates : spikes per step, (n_images, n_neurons); None of the output
    spiking, activations : what its spikes stand for, and the ANN's activations, likewise
    limit_error : `error` in continuous time, the limit of ever shorter steps, on a few images; None where not known
    """

    name: str
    report: LayerReport
    rates: NDArray[np.floating] | None
    spiking: NDArray[np.floating]
    activations: NDArray[np.floating]
    limit_error: float | None = None

    @property
    def rate(self) -> float | None:
        """Spikes per neuron and step."""
        return None if self.rates is None else float(self.rates.mean())

    @property
    def error(self) -> float:
        """Root mean square difference of the activations relative to that of the ANN's; 0 where both are silent."""
        return relative_error(self.spiking - self.activations, self.activations)


@dataclass(frozen=True, eq=False)
class ExitOutcome:
    """Early exit on images that its margin was not calibrated on.

    Attributes
    ----------
    share : of decisions that may differ; margin : see `EarlyExit`
    n_calibration, n_images : images that the margin comes from, and that it was tried on
    steps : steps that each image took
    accuracy, full_accuracy : with early exit and after all steps; differs : share of images whose decision differs
    seconds, energy : of an image, with early exit
    """

    share: float
    margin: float
    n_calibration: int
    n_images: int
    steps: NDArray[np.int64]
    accuracy: float
    full_accuracy: float
    differs: float
    seconds: float
    energy: EnergyEstimate

    def __str__(self) -> str:
        return (
            f"early exit, margin {self.margin:.4g} from {self.n_calibration} images: {self.steps.mean():.2f} steps on "
            f"average (median {np.median(self.steps):g}, longest {self.steps.max()}), accuracy "
            f"{100 * self.accuracy:.2f} % for {100 * self.full_accuracy:.2f} % on {self.n_images} others, "
            f"{100 * self.differs:.2f} % of decisions differ (at most {100 * self.share:g} % wanted); {self.energy}; "
            f"{1 / self.seconds:,.0f} images/s"
        )


@dataclass(frozen=True, eq=False)
class ConversionOutcome:
    """What came out of a conversion.

    Attributes
    ----------
    name : of the model
    network : the converted network of the best scale
    best : number of the scale with the highest accuracy after the last step
    accuracy : of all scales, on the images that were finished
    seconds : per image and scale
    layers : of the best scale; empty where the test was interrupted
    early_exit : None where it was not asked for
    """

    name: str
    network: SpikingNetwork
    best: int
    accuracy: AccuracyOverTime
    seconds: tuple[float, ...]
    layers: tuple[LayerOutcome, ...]
    early_exit: ExitOutcome | None


def relative_error(difference: NDArray[np.floating], values: NDArray[np.floating]) -> float:
    """Root mean square of a difference relative to that of the values; 0 where these are all 0."""
    size = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(difference, dtype=np.float64)))) / size if size > 0 else 0.0


def write_outcome(
    folder: Path, outcome: ConversionOutcome, settings: dict[str, Any], *, plots: bool, say: Callable[[str], None]
) -> None:
    """Say what came out, and write it into the run folder.

    Raises
    ------
    CheckpointError, EventSNNError
        A file cannot be written.
    """
    scales = outcome.accuracy.scales
    say(f"\nANN: accuracy {100 * outcome.accuracy.ann_accuracy:.2f} %\n")
    say(str(outcome.network.report))
    say(f"\n{outcome.accuracy}")
    if settings["input"] == "latency":
        say("with --input latency an image has been seen after the last step only, and not before")
    say("")
    for k, scale in enumerate(scales):
        say(f"scale {scale:g}: {_costs(outcome, k)}")
    if outcome.layers:
        say(f"\n{_layer_table(outcome)}")
    if outcome.early_exit is not None:
        say(f"\n{outcome.early_exit}")
    say("")
    for line in shortfalls(outcome) or ["nothing falls short"]:
        say(line)
    outcome.network.save(folder / "network.npz")
    write_bytes_atomic(folder / "accuracy.csv", _csv(_accuracy_rows(outcome)))
    if outcome.layers:
        write_bytes_atomic(folder / "layers.csv", _csv(_layer_rows(outcome)))
    write_json_atomic(folder / "metrics.json", _metrics(outcome, settings))
    if plots:
        for path in _draw(folder / "plots", outcome):
            say(f"picture: {path}")


def shortfalls(outcome: ConversionOutcome) -> list[str]:
    """What is worse than one may want, and what may help, a sentence each."""
    own, found = outcome.accuracy, []
    n_steps, scale = own.n_steps, own.scales[outcome.best]
    lost = float(own.loss(n_steps)[outcome.best])
    if lost > _LACKING:
        found.append(
            f"accuracy: {100 * lost:.2f} points below the ANN after {n_steps} steps at scale {scale:g}; --calibrate "
            "both, more --timesteps, --channel-wise, or other --scales may help"
        )
        rise = own.accuracy[outcome.best, -1] - own.accuracy[outcome.best, max(n_steps // 2, 1) - 1]
        if rise > _RISING:
            found.append(f"accuracy: still rising, by {100 * rise:.2f} points in the second half of the steps")
    for layer in outcome.layers:
        share = layer.report.saturated_share
        if share is not None and share > _SATURATED:
            found.append(
                f"{layer.name}: {100 * share:.2g} % of its activations lie above its scale, which no rate can say; a "
                "higher scale or percentile, or --method max"
            )
        if layer.error > _ERROR:
            found.append(
                f"{layer.name}: differs from the ANN by {100 * layer.error:.0f} % of its activations; more --timesteps "
                "or --calibrate both"
            )
        if layer.rate is not None and layer.rate < _RARE:
            found.append(f"{layer.name}: {layer.rate:.1e} spikes per neuron and step, hardly any; try a lower scale")
    return found


# -- lines and rows --------------------------------------------------------------------------------------------------


def _costs(outcome: ConversionOutcome, k: int) -> str:
    own = outcome.accuracy
    spikes, events = own.n_spikes[k].sum(), own.n_synaptic_events[k].sum()
    speed = 1 / outcome.seconds[k] if outcome.seconds[k] > 0 else float("inf")
    return (
        f"{spikes:,.0f} spikes, {events:,.0f} synaptic operations, {outcome.accuracy.energy[k]}; {speed:,.0f} images/s"
    )


def _layer_table(outcome: ConversionOutcome) -> str:
    rows = [["layer", "spikes/step", "never fires", "differs from the ANN", "in continuous time"]]
    for layer in outcome.layers:
        silent = "-" if layer.rates is None else f"{100 * (layer.rates.max(axis=0) == 0).mean():.1f} %"
        rate = "-" if layer.rate is None else f"{layer.rate:.4f}"
        limit = "-" if layer.limit_error is None else f"{100 * layer.limit_error:.1f} %"
        rows.append([layer.name, rate, silent, f"{100 * layer.error:.1f} %", limit])
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    n_images = len(outcome.layers[0].spiking)
    return "\n".join([f"scale {outcome.accuracy.scales[outcome.best]:g}, {n_images} images", *lines])


def _accuracy_rows(outcome: ConversionOutcome) -> Iterable[Sequence[Any]]:
    own = outcome.accuracy
    yield "scale", "steps", "accuracy", "ann_accuracy", "n_images"
    for scale, line in zip(own.scales, own.accuracy, strict=True):
        for t, value in enumerate(line, start=1):
            yield scale, t, value, own.ann_accuracy, own.n_images


def _layer_rows(outcome: ConversionOutcome) -> Iterable[Sequence[Any]]:
    yield (
        "layer",
        "n_neurons",
        "scale",
        "published_threshold",
        "saturated_share",
        "spikes_per_step",
        "error",
        "limit_error",
    )
    for layer in outcome.layers:
        own = layer.report
        scale = None if own.scale is None else float(np.mean(own.scale))
        found = (own.published_threshold, own.saturated_share, layer.rate, layer.error, layer.limit_error)
        yield layer.name, own.n_neurons, scale, *found


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return stream.getvalue().encode()


def _metrics(outcome: ConversionOutcome, settings: dict[str, Any]) -> dict[str, Any]:
    own = outcome.accuracy
    scales = []
    for k, scale in enumerate(own.scales):
        energy = outcome.accuracy.energy[k]
        scales.append({
            "scale": scale, "accuracy": own.accuracy[k].tolist(), "n_spikes": own.n_spikes[k].tolist(),
            "n_synaptic_events": float(own.n_synaptic_events[k].sum()), "seconds_per_image": outcome.seconds[k],
            "energy": asdict(energy) | {"ann_joule": energy.ann_joule, "snn_joule": energy.snn_joule},
        })  # fmt: skip
    early = outcome.early_exit
    found: dict[str, Any] = {
        "settings": {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()},
        "n_images": own.n_images,
        "interrupted": not outcome.layers,
        "ann_accuracy": own.ann_accuracy,
        "layers": list(own.layers),
        "scales": scales,
        "best_scale": own.scales[outcome.best],
        "early_exit": None if early is None else asdict(early) | {"steps": float(early.steps.mean())},
    }
    return found | {"versions": versions()}


def _draw(folder: Path, outcome: ConversionOutcome) -> list[Path]:
    from eventsnn import plotting

    own = outcome.accuracy
    paths = [folder / "accuracy.png"]
    title = f"{outcome.name}, {own.n_images} images"
    plotting.plot_accuracy_over_time(
        own.accuracy, own.ann_accuracy, scales=own.scales, title=title, path=paths[0]
    )  # fmt: skip
    if not outcome.layers:
        return paths
    paths += [folder / "rates.png", folder / "activations.png"]
    title = f"{outcome.name}, scale {own.scales[outcome.best]:g}, {own.n_steps} steps"
    rates = {layer.name: layer.rates.mean(axis=0) for layer in outcome.layers if layer.rates is not None}
    plotting.plot_layer_rates(rates, title=title, path=paths[1])
    plotting.plot_activations(
        {layer.name: layer.spiking for layer in outcome.layers},
        {layer.name: layer.activations for layer in outcome.layers},
        title=title,
        path=paths[2],
    )
    return paths
