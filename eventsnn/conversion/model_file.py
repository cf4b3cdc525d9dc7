"""Model files: one npz with a JSON header and checksums, written whole or not at all, never pickled.

The archive holds the arrays as ``NAME.npy``, which ``numpy.load`` reads too, and ``header.json``: the format, the kind
of model, its structure with a reference in the place of each array, the SHA-256 of every array's file, and one of the
header itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import DataError
from eventsnn.training.files import reason, write_bytes_atomic
from eventsnn.training.state_content import checksum, decode_value, encode_value

__all__ = ["FORMAT_VERSION", "has_header", "read_arrays", "read_model", "refuse_pickle", "write_model"]

FORMAT = "eventsnn model"
FORMAT_VERSION = 1
_HEADER = "header.json"
# RuntimeError: a Python without bz2
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


def write_model(path: Path | str, kind: str, state: dict[str, Any]) -> None:
    """Write a nested state of arrays and numbers (see `write_savepoint`) to one file.

    The same state gives the same bytes.

    Raises
    ------
    ValidationError
        The state holds something else; nothing is written.
    CheckpointError
        The file cannot be written; what was there before is untouched.
    """
    arrays: dict[str, NDArray[Any]] = {}
    tree = encode_value("write_model", state, "state", arrays)
    sums = {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            sums[name] = hashlib.sha256(member.getvalue()).hexdigest()
            # half precision is asked for to save space: two bits of ten a weight, for five times the time to read
            compression = zipfile.ZIP_BZIP2 if array.dtype == np.float16 else zipfile.ZIP_DEFLATED
            _add(archive, f"{name}.npy", member.getvalue(), compression)
        document = {"format": FORMAT, "version": FORMAT_VERSION, "kind": kind, "arrays_sha256": sums, "state": tree}
        document["sha256"] = checksum(document)
        _add(archive, _HEADER, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode("ascii"))
    write_bytes_atomic(Path(path), buffer.getvalue())


def read_model(path: Path | str, kind: str) -> dict[str, Any]:
    """The state that `write_model` wrote, the same bits of every array and number.

    Raises
    ------
    DataError
        The file is missing, a pickle, truncated, damaged, of another kind or of a newer format.
    """
    path = Path(path)
    with _open(path) as archive:
        if _HEADER not in archive.namelist():
            raise DataError(
                f"{path}: is no file of an eventsnn {kind}, it has no {_HEADER}; of a plain npz of arrays load_ann "
                "needs to know the layers: load_ann(path, layers=, input_shape=)"
            )
        try:
            document = json.loads(archive.read(_HEADER).decode("ascii"))
            found = document.pop("sha256", None)
            intact = found == checksum(document)
        except (*_UNREADABLE, AttributeError, TypeError, RecursionError) as error:
            raise _damaged(path, f"its {_HEADER} cannot be read ({error})") from error
        if not intact:
            raise _damaged(path, f"the checksum of its {_HEADER} does not match")
        if document.get("format") != FORMAT or not isinstance(document.get("version"), int):
            raise _damaged(path, f"its {_HEADER} does not say that it is an {FORMAT!r}")
        if document["version"] > FORMAT_VERSION:
            raise DataError(
                f"{path}: has format version {document['version']}, but this eventsnn reads up to version "
                f"{FORMAT_VERSION}; update eventsnn"
            )
        if document.get("kind") != kind:
            raise DataError(f"{path}: holds a {document.get('kind')!r}, not a {kind!r}; load it as such")
        try:
            arrays = {name: _array(path, archive, name, known) for name, known in document["arrays_sha256"].items()}
            state = decode_value(document["state"], arrays)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path, f"its structure cannot be understood ({error!r})") from error
    if not isinstance(state, dict):
        raise _damaged(path, "its state is not a mapping")
    return state


def read_arrays(path: Path | str) -> dict[str, NDArray[Any]]:
    """All arrays of any npz file; `DataError` as in `read_model`."""
    path = Path(path)
    with _open(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        return {name: _array(path, archive, name, None) for name in names}


def has_header(path: Path | str) -> bool:
    """Whether a file was written by `write_model`; `DataError` if it is no npz at all."""
    with _open(Path(path)) as archive:
        return _HEADER in archive.namelist()


def refuse_pickle(path: Path, head: bytes, names: list[str]) -> None:
    """`DataError` if a file, by its first bytes or the names in its archive, is a pickle: it could run any code."""
    if any(name.split("/")[-1] == "data.pkl" for name in names):
        raise DataError(
            f"{path}: is a file of torch.save, pickles inside, which eventsnn does not open because a pickle can run "
            "any code; read it yourself, torch.load(path, weights_only=True), and hand over the state_dict: "
            "ann_from_torch((state_dict, layers), input_shape)"
        )
    if head[:1] == b"\x80" and len(head) > 1 and 1 < head[1] < 6:
        raise DataError(
            f"{path}: is a pickle, which eventsnn does not open because it can run any code; if you trust it, load it "
            "yourself and hand over the object (ann_from_sklearn, ann_from_torch), or save its arrays with numpy.savez"
        )


def _add(archive: zipfile.ZipFile, name: str, data: bytes, compression: int = zipfile.ZIP_DEFLATED) -> None:
    member = zipfile.ZipInfo(name)  # dated 1980: the same content gives the same file
    member.compress_type = compression
    archive.writestr(member, data)


def _open(path: Path) -> zipfile.ZipFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); check the path") from error
    refuse_pickle(path, data[:2], [])
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _UNREADABLE as error:
        if data[:2] == b"PK":
            raise _damaged(path, f"it is truncated or damaged at its end, {len(data)} bytes ({error})") from error
        raise DataError(f"{path}: is no npz file ({error}); numpy.savez or ANN.save write them") from error
    refuse_pickle(path, b"", archive.namelist())
    return archive


def _array(path: Path, archive: zipfile.ZipFile, name: str, sha256: str | None) -> NDArray[Any]:
    try:
        data = archive.read(f"{name}.npy")
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise _damaged(path, f"the checksum of its array {name!r} does not match")
        array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except _UNREADABLE as error:
        if "pickle" in str(error):
            raise DataError(
                f"{path}: its array {name!r} holds Python objects, pickled, which could run any code and are not "
                "loaded; save arrays of numbers"
            ) from error
        raise _damaged(path, f"its array {name!r} cannot be read ({error})") from error
    return array


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path}: damaged, {what}; copy or export the file again")
