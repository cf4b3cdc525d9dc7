"""Fine-tuning: a converted network is trained on by surrogate gradients, so that few steps are enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import count
from eventsnn.clock import Clock
from eventsnn.conversion.spiking_network import SpikingNetwork
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.surrogates import Surrogate, Triangular
from eventsnn.training.metrics import EpochMetrics
from eventsnn.training.optimizers import Adam, Optimizer
from eventsnn.training.trainer import Trainer
from eventsnn.training.voltage_losses import VoltageCrossEntropy

__all__ = ["FineTuned", "fine_tune"]

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What `fine_tune` gives.

    Attributes
    ----------
    network : SpikingNetwork, the trained one
    history : metrics of every epoch
    """

    network: SpikingNetwork
    history: list[EpochMetrics]


@dataclass(frozen=True)
class _Images:
    """Constant currents and labels, as `Trainer` wants them."""

    spikes: Currents
    labels: NDArray[np.int64]


def fine_tune(
    network: SpikingNetwork,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    n_steps: int,
    n_epochs: int,
    seed: int,
    valid: tuple[ArrayLike, ArrayLike] | None = None,
    optimizer: Optimizer | None = None,
    surrogate: Surrogate | None = None,
    learn: Mapping[str, float] | None = None,
    batch_size: int = 100,
    n_threads: int = 1,
    progress: bool = True,
) -> FineTuned:
    """Train a converted network for runs of a few steps (hybrid training).

    Parameters
    ----------
    network : SpikingNetwork, with constant input
    images : shape (n, *input_shape) or (n, n_inputs), as for the ANN
    labels : class of each image, shape (n,)
    n_steps : steps of a run, in training as in use, >= 1
    n_epochs : passes over the images, >= 1
    seed : order of the images
    valid : images and labels that are looked at after every epoch, and not learned from
    optimizer : default ``Adam(1e-4)``: little is to be changed
    surrogate : of ds/dv as a function of v/threshold - 1; default 0.3 max(0, 1 - |u|), ``Triangular()``
    learn : see `Trainer`; default: weights, and the biases of layers that are no convolutions
    batch_size, n_threads, progress : see `Trainer`

    Returns
    -------
    FineTuned

    Raises
    ------
    ValidationError
        Images, labels, steps or epochs that do not fit.
    SimulationError
        The loss is not finite any more; try a lower learning rate.
    KeyboardInterrupt
        Ctrl-C; nothing is returned, and `network` is as it was.

    Notes
    -----
    The loss is the cross-entropy of the softmax of the readout's last potential / n_steps, which is what stands for the
    ANN's outputs. In training every threshold is 1: weights into a layer, its biases and its initial potential are
    divided by the layer's threshold, which changes no spike but by rounding, and multiplied by it again afterwards. So
    one surrogate and one learning rate suit layers whose thresholds differ.

    References
    ----------
    Rathi et al. (2020), Enabling deep spiking neural networks with hybrid conversion and spike timing dependent
    backpropagation, ICLR, arXiv 2005.01807. The surrogate: Bellec et al. (2018), arXiv 1803.09574.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn.conversion import ANN, Linear, ReLU, convert, fine_tune
    >>> rng = np.random.default_rng(0)
    >>> ann = ANN([Linear(rng.normal(size=(4, 20))), ReLU(), Linear(rng.normal(size=(20, 2)))], input_shape=(4,))
    >>> images = rng.random((200, 4))
    >>> labels = (images[:, 0] > images[:, 1]).astype(int)
    >>> tuned = fine_tune(convert(ann, images), images, labels, n_steps=4, n_epochs=3, seed=0, progress=False)
    >>> tuned.history[-1].train_loss < tuned.history[0].train_loss
    True
    """
    where = "fine_tune"
    if not isinstance(network, SpikingNetwork):
        raise ValidationError(
            f"{where}.network: must be a SpikingNetwork, got {type(network).__name__}; convert makes it"
        )
    for name, value in (("n_steps", n_steps), ("n_epochs", n_epochs)):
        if count(f"{where}.{name}", value) < 1:
            raise ValidationError(f"{where}.{name}: must be >= 1, got {value}")
    train = _split(f"{where}.images", network, images, labels)
    held_out = None if valid is None else _split(f"{where}.valid", network, *valid)
    chain = with_unit_thresholds(network.network)
    loss: Any = VoltageCrossEntropy([n_steps - 1], scale=1.0 / n_steps)
    trainer = Trainer(
        chain,
        loss,
        optimizer or Adam(1e-4),
        seed=seed,
        batch_size=batch_size,
        learn=_default(chain) if learn is None else learn,
        clock=Clock(n_steps=n_steps, surrogate=surrogate or Triangular(), decode="last_membrane"),
        n_threads=n_threads,
    )
    history = trainer.fit(train, held_out, n_epochs, progress=progress)
    trained = trainer.network
    assert isinstance(trained, Sequential)
    return FineTuned(network.with_network(with_thresholds_of(network.network, trained)), history)


def with_unit_thresholds(chain: Sequential) -> Sequential:
    """The same network with potentials in units of each layer's threshold."""
    return _rescaled(chain, _thresholds(chain), np.divide)


def with_thresholds_of(original: Sequential, chain: Sequential) -> Sequential:
    """`chain`, whose potentials are in units of the thresholds of `original`, in units of its own again."""
    return _rescaled(chain, _thresholds(original), np.multiply)


def _thresholds(chain: Sequential) -> list[Floats]:
    """Of every layer one threshold, or one per neuron; 1 of a readout."""
    return [np.asarray(layer.neuron.v_threshold) if layer.can_spike else np.ones(()) for layer in chain.layers]


def _rescaled(chain: Sequential, factors: list[Floats], operation: Any) -> Sequential:
    """Every layer's potentials, and what is added to them, times or by a factor, or one per neuron."""
    neurons, weights = [], {}
    for layer, factor in zip(chain.layers, factors, strict=True):
        neuron, weight = layer.neuron, layer.connection.weight
        changed = {name: _number(operation(getattr(neuron, name), factor)) for name in ("bias", "v_init")}
        if layer.can_spike:
            changed["v_threshold"] = _number(operation(neuron.v_threshold, factor))
        neurons.append(replace(neuron, **changed))
        # outputs are the last axis of all weights: neurons of a dense layer, channels of a convolution
        of_outputs = factor[: weight.shape[-1]] if factor.ndim else factor
        weights[f"{layer.name}.weight"] = operation(weight, of_outputs).astype(weight.dtype)
    parts: list[Any] = []
    for layer, neuron in zip(chain.with_parameters(weights).layers, neurons, strict=True):
        parts += [*layer.channels, layer.connection, neuron]
    return Sequential(parts, [layer.name for layer in chain.layers])


def _number(value: Any) -> Any:
    """A number where it is one."""
    return float(value) if np.ndim(value) == 0 else value


def _default(chain: Sequential) -> dict[str, float]:
    """Weights, and biases per neuron where neurons have weights of their own."""
    found = {"weight": 1.0}
    for layer in chain.layers:
        if layer.connection.weight.shape[-1] == layer.n_neurons and isinstance(layer.neuron.bias, np.ndarray):
            found[f"{layer.name}.bias"] = 1.0
    return found


def _split(name: str, network: SpikingNetwork, images: ArrayLike, labels: ArrayLike) -> _Images:
    return _Images(Currents(network.ann.samples(images, name).reshape(len(np.asarray(images)), -1)), np.asarray(labels))
