"""MNIST: 70,000 handwritten digits, as latency-coded spikes or whatever an encoder makes of them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventsnn._shipped import data_path
from eventsnn._validation import count, number
from eventsnn.currents import Currents
from eventsnn.datasets.base import DEFAULT_TAU_SYN, Dataset, Split
from eventsnn.datasets.download import download as fetch
from eventsnn.encoding import check_window, encode_latency
from eventsnn.errors import DataError, ValidationError
from eventsnn.spikes import Spikes

__all__ = ["load_mnist"]

_N_TRAINING = 60_000  # as published: the first 60,000 images are the training set, the rest is the test set
_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_URL_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_mnist(
    size: int = 28,
    *,
    path: str | Path | None = None,
    download: bool = False,
    tau_syn: float = DEFAULT_TAU_SYN,
    t_early: float = 0.15,
    t_late: float = 2.0,
    threshold: float | None = 0.0,
    encode: Callable[[NDArray[np.float32]], Spikes | Currents] | None = None,
    split: Literal["published", "shuffled"] = "published",
    split_seed: int = 0,
    test_fraction: float | None = None,
    n_train: int | None = None,
    n_valid: int = 5000,
    n_test: int | None = None,
) -> Dataset:
    """Load MNIST as spikes: one input per pixel, bright pixels fire early, dark ones are silent.

    Parameters
    ----------
    size : {28, 16}
        Edge length in pixels. 16: the central 24 x 24 pixels, reduced to 16 x 16 by area averaging.
    path : str or Path, optional
        A local .npz with `x` (70000, 28, 28) uint8 and `y` (70000,) in the original order, or with the four arrays
        `x_train`, `y_train`, `x_test`, `y_test`. Default: the file that eventsnn ships.
    download : bool
        Take the file from the web instead (pooch: checked against its sha256, kept in the user's cache).
    tau_syn : float
        Synaptic time constant in seconds: the unit of the two times that follow.
    t_early, t_late : float
        Spike times of the values 1 and 0 in units of tau_syn.
    threshold : float or None
        Pixels of value <= threshold (of 0 .. 1) are silent; None lets all spike.
    encode : callable, optional
        Takes the pixels of one part, shape (n_samples, size * size), float32 in [0, 1], and gives `Spikes` or
        `Currents` of as many samples; ``encode=Currents`` makes the pixels constant currents. Called for train, valid
        and test in turn, in place of the latency code, so that the four arguments before have no say.
    split : {"published", "shuffled"}
        "published": the 60,000 training and 10,000 test images as their authors divided them. "shuffled": all 70,000 in
        random order, the training set first.
    split_seed : int
        Seed of that order.
    test_fraction : float, optional
        Share of all images that "shuffled" puts into the test set; default 0.15. "published" has no choice.
    n_train, n_test : int, optional
        Use this many images from the front of the training and of the test set; default all.
    n_valid : int
        The last n_valid of the training images are for validation; 0 leaves `valid` empty.

    Returns
    -------
    Dataset
        size * size inputs, classes "0" .. "9"; `values` are the pixels as float32 in [0, 1]; `origin` says which
        file was used.

    Raises
    ------
    DataError
        The file is missing, damaged, or does not hold MNIST.
    ValidationError
        An argument out of range.

    Notes
    -----
    A pixel p fires at ``tau_syn (t_early + (1 - p) (t_late - t_early))``; about 150 of 784 pixels do.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner 1998, doi 10.1109/5.726791.

    Examples
    --------
    >>> from eventsnn.datasets import load_mnist
    >>> load_mnist(n_train=100, n_test=100).train.spikes.n_neurons
    784
    """
    if size not in (28, 16):
        raise ValidationError(f"load_mnist.size: must be 28 or 16, got {size!r}")
    early, late = check_window("load_mnist", t_early, t_late)
    scale = number("load_mnist.tau_syn", tau_syn, above=0)
    n_valid = count("load_mnist.n_valid", n_valid)
    if encode is None:
        encode = partial(encode_latency, t_early=scale * early, t_late=scale * late, threshold=threshold)
    elif not callable(encode):
        raise ValidationError(f"load_mnist.encode: must be a function of the pixels, got {encode!r}")
    if split not in ("published", "shuffled"):
        raise ValidationError(f"load_mnist.split: must be 'published' or 'shuffled', got {split!r}")
    split_seed = count("load_mnist.split_seed", split_seed)
    images, labels, origin = _read(path, download)
    order: NDArray[np.int64] | None = None
    n_training = _N_TRAINING
    if split == "shuffled":
        order = np.random.default_rng(split_seed).permutation(len(images))
        n_training = len(images) - round(_fraction(0.15 if test_fraction is None else test_fraction) * len(images))
    elif test_fraction is not None:
        raise ValidationError("load_mnist.test_fraction: only for split='shuffled'")
    if n_valid >= n_training:
        raise ValidationError(f"load_mnist.n_valid: must be below {n_training}, got {n_valid}")
    n_fit = n_training - n_valid
    ranges = {
        "train": (0, _part("n_train", n_train, n_fit)),
        "valid": (n_fit, n_valid),
        "test": (n_training, _part("n_test", n_test, len(images) - n_training)),
    }
    splits = {}
    for name, (start, n_samples) in ranges.items():
        chosen = slice(start, start + n_samples) if order is None else order[start : start + n_samples]
        values = _to_16(images[chosen]) if size == 16 else images[chosen].astype(np.float32) / np.float32(255)
        values = values.reshape(n_samples, size * size)
        splits[name] = Split(_encoded(encode, values), labels[chosen], values)
    name = "mnist" if size == 28 else f"mnist_{size}x{size}"
    return Dataset(name, splits["train"], splits["valid"], splits["test"], tuple("0123456789"), origin)


def _fraction(value: float) -> float:
    if number("load_mnist.test_fraction", value, above=0) >= 1:
        raise ValidationError(f"load_mnist.test_fraction: must be below 1, got {value}")
    return value


def _encoded(encode: Callable[[NDArray[np.float32]], Spikes | Currents], values: NDArray[np.float32]) -> Any:
    """What the encoder gives, if it fits the samples."""
    found = encode(values)
    if not isinstance(found, (Spikes, Currents)):
        raise ValidationError(f"load_mnist.encode: must give Spikes or Currents, got {type(found).__name__}")
    if found.n_samples != len(values):
        raise ValidationError(f"load_mnist.encode: gave {found.n_samples} samples for {len(values)} images")
    return found


def _part(name: str, wanted: int | None, available: int) -> int:
    if wanted is None:
        return available
    if count(f"load_mnist.{name}", wanted) > available:
        raise ValidationError(f"load_mnist.{name}: only {available} images are there, got {wanted}")
    return int(wanted)


def _to_16(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The central 24 x 24 pixels as 16 x 16 in [0, 1]; each new pixel is the mean over 1.5 x 1.5 old ones."""
    cropped = images[:, 2:26, 2:26].astype(np.uint16)
    return _shrink(_shrink(cropped, 1), 2).astype(np.float32) / np.float32(9 * 255)


def _shrink(images: NDArray[np.uint16], axis: int) -> NDArray[np.uint16]:
    """Three pixels a, b, c along `axis` become two, 2 a + b and b + 2 c: 3 times their area averages."""
    a, b, c = (np.take(images, np.arange(k, images.shape[axis], 3), axis=axis) for k in range(3))
    pairs = np.stack((2 * a + b, b + 2 * c), axis=axis + 1)
    return pairs.reshape(*images.shape[:axis], 2 * a.shape[axis], *images.shape[axis + 1 :])


def _read(path: str | Path | None, download: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    """Images (n, 28, 28), labels (n,), and where they came from."""
    if path is not None and download:
        raise ValidationError("load_mnist: give a path or download=True, not both")
    if download:
        file = fetch("load_mnist", _URL, _URL_SHA256, "mnist_keras.npz")
        origin = f"downloaded from {_URL}"
    elif path is not None:
        file = Path(path)
        origin = str(file)
    else:
        file = data_path("mnist.npz")
        origin = f"shipped with eventsnn ({file})"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            if {"x_train", "y_train", "x_test", "y_test"} <= set(arrays):
                images = np.concatenate((arrays["x_train"], arrays["x_test"]))
                labels = np.concatenate((arrays["y_train"], arrays["y_test"]))
            else:
                images, labels = arrays["x"], arrays["y"]
    except FileNotFoundError:
        raise DataError(f"load_mnist: {file}: no such file; leave path out to use the shipped one") from None
    except KeyError as error:
        raise DataError(
            f"load_mnist: {file}: needs the arrays x and y (or x_train, y_train, x_test, y_test): {error}"
        ) from None
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"load_mnist: {file}: not a readable .npz file ({error})") from error
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28) or len(images) <= _N_TRAINING:
        raise DataError(
            f"load_mnist: {file}: images must be uint8 of shape (70000, 28, 28), got {images.dtype}, {images.shape}"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9:
        raise DataError(f"load_mnist: {file}: labels must be integers 0 .. 9, one per image, got shape {labels.shape}")
    return images, labels.astype(np.int64), origin
