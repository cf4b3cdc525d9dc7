"""Savepoints: a nested state written as npz + JSON with checksums, whole or not at all, never pickled.

A savepoint is a folder with two files. ``arrays.npz`` holds the arrays; ``state.json`` the structure, with a
reference in the place of each array, and two SHA-256 sums: one of arrays.npz, one of its own content.

The folder is written under a temporary name beside its place, every file is flushed to the disk, and the folder is
renamed. To replace a savepoint the old one is renamed away first and deleted last; a crash between the two renames
leaves only the renamed old one, which `read_savepoint` finds and the next `write_savepoint` puts back. So at every
moment the old state or the complete new one can be read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import CheckpointError, ValidationError
from eventsnn.training.files import reason, sync_folder, write_synced
from eventsnn.training.state_content import checksum, decode_value, encode_value

__all__ = ["FORMAT_VERSION", "clean_up", "list_savepoints", "read_savepoint", "write_savepoint"]

FORMAT = "eventsnn savepoint"
FORMAT_VERSION = 1

ARRAYS_FILE = "arrays.npz"
STATE_FILE = "state.json"
_TEMPORARY_PREFIX = ".savepoint-new-"
_OLD_PREFIX = ".savepoint-old-"


def write_savepoint(folder: Path | str, state: dict[str, Any]) -> None:
    """Write a state to `folder`, replacing the savepoint that may be there.

    Parameters
    ----------
    folder : path
        Where the savepoint shall be, for example ``RUN/savepoints/epoch_3``. Missing parent folders are made.
        Only one process at a time may write savepoints into the same parent folder.
    state : dict
        Nested dict and list of numpy arrays (any dtype but object), int of any size, float (NaN and infinities too),
        str, bool and None, with str keys. NumPy scalars are stored as the Python number of the same value.

    Raises
    ------
    ValidationError
        The state holds something else; the message names the place. Nothing is written.
    CheckpointError
        The files cannot be written (full disk, no permission), or `folder` holds something that is no savepoint.
        What was there, and every other savepoint, is untouched, and no temporary files stay behind.
    """
    folder = Path(folder)
    arrays_bytes, state_bytes = _encode(state)
    temporary = folder.with_name(_TEMPORARY_PREFIX + folder.name)
    old = folder.with_name(_OLD_PREFIX + folder.name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clean_up(folder.parent)
        _refuse_foreign(folder)
        try:
            temporary.mkdir()
            write_synced(temporary / ARRAYS_FILE, arrays_bytes)
            write_synced(temporary / STATE_FILE, state_bytes)
            sync_folder(temporary)
            if folder.exists():
                os.rename(folder, old)
            os.rename(temporary, folder)
            sync_folder(folder.parent)
        except BaseException:  # a Ctrl-C here must not leave half a savepoint either
            shutil.rmtree(temporary, ignore_errors=True)
            if old.exists() and not folder.exists():
                os.rename(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)  # if this fails, the next write tries again
    except OSError as error:
        raise CheckpointError(
            f"{folder}: the savepoint cannot be written ({reason(error)}); earlier savepoints are untouched. "
            "Free some disk space or choose another folder"
        ) from error


def read_savepoint(folder: Path | str) -> dict[str, Any]:
    """Read the state that `write_savepoint` wrote, the same bits of every array and number.

    Raises
    ------
    CheckpointError
        The folder or a file of it is missing, truncated, damaged, or of a newer format; the message names the file
        and the savepoint to use instead.
    """
    folder = Path(folder)
    source = _locate(folder)
    document = _read_document(folder, source)
    arrays = _read_arrays(folder, source, document["arrays_sha256"])
    try:
        state = decode_value(document["state"], arrays)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder, STATE_FILE, f"its structure cannot be understood ({error!r})") from error
    if not isinstance(state, dict):
        raise _damaged(folder, STATE_FILE, "its state is not a mapping")
    return state


def list_savepoints(parent: Path | str) -> list[int]:
    """Epochs N, in rising order, for which ``parent/epoch_N`` holds both files of a savepoint (not verified)."""
    parent = Path(parent)
    epochs = set()
    try:
        names = os.listdir(parent)
    except OSError:
        return []
    for name in names:
        match = re.fullmatch(r"epoch_(0|[1-9][0-9]*)", name.removeprefix(_OLD_PREFIX))
        if match and all((parent / name / file).is_file() for file in (ARRAYS_FILE, STATE_FILE)):
            epochs.add(int(match[1]))
    return sorted(epochs)


def clean_up(parent: Path) -> None:
    """Undo what a crash left among the savepoints in `parent`; `write_savepoint` does it first of all.

    A savepoint that was only renamed away is put back, all other leftovers are deleted. Not while another process
    writes savepoints there.
    """
    for path in parent.iterdir():
        if path.name.startswith(_OLD_PREFIX):
            place = path.with_name(path.name.removeprefix(_OLD_PREFIX))
            if place.exists():
                shutil.rmtree(path)
            else:
                os.rename(path, place)
        elif path.name.startswith(_TEMPORARY_PREFIX):
            shutil.rmtree(path)


# -- the folder ---------------------------------------------------------------------------------------------------


def _refuse_foreign(folder: Path) -> None:
    """Replacing a savepoint deletes its folder: never do that to anything else."""
    if folder.is_dir():
        foreign = sorted({path.name for path in folder.iterdir()} - {ARRAYS_FILE, STATE_FILE})
        if foreign:
            raise CheckpointError(
                f"{folder}: is no savepoint (it holds {foreign[0]!r}) and will not be replaced; choose another folder"
            )
    elif os.path.lexists(folder):
        raise CheckpointError(f"{folder}: is a file and will not be replaced; choose another folder")


def _locate(folder: Path) -> Path:
    """Where the files of this savepoint are: in its folder, or in the old one if a crash came between two renames."""
    for candidate in (folder, folder.with_name(_OLD_PREFIX + folder.name), folder):  # a writer may be at work: twice
        if candidate.is_dir():
            return candidate
    what = "is not a folder" if folder.exists() else "there is no such savepoint"
    raise CheckpointError(f"{folder}: {what}; {_remedy(folder)}")


def _remedy(folder: Path) -> str:
    """What to do about an unusable savepoint, in the words of the command line."""
    run = folder.parent.parent
    match = re.fullmatch(r"epoch_([0-9]+)", folder.name)
    if match is None:
        return "use another savepoint"
    others = [epoch for epoch in list_savepoints(folder.parent) if epoch != int(match[1])]
    earlier = [epoch for epoch in others if epoch < int(match[1])]
    if earlier:
        return f"use an earlier savepoint: eventsnn continue {run} {earlier[-1]}"
    if others:
        return f"use another savepoint: eventsnn continue {run} {others[0]}"
    return f"this run has no other savepoint, start it anew: eventsnn train {run / 'config.yaml'}"


def _damaged(folder: Path, file: str, what: str) -> CheckpointError:
    return CheckpointError(f"{folder / file}: damaged savepoint, {what}; {_remedy(folder)}")


def _read_bytes(folder: Path, source: Path, file: str) -> bytes:
    try:
        return (source / file).read_bytes()
    except FileNotFoundError:
        raise _damaged(folder, file, "the file is missing") from None
    except OSError as error:
        raise CheckpointError(f"{folder / file}: cannot be read ({reason(error)}); {_remedy(folder)}") from error


def _read_document(folder: Path, source: Path) -> dict[str, Any]:
    """The verified content of state.json."""
    try:
        document = json.loads(_read_bytes(folder, source, STATE_FILE).decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, STATE_FILE, f"it is no valid JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _damaged(folder, STATE_FILE, f"it does not say that it is an {FORMAT!r}")
    version = document.get("version")
    if version != FORMAT_VERSION:
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise CheckpointError(
                f"{folder / STATE_FILE}: savepoint of format version {version}, but this eventsnn reads up to version "
                f"{FORMAT_VERSION}; update eventsnn, or {_remedy(folder)}"
            )
        raise _damaged(folder, STATE_FILE, f"unknown format version {version!r}")
    own_sum = document.pop("sha256", None)
    try:
        intact = own_sum == checksum(document) and {"state", "arrays_sha256"} <= document.keys()
    except ValueError:  # a number that became infinite
        intact = False
    if not intact:
        raise _damaged(folder, STATE_FILE, "its checksum does not match")
    return document


def _read_arrays(folder: Path, source: Path, sha256: str) -> dict[str, NDArray[Any]]:
    """The verified content of arrays.npz."""
    data = _read_bytes(folder, source, ARRAYS_FILE)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _damaged(folder, ARRAYS_FILE, f"its checksum does not match ({len(data)} bytes)")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(folder, ARRAYS_FILE, f"it cannot be read ({error})") from error


# -- the content --------------------------------------------------------------------------------------------------


def _encode(state: dict[str, Any]) -> tuple[bytes, bytes]:
    """The bytes of arrays.npz and of state.json."""
    if not isinstance(state, dict):
        raise ValidationError(f"write_savepoint: the state must be a dict, got {type(state).__name__}")
    arrays: dict[str, NDArray[Any]] = {}
    tree = encode_value("write_savepoint", state, "state", arrays)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    document = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "arrays_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "state": tree,
    }
    document["sha256"] = checksum(document)
    return buffer.getvalue(), (json.dumps(document, indent=1, allow_nan=False) + "\n").encode("ascii")
