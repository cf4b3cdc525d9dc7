"""What a conversion starts from: a trained network, images to calibrate with, and labelled ones to test with."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn.conversion.ann import ANN
from eventsnn.conversion.import_onnx import ann_from_onnx
from eventsnn.conversion.models import MODELS, load_ann
from eventsnn.currents import Currents
from eventsnn.datasets import load_cifar10, load_mnist
from eventsnn.errors import ConfigError, DataError

__all__ = ["ConversionData", "load_data", "load_model"]

_FORM = (
    "an .npz with x_train, y_train, x_test and y_test, or with x and y alone, of which the last tenth calibrates; "
    "uint8 is divided by 255"
)
_MNIST = "mnist"
_SPLITS: tuple[Literal["train"], Literal["test"]] = ("train", "test")
#: images of the training set, images to test with and their labels, where they came from
_Raw = tuple[NDArray[Any], NDArray[Any], NDArray[np.int64], str]


@dataclass(frozen=True)
class ConversionData:
    """Images as the network takes them.

    Attributes
    ----------
    calibration : float32, (n, *input_shape), of the training set
    images, labels : to test with, (n, *input_shape) and (n,)
    origin : where they came from
    """

    calibration: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    origin: str


def load_model(model: str) -> tuple[str, ANN]:
    """Name and network: a built-in one, or the file of a trained one.

    Raises
    ------
    ConfigError
        Neither a built-in name nor a file.
    DataError
        A file that is damaged, or no network.
    """
    if model in MODELS:
        return model, load_ann(model)
    path = Path(model)
    if not path.exists():
        raise ConfigError(f"{model}: no built-in network and no file{hint(model, MODELS)}")
    return path.stem, ann_from_onnx(path) if path.suffix == ".onnx" else ANN.load(path)


def load_data(
    model: str, ann: ANN, data: str | None, *, download: bool, n_images: int | None, n_calibration: int, seed: int
) -> ConversionData:
    """Images for a network: the data set that a built-in one was trained on, or those that `data` names.

    Parameters
    ----------
    model : as the user gave it
    data : "mnist", an .npz, or CIFAR-10 in any form that `load_cifar10` takes
    download : take CIFAR-10 from its authors' site
    n_images : test images to use, from the front; None for all
    n_calibration : training images to calibrate with, drawn with `seed`

    Raises
    ------
    ConfigError
        No data are named where the network does not say which, or both `data` and `download`.
    DataError
        They cannot be read, or do not fit the network.
    """
    training, images, labels, origin = _raw(model, ann, data, download)
    n = len(images) if n_images is None else min(n_images, len(images))
    if n == 0 or len(training) == 0:
        raise DataError(f"{origin}: holds {len(training)} training and {len(images)} test images; both are needed")
    order = np.random.default_rng(seed).permutation(len(training))[:n_calibration]
    if labels.max() >= ann.n_outputs or labels.min() < 0:
        raise DataError(
            f"{origin}: labels run from {labels.min()} to {labels.max()}, but the network has {ann.n_outputs} outputs"
        )
    return ConversionData(
        _as_samples(ann, training[np.sort(order)], origin), _as_samples(ann, images[:n], origin), labels[:n], origin
    )


def _raw(model: str, ann: ANN, data: str | None, download: bool) -> _Raw:
    built_in = MODELS.get(model)
    if data is not None and download:
        raise ConfigError("give --data PATH or --download, not both")
    if data == _MNIST or (data is None and built_in is not None and built_in.data == "MNIST"):
        if download:
            raise ConfigError(f"--download is for CIFAR-10; {model} needs MNIST, which eventsnn ships: leave it out")
        found = load_mnist(encode=Currents, n_valid=0)
        assert found.train.values is not None
        assert found.test.values is not None
        return found.train.values, found.test.values, found.test.labels, found.origin
    if data is not None and data.endswith(".npz"):
        return (*_read_npz(Path(data)), data)
    if download or (data is not None and ann.input_shape == (32, 32, 3)):
        train, test = (load_cifar10(split, path=data, download=download) for split in _SPLITS)
        return train.images, test.images, test.labels, test.origin
    if data is not None:
        raise DataError(f"{data}: must be {_FORM}; or 'mnist'")
    if built_in is not None:
        raise ConfigError(
            f"{model} needs {built_in.data}, which eventsnn does not ship: give --data PATH (the binary version, "
            "images, or an .npz), or --download"
        )
    raise ConfigError(f"{model}: give the images to test it with, --data PATH: {_FORM}; or --data mnist")


def _as_samples(ann: ANN, images: NDArray[Any], origin: str) -> NDArray[np.float32]:
    """(n, *input_shape), pixels in 0 .. 1 where they were bytes."""
    values = images.astype(np.float32) / np.float32(255 if images.dtype == np.uint8 else 1)
    found: NDArray[np.float32] = ann.samples(values, origin)
    return found


def _read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Training images, test images, their labels."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; --data takes {_FORM}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); --data takes {_FORM}") from error
    if {"x_train", "x_test", "y_test"} <= set(arrays):
        training, images, labels = arrays["x_train"], arrays["x_test"], arrays["y_test"]
    elif {"x", "y"} <= set(arrays):
        if len(arrays["x"]) != len(arrays["y"]):
            raise DataError(f"{path}: x holds {len(arrays['x'])} images, y {len(arrays['y'])} labels")
        split = -(-9 * len(arrays["x"]) // 10)
        training, images, labels = arrays["x"][split:], arrays["x"][:split], arrays["y"][:split]
    else:
        raise DataError(f"{path}: holds {sorted(arrays)}; --data takes {_FORM}")
    for name, array in (("training images", training), ("test images", images)):
        if array.dtype.kind not in "fiu" or array.ndim < 2:
            raise DataError(f"{path}: {name} must be numbers of shape (n, ...), got {array.dtype}, {array.shape}")
    labels = np.ravel(labels)
    if labels.dtype.kind not in "iu" or len(labels) != len(images):
        raise DataError(f"{path}: {len(images)} test images, but labels of dtype {labels.dtype}, shape {labels.shape}")
    return training, images, labels.astype(np.int64)
