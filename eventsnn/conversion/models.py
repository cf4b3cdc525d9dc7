"""The trained networks that ship and have a name: what they are, and where their weights come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventsnn._shipped import data_path
from eventsnn.conversion.ann import ANN
from eventsnn.conversion.import_arrays import ann_from_npz
from eventsnn.errors import DataError, ValidationError

__all__ = ["MODELS", "ModelInfo", "load_ann", "model_info"]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a built-in network.

    Attributes
    ----------
    name : str
    data : str, the data set, "MNIST" or "CIFAR-10"
    input_shape : (height, width, channels); values are pixels / 255
    layers : str, C convolution (channels, width), A average pooling
    accuracy : float, share of the 10,000 test images that its weights classify rightly
    training : str, how it was trained
    make : str, the commands that train and export such a network; `training` says how often with `--start`
    """

    name: str
    data: str
    input_shape: tuple[int, int, int]
    layers: str
    accuracy: float
    training: str
    make: str


def _mnist(name: str, layers: str, accuracy: float, training: str) -> ModelInfo:
    make = f"python benchmarks/train_mnist_ann.py {name} --out FOLDER"
    return ModelInfo(name, "MNIST", (28, 28, 1), layers, accuracy, training, make)


def _cifar10(name: str, layers: str, accuracy: float, training: str) -> ModelInfo:
    make = (
        f"python benchmarks/train_cifar10.py {name} --data PATH --out runs/cifar10, then "
        f"python benchmarks/export_cifar10.py {name} --data PATH --checkpoint runs/cifar10/{name}.pt --out FOLDER"
    )
    return ModelInfo(name, "CIFAR-10", (32, 32, 3), layers, accuracy, training, make)


_AUGMENTED = "AdamW, flips and shifts of up to four pixels, label smoothing 0.1, averaged weights"

#: every built-in network, by name
MODELS = {
    info.name: info
    for info in (
        _mnist("mnist_mlp", "784-500-10", 0.9894, "30 epochs, AdamW, shifts of up to two pixels, averaged weights"),
        _mnist(
            "mnist_cnn",
            "32C3-A2-32C3-A2-32C3-A2-10 without padding",
            0.9923,
            "20 epochs, AdamW, shifts of up to two pixels, averaged weights; batch norm folded",
        ),
        _cifar10(
            "cifar10_cnn",
            "32C5-A2-64C5-A2-64C3-256-10",
            0.8021,
            f"11 epochs of a cycle of 12, {_AUGMENTED}; batch norm folded; on images re-compressed as JPEG",
        ),
        _cifar10(
            "vgg5",
            "64C3-A2-128C3-128C3-A2-1024-1024-10 without biases",
            0.8681,
            f"24 epochs, {_AUGMENTED}, dropout, then 20 with Muon for the convolutions; on images re-compressed as "
            "JPEG",
        ),
        _cifar10(
            "vgg16",
            "32C3-32C3-A2-64C3-64C3-A2-3x128C3-A2-3x256C3-A2-3x256C3-512-512-10: half of VGG16's width",
            0.8978,
            f"20 epochs, {_AUGMENTED}, then 16 with Muon and 28 with Muon and cutout; batch norm folded; on images "
            "re-compressed as JPEG",
        ),
    )
}


def model_info(name: str) -> ModelInfo:
    """What is known of a built-in network.

    Parameters
    ----------
    name : str
        "mnist_mlp", "mnist_cnn", "cifar10_cnn", "vgg5" or "vgg16".

    Raises
    ------
    ValidationError
        Another name.

    Examples
    --------
    >>> from eventsnn.conversion import model_info
    >>> model_info("mnist_mlp").data, model_info("mnist_mlp").input_shape
    ('MNIST', (28, 28, 1))
    """
    if name not in MODELS:
        raise ValidationError(f"model_info: no built-in network {name!r}, only {', '.join(MODELS)}")
    return MODELS[name]


def load_ann(
    model: Path | str,
    layers: Sequence[Any] | None = None,
    input_shape: Iterable[int] | None = None,
    *,
    layout: str = "channel_first",
) -> ANN:
    """A trained network with ReLU: a built-in one by its name, or one from an npz file.

    Parameters
    ----------
    model : str or path
        "mnist_mlp", "mnist_cnn", "cifar10_cnn", "vgg5" or "vgg16", which take pixels / 255 (`model_info` says more), or
        a file: one that `ANN.save` wrote, or plain arrays with a list of the layers. ``"./vgg5"`` is a file.
    layers : sequence, only for plain arrays
        In order, each a kind, or (kind, name), or (kind, name, options), or (kind, options) where there are no arrays:

        - ``("linear", name)``, arrays ``name.weight`` and, if there, ``name.bias``
        - ``("conv2d", name, {"stride": 1, "padding": 0, "groups": 1})``, likewise
        - ``("batch_norm", name, {"epsilon": 1e-5})``, arrays ``name.running_mean``, ``name.running_var`` and, if there,
          ``name.weight``, ``name.bias``
        - ``"relu"``, ``"flatten"``, ``"dropout"``, ``"global_avg_pool"``,
          ``("avg_pool", {"size": 2, "stride": 2, "padding": 0})``, ``("max_pool", ...)`` likewise
    input_shape : (n,) or (height, width, channels), only for plain arrays
    layout : "channel_first" or "channel_last"
        How the arrays are stored: as torch does, weights (n_out, n_in) and (n_out, n_in, height, width), planes
        flattened channel by channel; or as `ANN` does, (n_in, n_out) and (height, width, n_in, n_out).

    Returns
    -------
    ANN
        Built-in ones hold no batch norm: it is folded.

    Raises
    ------
    DataError
        The file is missing, a pickle, truncated or damaged.
    ValidationError
        Unknown layers, arrays missing or never used, shapes that do not chain, weights that are not finite; the message
        names the layer. Layers for a model that says them itself.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from eventsnn import load_ann
    >>> load_ann("mnist_mlp")
    ANN((28, 28, 1): Flatten(), Linear(784 -> 500), ReLU(), Linear(500 -> 10))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(folder + "/mlp.npz", **{"fc1.weight": np.ones((3, 4)), "fc2.weight": np.ones((2, 3))})
    ...     load_ann(folder + "/mlp.npz", [("linear", "fc1"), "relu", ("linear", "fc2")], input_shape=(4,))
    ANN((4,): Linear(4 -> 3, no bias), ReLU(), Linear(3 -> 2, no bias))
    """
    if str(model) in MODELS:
        if layers is not None or input_shape is not None:
            raise ValidationError(f"load_ann: {model!r} is a built-in network; give no layers and no input_shape")
        return ANN.load(data_path(f"{model}.npz"))
    if not Path(model).exists():
        raise DataError(
            f"load_ann: {str(model)!r} is neither a built-in network ({', '.join(MODELS)}) nor a file; check the path"
        )
    return ann_from_npz(model, layers, input_shape, layout=layout)
