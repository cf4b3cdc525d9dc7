"""`kernel`: how every kernel is compiled, and when a compiled one may be taken from the disk.

Numba keeps machine code beside the sources (or in a user-wide cache where that cannot be written) and takes it from
there as long as the file *of that function* is unchanged. What the function calls lies in it too, and so do the
constants it was compiled with: after an update that changes another file, stale machine code would run, with arrays in
places where it does not expect them. So everything that is kept carries a stamp over the contents of all kernel files.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, TypeVar, overload

import numba
import numba.core.caching
import numba.core.options
import numpy as np

import eventsnn

# numba's inner workings; tests/kernels/test_jit.py fails where they have changed
FunctionCache: Any = getattr(numba.core.caching, "FunctionCache", None)
IndexDataCacheFile: Any = getattr(numba.core.caching, "IndexDataCacheFile", None)
CAN_LEAVE_OUT_COUNTS: bool = hasattr(numba.core.options.DefaultOptions, "_nrt")

__all__ = ["kernel", "source_stamp"]

Value = TypeVar("Value")


@overload
def kernel(
    function: Callable[..., Value],
    *,
    fastmath: Set[str] = ...,
    allocates: bool = ...,
    inline: bool = ...,
    keep: bool = ...,
) -> Callable[..., Value]: ...
@overload
def kernel(
    function: None = None,
    *,
    fastmath: Set[str] = ...,
    allocates: bool = ...,
    inline: bool = ...,
    keep: bool = ...,
) -> Callable[..., Any]: ...
def kernel(
    function: Callable[..., Any] | None = None,
    *,
    fastmath: Set[str] = frozenset(),
    allocates: bool = False,
    inline: bool = False,
    keep: bool = True,
) -> Any:
    """Compile a function on its first call: nopython, without the GIL, division as in NumPy, kept on disk.

    Used as ``@kernel`` or ``@kernel(fastmath={"contract"})``. `fastmath` takes LLVM's flags one by one; never use
    "nnan" or "ninf", and none at all where a spike, an order or an infinity is decided.

    `allocates` is for the few that make or return arrays. All others are compiled without numba's reference counts:
    the arrays belong to the caller, and counting them atomically in every call cost a tenth of the forward pass.
    `inline` makes LLVM inline every call: an array is handed over as seven words or more, so a call with thirty of them
    costs a hundred nanoseconds. `keep=False` is for functions of the user: what they call and the constants they were
    compiled with lie in files that the stamp does not know, so they are compiled anew in every process.

    Notes
    -----
    With NUMBA_DISABLE_JIT=1 the function itself is returned. Where no folder can be written, or kept code is damaged,
    kernels are compiled anew in every process. A version of numba that keeps its code in another way gets numba's own
    caching, with the weakness described above.
    """
    if function is None:
        return functools.partial(kernel, fastmath=fastmath, allocates=allocates, inline=inline, keep=keep)
    # numba copies a set, but takes any other value for "all flags": False is its own default
    options: Any = {} if allocates or not CAN_LEAVE_OUT_COUNTS else {"_nrt": False}
    if inline:
        options["forceinline"] = True
    compiled = numba.njit(nogil=True, error_model="numpy", fastmath=set(fastmath) or False, **options)(function)
    if keep and hasattr(compiled, "enable_caching"):
        _keep_on_disk(compiled)
    return compiled


@functools.cache
def source_stamp() -> str:
    """Digest of all files of this folder, and of the versions that compiled code depends on besides numba's own."""
    digest = hashlib.sha256(f"{eventsnn.__version__} {np.__version__}".encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"\n{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _keep_on_disk(compiled: Any) -> None:
    """Give a compiled function a cache; none where no folder can be written."""
    try:
        try:
            if FunctionCache is None or IndexDataCacheFile is None:
                raise AttributeError
            compiled._cache = _StampedCache(compiled.py_func)
        except (AttributeError, TypeError):
            compiled.enable_caching()
    except RuntimeError:  # "no locator available": neither the package's folder nor the user's can be written
        pass


if FunctionCache is not None and IndexDataCacheFile is not None:

    class _StampedFile(IndexDataCacheFile):  # type: ignore[misc]
        """Index and machine code of one function, both under the stamp.

        The machine code's file has the stamp in its name: numba writes the index first, and an index of today must
        never lead a second process, or the next one after a kill, to the machine code of yesterday.
        """

        def __init__(self, folder: str, name: str, stamp: Any) -> None:
            super().__init__(folder, name, (stamp, source_stamp()))
            digest = hashlib.sha256(repr(self._source_stamp).encode()).hexdigest()[:16]
            self._own = f"{name}.{digest}."
            self._data_name_pattern = self._own + "{number:d}.nbc"
            self._folder, self._name = folder, name

        def save(self, key: Any, data: Any) -> None:
            super().save(key, data)
            self._remove_stale()

        def _load_index(self) -> Any:
            try:
                return super()._load_index()
            except Exception:  # a damaged index fails in many ways, and is worth no more than an empty one
                return {}

        def _remove_stale(self) -> None:
            """Delete what older sources left behind of this function, at any line, for this version of Python."""
            function, _, rest = self._name.rpartition("-")
            python = rest.partition(".")[2]
            for entry in os.scandir(self._folder):
                if entry.name == self._index_name or entry.name.startswith(self._own):
                    continue
                head, _, rest = entry.name.rpartition("-")
                of_this_python = rest.partition(".")[2].startswith(f"{python}.")
                if head == function and of_this_python and entry.name.endswith((".nbi", ".nbc")):
                    os.unlink(entry.path)

    class _StampedCache(FunctionCache):  # type: ignore[misc]
        """The cache of one function. It only saves time, so nothing that happens to it stops a simulation."""

        def __init__(self, function: Callable[..., Any]) -> None:
            super().__init__(function)
            plain: Any = self._cache_file
            self._cache_file: Any = _StampedFile(plain._cache_path, self._impl.filename_base, plain._source_stamp)

        def load_overload(self, signature: Any, target: Any) -> Any:
            try:
                return super().load_overload(signature, target)
            except Exception:  # likewise damaged machine code
                return None

        def save_overload(self, signature: Any, compiled: Any) -> None:
            with contextlib.suppress(OSError):  # the disk is full, or another process was faster at tidying up
                super().save_overload(signature, compiled)
