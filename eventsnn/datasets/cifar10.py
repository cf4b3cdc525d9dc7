"""CIFAR-10: 60,000 colour images of 32 x 32 pixels in ten classes, downloaded or from a local file."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eventsnn.datasets.archive import Reader, members
from eventsnn.datasets.base import Images
from eventsnn.datasets.download import download as fetch
from eventsnn.errors import DataError, MissingDependencyError, ValidationError

__all__ = ["load_cifar10"]

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# The binary version: the one made for Python is pickles, which can run anything when they are read.
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_URL_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_BATCHES = {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)}
_PICKLES = {*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"}
_N_PER_BATCH = 10_000
_RECORD = 1 + 3 * 32 * 32  # label, then red, green and blue plane
_PICTURES = (".jpg", ".jpeg", ".png")
_FORMS = (
    "the binary version (cifar-10-binary.tar.gz or its folder), an archive or folder of images SPLIT/CLASS/NAME.jpg "
    "or .png, or an .npz with x_train, y_train, x_test and y_test"
)


def load_cifar10(split: Literal["train", "test"], *, path: str | Path | None = None, download: bool = False) -> Images:
    """Load one part of CIFAR-10 as images, channels last.

    Parameters
    ----------
    split : {"train", "test"}
        The 50,000 training or the 10,000 test images.
    path : str or Path, optional
        Local data: the binary version, as cifar-10-binary.tar.gz or as a folder with its .bin files; an archive (tar,
        zip) or a folder of images ``SPLIT/CLASS/NAME.jpg`` (or .png; needs Pillow); or an .npz with `x_train` (n, 32,
        32, 3) uint8, `y_train` (n,), `x_test`, `y_test`.
    download : bool
        Take the binary version (170 MB) from its authors' site; done once (pooch: checked against its sha256, kept in
        the user's cache).

    Returns
    -------
    Images
        `images` uint8 (n, 32, 32, 3), `labels` int64 (n,), `class_names`; `origin` says which data were used. The
        binary version keeps its order. Files of images are ordered by name and within a name by class, so that the
        first ones hold all classes.

    Raises
    ------
    DataError
        Neither path nor download, or the data are missing, damaged, incomplete, or not CIFAR-10.
    ValidationError
        Another split, or both path and download.
    MissingDependencyError
        Images without Pillow: ``pip install "eventsnn[images]"``.

    Notes
    -----
    Images that were compressed again as JPEG are not the original pixels: accuracies differ a little.

    References
    ----------
    Krizhevsky 2009, "Learning multiple layers of features from tiny images".

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from eventsnn.datasets import load_cifar10
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     x, y = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % 10
    ...     np.savez(f"{folder}/some.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    ...     load_cifar10("test", path=f"{folder}/some.npz").images.shape
    (20, 32, 32, 3)
    """
    if split not in ("train", "test"):
        raise ValidationError(f"load_cifar10.split: must be 'train' or 'test', got {split!r}")
    if path is not None and download:
        raise ValidationError("load_cifar10: give a path or download=True, not both")
    if download:
        place = fetch("load_cifar10", _URL, _URL_SHA256, "cifar-10-binary.tar.gz")
        origin = f"downloaded from {_URL}"
    elif path is not None:
        place = Path(path)
        origin = str(place)
    else:
        raise DataError(
            "load_cifar10: eventsnn ships no CIFAR-10; download=True fetches the original (170 MB, once), or give as "
            f"path {_FORMS}"
        )
    try:
        images, labels, form = _read(split, place)
    except FileNotFoundError:
        raise DataError(f"load_cifar10: {place}: no such file or folder; path may be {_FORMS}") from None
    except (
        *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError),
        *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    ) as error:
        raise DataError(
            f"load_cifar10: {place}: damaged, or none of the forms that are read ({type(error).__name__}: {error}); "
            f"fetch it again; path may be {_FORMS}"
        ) from error
    return Images(images, labels, CLASS_NAMES, f"{origin} ({form})")


def _read(split: str, place: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    """Images, labels, and the form that they were found in."""
    if place.is_file() and zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            is_npz = any(name.endswith(".npy") for name in archive.namelist())
        if is_npz:
            return _from_npz(split, place)
    return _from_files(split, place, members(place, ("*.bin", "data_batch_*", "test_batch", f"{split}/*/*")))


def _from_npz(split: str, place: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    with np.load(place, allow_pickle=False) as arrays:
        if missing := {f"x_{split}", f"y_{split}"} - set(arrays):
            raise DataError(f"load_cifar10: {place}: has no array {' and '.join(sorted(missing))}")
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3) or len(images) == 0:
        raise DataError(
            f"load_cifar10: {place}: x_{split} must be uint8 of shape (n, 32, 32, 3), channels last, "
            f"got {images.dtype}, {images.shape}"
        )
    if labels.shape == (len(images), 1):  # as Keras has them
        labels = labels[:, 0]
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9:
        raise DataError(
            f"load_cifar10: {place}: y_{split} must be integers 0 .. 9, one per image, got shape {labels.shape}"
        )
    return images, labels.astype(np.int64), "npz"


def _from_files(
    split: str, place: Path, found: Iterable[tuple[str, Reader]]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    """From the .bin files of the binary version if one is there, else from images."""
    batches: dict[str, NDArray[np.uint8]] = {}
    pictures: list[tuple[str, int, NDArray[np.uint8]]] = []
    has_pickles = False
    for name, read in found:
        parts = PurePosixPath(name).parts
        if parts[-1] in _BATCHES[split]:
            batches[parts[-1]] = _records(f"{place}: {name}", read())
        elif len(parts) >= 3 and parts[-3] == split and parts[-1].lower().endswith(_PICTURES):
            if parts[-2] not in CLASS_NAMES:
                raise DataError(f"load_cifar10: {place}: {name}: no class {parts[-2]!r}, only {', '.join(CLASS_NAMES)}")
            pictures.append((parts[-1], CLASS_NAMES.index(parts[-2]), _pixels(f"{place}: {name}", read())))
        has_pickles |= parts[-1] in _PICKLES
    if batches:
        if missing := set(_BATCHES[split]) - set(batches):
            raise DataError(f"load_cifar10: {place}: incomplete, {', '.join(sorted(missing))} is not there")
        records = np.concatenate([batches[name] for name in _BATCHES[split]])
        planes = records[:, 1:].reshape(-1, 3, 32, 32)
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64), "binary version"
    if pictures:
        pictures.sort(key=lambda picture: picture[:2])
        labels = np.array([label for _, label, _ in pictures], np.int64)
        if missing := {CLASS_NAMES[k] for k in set(range(10)) - set(labels.tolist())}:
            raise DataError(f"load_cifar10: {place}: no {split} images of {', '.join(sorted(missing))}")
        return np.stack([pixels for *_, pixels in pictures]), labels, f"{len(labels)} images"
    if has_pickles:
        raise DataError(
            f"load_cifar10: {place}: the version for Python, which is pickles and is not read, because a pickle can "
            f"run any code; take the binary version ({_URL})"
        )
    raise DataError(f"load_cifar10: {place}: holds no {split} data; path may be {_FORMS}")


def _records(where: str, content: bytes) -> NDArray[np.uint8]:
    """The records of one .bin file, shape (_N_PER_BATCH, _RECORD)."""
    if len(content) != _N_PER_BATCH * _RECORD:
        raise DataError(
            f"load_cifar10: {where}: damaged, {len(content)} bytes, expected {_N_PER_BATCH * _RECORD}; fetch it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(_N_PER_BATCH, _RECORD)
    if (wrong := np.flatnonzero(records[:, 0] > 9)).size:
        raise DataError(f"load_cifar10: {where}: damaged, record {wrong[0]} has label {records[wrong[0], 0]}")
    return records


def _pixels(where: str, content: bytes) -> NDArray[np.uint8]:
    """A JPEG or PNG of 32 x 32 pixels as (32, 32, 3)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError(
            'load_cifar10: reading images needs Pillow: pip install "eventsnn[images]"'
        ) from error
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if image.size != (32, 32):
                raise DataError(f"load_cifar10: {where}: {image.width} x {image.height} pixels, expected 32 x 32")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
        raise DataError(f"load_cifar10: {where}: not a readable image ({error})") from error
