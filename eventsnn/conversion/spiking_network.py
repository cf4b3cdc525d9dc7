"""`SpikingNetwork`: what a conversion gives, to be run, measured, scaled, trained on and saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import count, index_array, number
from eventsnn.clocked_neurons import IF, Leaky
from eventsnn.conversion.accuracy import AccuracyOverTime
from eventsnn.conversion.ann import ANN
from eventsnn.conversion.blocks import blocks_of
from eventsnn.conversion.early_exit import EarlyExit, ExitResult
from eventsnn.conversion.energy import estimate_energy, multiply_accumulates
from eventsnn.conversion.inputs import Input, checked_input, encoded
from eventsnn.conversion.model_file import read_model, write_model
from eventsnn.conversion.progress import BatchBar
from eventsnn.conversion.report import ConversionReport
from eventsnn.conversion.spiking_state import parts_of_state, state_of
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.simulation.chain_inference import ChainRun, run_chain

__all__ = ["SpikingNetwork", "checked_steps"]

#: images that are run together where all of them need not be kept
_BATCH = 256
#: steps between two looks at who is decided: fewer cost more in calls than the steps they save (MNIST, 64 steps)
_WINDOW = 4


def checked_steps(where: str, n_steps: Any) -> int:
    """An integer >= 1."""
    if count(where, n_steps) < 1:
        raise ValidationError(f"{where}: must be at least 1 step, got {n_steps}; 32 to 128 are usual")
    return int(n_steps)


class SpikingNetwork:
    """A spiking network that stands for an ANN; `convert` makes it.

    Attributes
    ----------
    network : Sequential
        For `simulate_clocked`, `Trainer` and all else that takes a chain. Its populations are named "conv1", "conv2",
        ..., "linear1", ..., "output"; the output accumulates and never fires.
    ann : ANN
        What was converted.
    report : ConversionReport
        What was chosen, layer by layer; ``print(report)`` shows a table.

    Notes
    -----
    Potentials have the unit of the ANN's pre-activations. A spike of a layer stands for the layer's scale, which is its
    threshold; weights that leave it are the ANN's times that scale, biases are the ANN's. So spikes per step times
    scale is about the activation, and the output's potential / n_steps about the ANN's output, after any number of
    steps of one run.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn.conversion import ANN, Linear, ReLU, convert
    >>> ann = ANN([Linear([[1.0, -1.0], [0.5, 2.0]]), ReLU(), Linear([[1.0], [2.0]], bias=[0.5])], input_shape=(2,))
    >>> snn = convert(ann, method=[2.0])
    >>> ann.outputs([[1.0, 0.6]]), snn.outputs([[1.0, 0.6]], n_steps=50).round(2)
    (array([[2.2]]), array([[2.22]]))
    """

    def __init__(self, ann: ANN, network: Sequential, report: ConversionReport) -> None:
        self.ann, self.network, self.report = ann, network, report

    @property
    def scales(self) -> list[float | NDArray[np.float64]]:
        """What a spike of each layer stands for, a number or one per channel; all layers but the output."""
        return [layer.scale for layer in self.report if layer.scale is not None]

    # -- running --------------------------------------------------------------------------------------------------

    def run(
        self,
        images: ArrayLike,
        n_steps: int,
        *,
        input: Input = "constant",
        rng: np.random.Generator | None = None,
        n_threads: int = 1,
        progress: bool = True,
        keep: Sequence[str] = (),
        early_exit: EarlyExit | None = None,
    ) -> ChainRun:
        """Run images for so many steps.

        Parameters
        ----------
        images : array_like of float, shape (n, *ann.input_shape) or (n, n_inputs), as the ANN takes them
        n_steps : int, >= 1
        input : {"constant", "poisson", "latency"}
            The image as a current, the same in every step. Spikes with the value as their probability in every step
            (`encode_rate`). Or the brighter, the earlier (`encode_latency_steps`), and then a spike in every step to
            the end: the network has seen the image after all n_steps, and not before.
        rng : numpy Generator, for input="poisson" only
        n_threads : threads over blocks of images; does not change the result
        progress : show a bar on standard error once two seconds have passed
        keep : "counts" and "potentials" of the layers that fire, if wanted
        early_exit : ends an image up to three steps after it is decided; see `decide`

        Returns
        -------
        ChainRun
            ``outputs[:, t]`` is the potential of the output after t + 1 steps; NaN where an image had ended.

        Raises
        ------
        ValidationError
            Images of another shape or not finite, none of them, n_steps < 1, values outside 0 .. 1 where they are
            encoded as spikes, no rng.
        """
        samples = self._samples("SpikingNetwork.run", images)
        n_steps = checked_steps("SpikingNetwork.run.n_steps", n_steps)
        checked_input("SpikingNetwork.run", input, samples, rng)
        stop, window = (None, None) if early_exit is None else (early_exit.decided, _WINDOW)
        parts = []
        with BatchBar("run", len(samples), enabled=progress) as bar:
            for batch in _batches(samples):
                inputs = encoded(input, batch, n_steps, rng)
                parts.append(
                    run_chain(
                        self.network, inputs, n_steps=n_steps, n_threads=n_threads, progress=False, keep=keep,
                        stop=stop, window=window,
                    )
                )  # fmt: skip
                bar.advance(len(batch), f"{n_steps} steps")
        return ChainRun.joined(parts)

    def outputs(self, images: ArrayLike, n_steps: int, **options: Any) -> NDArray[np.floating]:
        """What stands for the ANN's outputs, (n, n_outputs): potentials / n_steps at the end; options as in `run`."""
        found: NDArray[np.floating] = self.run(images, n_steps, **options).outputs[:, -1] / n_steps
        return found

    def predict(self, images: ArrayLike, n_steps: int, **options: Any) -> NDArray[np.int64]:
        """Index of the highest output after n_steps, (n,); the first of equals. Options as in `run`."""
        found: NDArray[np.int64] = self.outputs(images, n_steps, **options).argmax(axis=1)
        return found

    def accuracy(self, images: ArrayLike, labels: ArrayLike, n_steps: int, **options: Any) -> float:
        """Share of images whose highest output after n_steps is their label; options as in `run`."""
        samples = self._samples("SpikingNetwork.accuracy", images)
        wanted = self._labels("SpikingNetwork.accuracy", labels, len(samples))
        return float((self.predict(samples, n_steps, **options) == wanted).mean())

    def calibrate_exit(self, images: ArrayLike, n_steps: int, *, share: float = 0.005, **options: Any) -> EarlyExit:
        """When to end images early, such that at most this share of decisions differs from those after n_steps.

        `images` are held out: neither trained on nor used elsewhere in the test, and 1/share - 1 at least; see
        `EarlyExit.calibrated`. Options as in `run`; give `decide` the same.
        """
        return EarlyExit.calibrated(self.run(images, n_steps, **options).outputs, share)

    def decide(self, images: ArrayLike, n_steps: int, *, rule: EarlyExit, **options: Any) -> ExitResult:
        """Class of every image as soon as it is decided, at the latest after n_steps, and the steps that it took.

        Options as in `run`. Images are run a few steps at a time, and those that are decided no further.
        """
        done = self.run(images, n_steps, early_exit=rule, **options)
        return dataclasses.replace(rule.apply(done.outputs), synaptic_events=done.n_synaptic_events.sum(axis=1))

    def activations(self, images: ArrayLike, n_steps: int, **options: Any) -> dict[str, NDArray[np.float64]]:
        """What stands for the ANN's activations: spikes per step times scale by layer, (n, n_neurons) each.

        The output's is its potential / n_steps. Options as in `run`; `ann_activations` has the ANN's own.
        """
        done = self.run(images, n_steps, keep=("counts",), **options)
        found = {
            layer.name: done.counts[layer.name] * (np.asarray(layer.neuron.v_threshold) / n_steps)
            for layer in self.network.layers[:-1]
        }
        return found | {"output": done.outputs[:, -1].astype(np.float64) / n_steps}

    def ann_activations(self, images: ArrayLike) -> dict[str, NDArray[np.floating]]:
        """The ANN's activation of every neuron by layer, of the output its value, (n, n_neurons) each."""
        samples = self._samples("SpikingNetwork.ann_activations", images)
        found = self.ann.folded().activations(samples)
        return {block.name: found[block.relu_index].reshape(len(samples), -1) for block in blocks_of(self.ann)}

    def accuracy_over_time(
        self,
        images: ArrayLike,
        labels: ArrayLike,
        n_steps: int,
        *,
        scales: Sequence[float] = (1.0,),
        input: Input = "constant",
        rng: np.random.Generator | None = None,
        n_threads: int = 1,
        progress: bool = True,
    ) -> AccuracyOverTime:
        """Accuracy after every step from 1 to n_steps, from one run, for several threshold scales.

        Parameters
        ----------
        images, n_steps, input, rng, n_threads, progress : as in `run`
        labels : array_like of int, shape (n,), in 0 .. n_outputs - 1
        scales : numbers > 0
            All thresholds times this, see `with_scale`.

        Returns
        -------
        AccuracyOverTime

        Raises
        ------
        ValidationError
            As `run`; labels out of range or of another number; no scale, or one <= 0.

        Notes
        -----
        With constant input, what a network says after T steps is what it says in a run of T steps. With
        input="latency" it is not: only after n_steps has the whole image been sent.
        """
        where = "SpikingNetwork.accuracy_over_time"
        samples = self._samples(where, images)
        wanted = self._labels(where, labels, len(samples))
        n_steps = checked_steps(f"{where}.n_steps", n_steps)
        checked_input(where, input, samples, rng)
        factors = tuple(number(f"{where}.scales", scale, above=0) for scale in scales)
        if not factors:
            raise ValidationError(f"{where}.scales: must hold at least one factor, got none; (1.0,) is the default")
        names = tuple(layer.name for layer in self.network.layers)
        n_right = np.zeros((len(factors), n_steps), np.int64)
        n_spikes, n_events = np.zeros((len(factors), len(names) - 1)), np.zeros((len(factors), len(names)))
        with BatchBar("accuracy over time", len(samples) * len(factors), enabled=progress) as bar:
            for k, factor in enumerate(factors):
                network = scaled(self.network, factor)
                for start, batch in zip(range(0, len(samples), _BATCH), _batches(samples), strict=True):
                    inputs = encoded(input, batch, n_steps, rng)
                    done = run_chain(network, inputs, n_steps=n_steps, n_threads=n_threads, progress=False)
                    right = done.outputs.argmax(axis=2) == wanted[start : start + len(batch), np.newaxis]
                    n_right[k] += right.sum(axis=0)
                    n_spikes[k] += done.n_spikes.sum(axis=0)
                    n_events[k] += done.n_synaptic_events.sum(axis=0)
                    bar.advance(len(batch), f"scale {factor:g}")
        n = len(samples)
        ann_accuracy = self.ann.accuracy(samples, wanted)
        macs = multiply_accumulates(blocks_of(self.ann))
        energy = tuple(
            estimate_energy(macs, events / n, n_steps=n_steps, constant_input=input == "constant")
            for events in n_events.sum(axis=1)
        )
        return AccuracyOverTime(n_right / n, ann_accuracy, factors, n, names, n_spikes / n, n_events / n, energy)

    # -- other networks -------------------------------------------------------------------------------------------

    def with_scale(self, factor: float) -> SpikingNetwork:
        """The network whose thresholds, and all that goes with them, are `factor` times as high.

        Below 1 a spike stands for less: rates are higher and finer, but saturate at lower activations. Calibrated
        biases stay as they are and calibrated potentials go with the thresholds;
        ``convert(..., threshold_scale=factor)`` calibrates anew.
        """
        factor = number("SpikingNetwork.with_scale.factor", factor, above=0)
        return SpikingNetwork(self.ann, scaled(self.network, factor), self.report.scaled(factor))

    def with_network(self, network: Sequential) -> SpikingNetwork:
        """The same with another chain of the same layers, for example after training it further.

        Raises
        ------
        ValidationError
            Layers of other names or sizes, neurons other than `IF` and `Leaky`.
        """
        if not isinstance(network, Sequential) or _form(network) != _form(self.network):
            raise ValidationError(
                f"SpikingNetwork.with_network: must be a chain of the same layers as {self.network!r}, with IF or "
                f"Leaky neurons, got {network!r}"
            )
        return SpikingNetwork(self.ann, network, self.report)

    # -- files ----------------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write it to one file, the ANN and the report with it: an npz with a JSON header and SHA-256 sums, no pickle.

        Raises
        ------
        CheckpointError
            The file cannot be written; what was there before is untouched.
        """
        write_model(path, "SpikingNetwork", state_of(self.ann, self.network, self.report))

    @classmethod
    def load(cls, path: Path | str) -> SpikingNetwork:
        """The network that `save` wrote: the same bits.

        Raises
        ------
        DataError
            The file is missing, a pickle, truncated, damaged, or holds something else.
        """
        return cls(*parts_of_state(str(path), read_model(path, "SpikingNetwork")))

    # -- checks ---------------------------------------------------------------------------------------------------

    def _samples(self, where: str, images: ArrayLike) -> NDArray[np.floating]:
        """Images (n, n_inputs), n >= 1, in the type of the network."""
        return flat_images(f"{where}.images", images, self.ann)

    def _labels(self, where: str, labels: ArrayLike, n: int) -> NDArray[np.int64]:
        wanted = index_array(f"{where}.labels", labels, self.ann.n_outputs, "outputs of the network")
        if wanted.size != n:
            raise ValidationError(f"{where}.labels: needs one label per image, got {wanted.size} for {n} images")
        return wanted

    def __repr__(self) -> str:
        return f"SpikingNetwork({self.network!r}; {self.report.settings})"


def flat_images(name: str, images: ArrayLike, ann: ANN) -> NDArray[np.floating]:
    """Images that the ANN takes, at least one, as (n, n_inputs) in its type."""
    samples = ann.samples(images, name)
    if not len(samples):
        raise ValidationError(f"{name}: must hold at least one image, got shape {np.shape(images)}")
    return np.ascontiguousarray(samples.reshape(len(samples), -1), dtype=ann.dtype)


def scaled(network: Sequential, factor: float) -> Sequential:
    """The chain whose thresholds are `factor` times as high, with potentials at the start and outgoing weights."""
    if factor == 1.0:
        return network
    layers = network.layers
    weights = {f"{layer.name}.weight": layer.connection.weight * layer.connection.weight.dtype.type(factor)
               for layer in layers[1:]}  # fmt: skip
    parts: list[Any] = []
    for layer in network.with_parameters(weights).layers:
        neuron = layer.neuron
        if neuron.can_spike:
            neuron = dataclasses.replace(neuron, v_threshold=neuron.v_threshold * factor, v_init=neuron.v_init * factor)
        parts += [*layer.channels, layer.connection, neuron]
    return Sequential(parts, [layer.name for layer in layers])


def _form(network: Sequential) -> list[tuple[object, ...]]:
    return [
        (layer.name, layer.n_sources, layer.n_neurons, layer.can_spike, isinstance(layer.neuron, (IF, Leaky)))
        for layer in network.layers
    ]


def _batches(images: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    return (images[k : k + _BATCH] for k in range(0, len(images), _BATCH))
