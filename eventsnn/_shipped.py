"""Where the shipped data files are, and whether they are whole."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from eventsnn.errors import DataError

__all__ = ["SHIPPED", "data_path"]

#: sha256 of each shipped file; data/README.md says where they come from
SHIPPED = {
    "cifar10_cnn.npz": "b252433c42231503714f93d3ca10e81bbf5ee7ce5fc62ff9f1f255eb44883147",
    "mnist.npz": "fb7a5fe1299ec263c94f93f9d4da93701acf7b0ffb46eec71450105808405a3a",
    "mnist_mlp.npz": "25012eb5ef886bc5c0c4c770eb0de02207213296621a4fc3acdd81b803661229",
    "vgg16.npz": "deaf636eb5964e293a32700b465cdbc9bc2b6f60c8b5dd6f12d58536020eb003",
    "vgg5.npz": "7e3819fd1d74d33f3f9496d2dea3cc996e1fba48c909276777d6dc4791c2811f",
    "mnist_cnn.npz": "8fa6aed65214fb4ea0b49735cd107174a0208d21320f016a9ab145fd43ea12bb",
}


def data_path(name: str) -> Path:
    """Path of a data file that eventsnn ships, checked against its sha256 once per process.

    Parameters
    ----------
    name : str
        A key of `SHIPPED`.

    Returns
    -------
    Path
        In an installed wheel ``eventsnn/_data/NAME``, in a checkout (editable installs too) ``data/NAME``.

    Raises
    ------
    DataError
        Unknown name, or the file is missing or damaged.
    """
    if name not in SHIPPED:
        raise DataError(f"data_path: eventsnn ships no {name!r}, only {', '.join(sorted(SHIPPED))}")
    package = Path(__file__).resolve().parent
    places = [package / "_data" / name, package.parent / "data" / name]
    for place in places:
        if place.is_file():
            _verify(place, SHIPPED[name])
            return place
    raise DataError(
        f"{name}: missing, looked for {' and '.join(map(str, places))}; reinstall eventsnn, restore the file "
        "(git checkout data), or give the loader a path of your own or download=True"
    )


@functools.cache  # an exception is not cached: a repaired file is looked at again
def _verify(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DataError(
            f"{path}: damaged, sha256 is {found}, expected {sha256}; reinstall eventsnn or restore the file "
            "(git checkout data)"
        )
