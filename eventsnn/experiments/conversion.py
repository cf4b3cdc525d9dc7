"""Convert a trained network, measure what it has become, and put it all into a folder: `eventsnn convert`."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventsnn.conversion.accuracy import AccuracyOverTime
from eventsnn.conversion.ann import ANN
from eventsnn.conversion.blocks import blocks_of
from eventsnn.conversion.convert import convert
from eventsnn.conversion.early_exit import EarlyExit
from eventsnn.conversion.energy import EnergyEstimate, estimate_energy, multiply_accumulates
from eventsnn.conversion.inputs import Input
from eventsnn.conversion.progress import BatchBar
from eventsnn.conversion.spiking_network import SpikingNetwork
from eventsnn.currents import Currents
from eventsnn.errors import ConfigError
from eventsnn.experiments.build_shared import available_cores
from eventsnn.experiments.conversion_data import ConversionData, load_data, load_model
from eventsnn.experiments.conversion_report import (
    ConversionOutcome,
    ExitOutcome,
    LayerOutcome,
    relative_error,
    write_outcome,
)
from eventsnn.experiments.run_folder import new_folder
from eventsnn.simulation.if_exact import simulate_if
from eventsnn.training.files import sync_folder

__all__ = ["ConversionInterrupted", "ConversionSettings", "convert_model"]

_BATCH = 100  # images between two moments at which Ctrl-C loses nothing
_LAYER_NUMBERS = 2_000_000  # activations that are compared, neurons times images
_LAYER_IMAGES = (10, 500)
_LIMIT_EVENTS = 100_000_000  # synaptic events of the run in continuous time
_LIMIT_IMAGES = (2, 50)


class ConversionInterrupted(KeyboardInterrupt):
    """Ctrl-C while a converted network was tested; what is finished is written, and the message says what that is."""


@dataclass(frozen=True)
class ConversionSettings:
    """How to convert and to test; see `eventsnn.conversion.convert` and ``eventsnn convert --help``.

    scales : factors of all thresholds, one network each
    n_images : test images, None for all
    exit_share : of decisions that may differ with early exit; None for no early exit
    """

    method: str = "percentile"
    percentile: float = 99.9
    channel_wise: bool | None = None
    n_steps: int = 64
    scales: tuple[float, ...] = (1.0,)
    reset: Literal["subtract", "zero"] = "subtract"
    calibrate: Literal["bias", "potential", "both"] | None = None
    input: Input = "constant"
    n_images: int | None = None
    n_calibration: int = 500
    seed: int = 0
    exit_share: float | None = None


@dataclass
class _Sums:
    """Over images that are finished, of all networks; see `AccuracyOverTime`."""

    n_right: list[NDArray[np.int64]] = field(default_factory=list)
    n_spikes: list[NDArray[np.int64]] = field(default_factory=list)
    n_events: list[NDArray[np.int64]] = field(default_factory=list)
    outputs: list[NDArray[np.floating]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    ann_right: int = 0
    n_images: int = 0


def convert_model(
    model: str,
    out: Path | str = "runs",
    settings: ConversionSettings | None = None,
    *,
    data: str | None = None,
    download: bool = False,
    threads: int | None = None,
    progress: bool = True,
    plots: bool = True,
) -> ConversionOutcome:
    """Convert a network once per threshold scale, test all on the same images, and write what came out.

    Parameters
    ----------
    model : built-in name, or the file of an `ANN` (.npz) or of an ONNX network
    out : folder in which the run folder ``<name>_<time>/`` is made
    settings : default ``ConversionSettings()``
    data, download : see `eventsnn.experiments.conversion_data.load_data`
    threads : default: all cores; the results do not depend on them
    progress : print what happens, with a bar for what takes more than two seconds
    plots : draw the pictures

    Returns
    -------
    ConversionOutcome

    Raises
    ------
    ConfigError, DataError, ValidationError
        Model, data or settings that cannot be used; there is no run folder then.
    CheckpointError
        The run folder cannot be written.
    ConversionInterrupted
        Ctrl-C; the results on the images that were finished are written.

    Notes
    -----
    In the run folder: ``network.npz``, the converted network of the best scale (`SpikingNetwork.load`);
    ``accuracy.csv`` and ``layers.csv``; ``metrics.json`` with all numbers, settings and versions; ``plots/``.
    """
    own = settings or ConversionSettings()
    name, ann = load_model(model)
    images = load_data(
        model, ann, data, download=download, n_images=own.n_images, n_calibration=own.n_calibration, seed=own.seed
    )
    if own.exit_share is not None:
        _require_enough(own.exit_share, len(images.images) // 2)
    n_threads = available_cores() if threads is None else threads
    say = print if progress else _silent
    say(f"model: {name}, {_shape(ann)}")
    say(f"data: {len(images.calibration)} training images to calibrate, {len(images.images)} to test; {images.origin}")
    networks = [_convert(ann, images, own, scale, n_threads, progress) for scale in own.scales]
    folder = new_folder(Path(out), name)
    (folder / "plots").mkdir()
    sync_folder(folder)
    say(f"run folder: {folder}")
    session = _Session(name, ann, images, own, networks, n_threads, progress)
    is_whole = session.measure()
    if not session.batches:
        networks[0].save(folder / "network.npz")
        raise ConversionInterrupted(
            f"interrupted; no image is finished, the network of scale {own.scales[0]:g} is in {folder}"
        )
    try:
        outcome = session.outcome(is_whole)
    except KeyboardInterrupt:
        is_whole = False
        outcome = session.outcome(is_whole)
    write_outcome(folder, outcome, asdict(own) | {"model": model, "data": images.origin}, plots=plots, say=say)
    if not is_whole:
        raise ConversionInterrupted(
            f"interrupted; {outcome.accuracy.n_images} of {len(images.images)} images are finished, what they say is "
            f"in {folder}"
        )
    return outcome


class _Session:
    """One conversion while it is tested."""

    def __init__(
        self, name: str, ann: ANN, data: ConversionData, own: ConversionSettings, networks: list[SpikingNetwork],
        n_threads: int, progress: bool,
    ) -> None:  # fmt: skip
        self.name, self.ann, self.data, self.own, self.networks = name, ann, data, own, networks
        self.n_threads, self.progress = n_threads, progress
        self.names = tuple(layer.name for layer in networks[0].network.layers)
        self.batches: list[_Sums] = []
        # one half of the images says when to stop, the other what comes of it; drawn, as files may have an order
        self.says_when = np.zeros(len(data.images), bool)
        if own.exit_share is not None:
            chosen = np.random.default_rng([own.seed, 1]).permutation(len(data.images))
            self.says_when[chosen[: len(data.images) // 2]] = True

    # -- the test --------------------------------------------------------------------------------------------------

    def measure(self) -> bool:
        """Test batch after batch, all networks on the same images; False where Ctrl-C ended it."""
        n_images = len(self.data.images)
        with BatchBar("test", n_images * len(self.networks), enabled=self.progress) as bar:
            try:
                self.networks[0].run(self.data.images[:1], **self._options(0, 0))  # compiles, which no image is to take
                for start in range(0, n_images, _BATCH):
                    self.batches.append(self._batch(start, min(start + _BATCH, n_images), bar))
            except KeyboardInterrupt:
                return False
        return True

    def _batch(self, start: int, stop: int, bar: BatchBar) -> _Sums:
        images, labels = self.data.images[start:stop], self.data.labels[start:stop]
        found = _Sums(n_images=stop - start, ann_right=int((self.ann.predict(images) == labels).sum()))
        for k, network in enumerate(self.networks):
            begin = time.perf_counter()
            done = network.run(images, **self._options(k, start))
            found.seconds.append(time.perf_counter() - begin)
            found.n_right.append((done.outputs.argmax(axis=2) == labels[:, None]).sum(axis=0))
            found.n_spikes.append(done.n_spikes.sum(axis=0))
            found.n_events.append(done.n_synaptic_events.sum(axis=0))
            found.outputs.append(done.outputs[self.says_when[start:stop]])
            bar.advance(stop - start, f"scale {self.own.scales[k]:g}")
        return found

    def _options(self, k: int, start: int) -> dict[str, Any]:
        """Of a run of network k; random numbers of its own, so that a batch does not depend on what ran before."""
        rng = np.random.default_rng([self.own.seed, k, start]) if self.own.input == "poisson" else None
        return {
            "n_steps": self.own.n_steps, "input": self.own.input, "rng": rng, "n_threads": self.n_threads,
            "progress": False,
        }  # fmt: skip

    # -- what came out ---------------------------------------------------------------------------------------------

    def outcome(self, is_whole: bool) -> ConversionOutcome:
        """All numbers; of the layers and of early exit only where the test was finished."""
        n = sum(batch.n_images for batch in self.batches)

        def mean(name: str) -> NDArray[np.float64]:
            total: NDArray[np.float64] = np.sum([getattr(batch, name) for batch in self.batches], axis=0) / n
            return total

        accuracy = AccuracyOverTime(
            mean("n_right"), float(mean("ann_right")), self.own.scales, n, self.names, mean("n_spikes"),
            mean("n_events"), tuple(self._energy(float(events.sum())) for events in mean("n_events")),
        )  # fmt: skip
        best = int(accuracy.accuracy[:, -1].argmax())
        return ConversionOutcome(
            name=self.name,
            network=self.networks[best],
            best=best,
            accuracy=accuracy,
            seconds=tuple(float(own) for own in mean("seconds")),
            layers=self._layers(best) if is_whole else (),
            early_exit=self._early_exit(best) if is_whole and self.own.exit_share is not None else None,
        )

    def _energy(self, synaptic_events: float) -> EnergyEstimate:
        return estimate_energy(
            multiply_accumulates(blocks_of(self.ann)), synaptic_events, n_steps=self.own.n_steps,
            constant_input=self.own.input == "constant",
        )  # fmt: skip

    def _layers(self, best: int) -> tuple[LayerOutcome, ...]:
        """Every layer beside that of the ANN, on the first images."""
        network = self.networks[best]
        n_neurons = sum(layer.n_neurons for layer in network.network.layers)
        n_images = int(np.clip(_LAYER_NUMBERS // n_neurons, *_LAYER_IMAGES))
        images = self.data.images[:n_images]
        spiking = network.activations(images, **self._options(best, 0))
        activations = network.ann_activations(images)
        limit = self._limit_errors(best, activations) if self.own.input == "constant" else {}
        found = []
        for layer, report in zip(network.network.layers, network.report, strict=True):
            own, wanted = spiking[layer.name], activations[layer.name]
            rates = own / layer.neuron.v_threshold if layer.can_spike else None
            found.append(LayerOutcome(layer.name, report, rates, own, wanted, limit.get(layer.name)))
        return tuple(found)

    def _limit_errors(self, best: int, activations: dict[str, NDArray[np.floating]]) -> dict[str, float]:
        """`LayerOutcome.error` of the network in continuous time, the limit of ever shorter steps, for a few images."""
        events = sum(int(batch.n_events[best].sum()) for batch in self.batches)
        per_image = max(events // sum(batch.n_images for batch in self.batches), 1)
        n = int(np.clip(_LIMIT_EVENTS // per_image, *_LIMIT_IMAGES))
        wanted = {name: own[:n] for name, own in activations.items()}
        n = len(next(iter(wanted.values())))
        images = Currents(self.data.images[:n].reshape(n, -1))
        chain = self.networks[best].network
        run = simulate_if(chain, images, t_max=float(self.own.n_steps), n_threads=self.n_threads)
        differences: dict[str, NDArray[np.float64]] = run.rate_errors({name: wanted[name] for name in run.counts})
        output = chain.layers[-1].name
        differences[output] = run.outputs[:, -1] / self.own.n_steps - wanted[output]
        return {name: relative_error(own, wanted[name]) for name, own in differences.items()}

    def _early_exit(self, best: int) -> ExitOutcome:
        """Calibrated on one half of the images, tried on the other."""
        outputs = np.concatenate([batch.outputs[best] for batch in self.batches])
        assert self.own.exit_share is not None
        rule = EarlyExit.calibrated(outputs, self.own.exit_share)
        network, images, labels = (
            self.networks[best],
            self.data.images[~self.says_when],
            self.data.labels[~self.says_when],
        )
        begin = time.perf_counter()
        found = network.decide(images, rule=rule, **self._options(best, len(images)))
        seconds = time.perf_counter() - begin
        whole = network.predict(images, **self._options(best, len(images)))
        assert found.synaptic_events is not None
        return ExitOutcome(
            share=self.own.exit_share,
            margin=rule.margin,
            n_calibration=len(outputs),
            n_images=len(images),
            steps=found.steps,
            accuracy=float((found.classes == labels).mean()),
            full_accuracy=float((whole == labels).mean()),
            differs=float((found.classes != whole).mean()),
            seconds=seconds / len(images),
            energy=self._energy(float(found.synaptic_events.mean())),
        )


def _convert(
    ann: ANN, data: ConversionData, own: ConversionSettings, scale: float, n_threads: int, progress: bool
) -> SpikingNetwork:
    return convert(
        ann,
        data.calibration,
        method=own.method,
        percentile=own.percentile,
        channel_wise=own.channel_wise,
        threshold_scale=scale,
        reset=own.reset,
        calibrate=own.calibrate,
        n_steps=own.n_steps,
        n_threads=n_threads,
        progress=progress,
    )


def _require_enough(share: float, n_images: int) -> None:
    """Before anything long begins."""
    if not 0 < share < 1:
        raise ConfigError(
            f"--early-exit: the share of decisions that may differ must lie between 0 and 1, got {share:g}"
        )
    if n_images < 1 / share - 1:
        raise ConfigError(
            f"--early-exit {share:g} needs {math.ceil(1 / share - 1)} images to calibrate, and gets half of those that "
            f"are tested, {n_images}; give a larger share, or more --images"
        )


def _shape(ann: ANN) -> str:
    return f"{' x '.join(map(str, ann.input_shape))} values to {ann.n_outputs} outputs, {len(ann.layers)} layers"


def _silent(_: str) -> None:
    """Say nothing."""
