"""`kernel`: code kept on disk is used again, and never after any file of the kernels has changed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest

from eventsnn.kernels import jit

KERNELS = Path(jit.__file__).parent
needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")

CALLER = """from eventsnn.kernels.callee import scaled
from eventsnn.kernels.constants import OFFSET
from eventsnn.kernels.jit import kernel

@kernel
def caller(x):
    return scaled(x) + OFFSET
"""
CALLEE = """from eventsnn.kernels.jit import kernel

@kernel(fastmath={"contract"})
def scaled(x):
    return 2.0 * x
"""
#: prints the result, and how often `caller` was taken from the disk
PROGRAM = """from eventsnn.kernels.caller import caller
print(caller(1.0), sum(getattr(caller, "stats").cache_hits.values()))
"""
#: what `kernel` was before: numba's own caching
PLAIN = """import numba
def kernel(function=None, fastmath=False):
    return numba.njit(cache=True) if function is None else numba.njit(cache=True)(function)
"""


@pytest.fixture
def package(tmp_path):
    """A small package `eventsnn` with this project's jit.py, a kernel, its callee and a constant."""
    folder = tmp_path / "site" / "eventsnn"
    (folder / "kernels").mkdir(parents=True)
    (folder / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (folder / "kernels" / "__init__.py").touch()
    shutil.copy(KERNELS / "jit.py", folder / "kernels")
    for name, text in (("caller", CALLER), ("callee", CALLEE), ("constants", "OFFSET = 0.5\n")):
        (folder / "kernels" / f"{name}.py").write_text(text)
    return folder


def run(package, program=PROGRAM, **environment):
    """What `program` prints, in a process of its own, with a cache beside the package."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    known |= {"PYTHONPATH": str(package.parent), "NUMBA_CACHE_DIR": str(package.parent / "cache"), **environment}
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=package.parent,
        env=known,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def kept_files(package):
    return sorted(path.name for path in (package.parent / "cache").rglob("*.nb?"))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@needs_jit
def test_kernel_takes_unchanged_code_from_the_disk(package):
    assert run(package) == ["2.5", "0"]
    assert run(package) == ["2.5", "1"]


@needs_jit
@pytest.mark.parametrize(
    ("file", "old", "new", "result"),
    [("callee.py", "2.0 * x", "3.0 * x", "3.5"), ("constants.py", "0.5", "0.25", "2.25")],
)
def test_kernel_sees_an_edit_in_another_file(package, file, old, new, result):
    run(package)
    edit(package / "kernels" / file, old, new)
    assert run(package) == [result, "0"]
    assert run(package) == [result, "1"]


@needs_jit
def test_plain_caching_misses_an_edit_in_another_file(package):
    """The reason why `kernel` exists; if this fails, numba has learned it and jit.py can go."""
    (package / "kernels" / "jit.py").write_text(PLAIN)
    run(package)
    edit(package / "kernels" / "callee.py", "2.0 * x", "3.0 * x")
    assert run(package) == ["2.5", "1"]


@needs_jit
def test_kernel_sees_another_version(package):
    run(package)
    edit(package / "__init__.py", "0.1.0", "0.1.1")
    assert run(package) == ["2.5", "0"]


@needs_jit
def test_kernel_keeps_no_stale_files(package):
    run(package)
    before = kept_files(package)
    edit(package / "kernels" / "callee.py", "2.0 * x", "3.0 * x")
    edit(package / "kernels" / "caller.py", "@kernel", "\n\n@kernel")  # another line number, another name
    run(package)
    after = kept_files(package)
    assert len(after) == len(before) == 4
    assert not {name for name in before if name.endswith(".nbc")} & set(after)


@needs_jit
def test_kernel_recompiles_what_is_damaged(package):
    run(package)
    for path in (package.parent / "cache").rglob("*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    assert run(package) == ["2.5", "0"]
    assert run(package) == ["2.5", "1"]
    for path in (package.parent / "cache").rglob("*.nbi"):
        path.write_bytes(b"")
    assert run(package) == ["2.5", "0"]


@needs_jit
@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_kernel_works_where_nothing_can_be_written(package):
    """A file in the place of every folder that numba would try stops root, too."""
    blocked = package.parent / "file"
    blocked.touch()
    (package / "kernels" / "__pycache__").touch()
    nowhere = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked), "NUMBA_CACHE_DIR": ""}
    assert run(package, **nowhere) == ["2.5", "0"]


@needs_jit
@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is where numba looks on Linux")
def test_kernel_uses_the_users_cache_when_the_package_cannot_be_written(package):
    (package / "kernels" / "__pycache__").touch()
    home = {"XDG_CACHE_HOME": str(package.parent / "cache"), "NUMBA_CACHE_DIR": ""}
    assert run(package, **home) == ["2.5", "0"]
    assert run(package, **home) == ["2.5", "1"]


@needs_jit
def test_kernel_goes_on_when_the_disk_is_full(package):
    program = f"""import eventsnn.kernels.jit as jit
def full(*_):
    raise OSError(28, "No space left on device")
jit._StampedFile.save = full
{PROGRAM}"""
    assert run(package, program) == ["2.5", "0"]


@needs_jit
def test_kernel_falls_back_to_numbas_caching(package):
    """A numba whose inner classes have other names."""
    program = f"""import numba, numba.core.ccallback
del numba.core.caching.FunctionCache
{PROGRAM}"""
    assert run(package, program) == ["2.5", "0"]
    assert run(package, program) == ["2.5", "1"]


@needs_jit
def test_kernel_leaves_out_reference_counts_unless_it_allocates():
    """The option is numba's own affair: this fails where it has another name."""
    assert jit.CAN_LEAVE_OUT_COUNTS

    def total(values):  # two functions: the disk keeps one machine code for each
        return values[1:].copy().sum()

    def sum_of_all(values):
        return values[1:].copy().sum()

    assert jit.kernel(total, allocates=True)(np.ones(3)) == 2.0
    with pytest.raises(numba.NumbaError, match="NRT"):
        jit.kernel(sum_of_all)(np.ones(3))


@needs_jit
def test_kernel_that_is_not_kept_leaves_nothing_on_disk(package):
    (package / "kernels" / "caller.py").write_text(CALLER.replace("@kernel", "@kernel(keep=False)"))
    assert run(package) == ["2.5", "0"]
    kept = [path.name for path in (package.parent / "cache").rglob("*.nbi")]
    assert len(kept) == 1  # the callee's
    assert kept[0].startswith("callee.scaled")
    assert run(package) == ["2.5", "0"]


def test_kernel_is_the_function_itself_without_jit(package):
    program = "from eventsnn.kernels.caller import caller\nprint(caller(1.0), type(caller).__name__)"
    assert run(package, program, NUMBA_DISABLE_JIT="1") == ["2.5", "function"]


def test_source_stamp_depends_on_every_file(package):
    program = "from eventsnn.kernels.jit import source_stamp; print(source_stamp())"
    stamps = [run(package, program)]
    for change in (
        lambda: edit(package / "kernels" / "constants.py", "0.5", "0.6"),
        lambda: (package / "kernels" / "callee.py").rename(package / "kernels" / "other.py"),
        lambda: (package / "kernels" / "new.py").touch(),
        lambda: (package / "kernels" / "new.py").unlink(),
    ):
        change()
        stamps.append(run(package, program))
    assert stamps[4] == stamps[2]
    assert len({stamp[0] for stamp in stamps[:4]}) == 4


def test_source_stamp_is_cheap():
    jit.source_stamp.cache_clear()
    start = time.perf_counter()
    jit.source_stamp()
    # 18 files are read and hashed in 1 ms; a hundred times that would still be no trouble, a compiler run would
    assert time.perf_counter() - start < 0.1


@pytest.mark.parametrize("path", sorted(KERNELS.rglob("*.py")), ids=lambda path: path.stem)
def test_kernels_are_compiled_by_kernel_alone(path):
    """A forgotten `njit(cache=True)` would bring stale machine code back."""
    assert path.name == "jit.py" or "njit" not in path.read_text()
