"""Savepoints: the same bits back, every damage found, and no crash that loses one."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eventsnn.errors import CheckpointError, ValidationError
from eventsnn.training import files
from eventsnn.training.checkpoint import FORMAT_VERSION, clean_up, list_savepoints, read_savepoint, write_savepoint
from eventsnn.training.files import write_bytes_atomic, write_json_atomic

posix = pytest.mark.skipif(os.name != "posix", reason="fork, signals and resource limits are POSIX")


def a_state(k=0):
    return {
        "weights": [np.full((4, 3), k, dtype=np.float32), np.arange(5.0) + k],
        "rng": {"state": 2**127 + k, "has_uint32": 0},
        "history": [{"epoch": k, "loss": 0.1 + k, "valid": None}],
        "k": k,
    }


def same(a, b):
    """Equal in type and in every bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or np.float64(a).tobytes() == np.float64(b).tobytes()
    return a == b


def leftovers(parent):
    return sorted(path.name for path in Path(parent).iterdir() if path.name.startswith("."))


# -- round trip ---------------------------------------------------------------------------------------------------

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
arrays = hnp.arrays(
    dtype=st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_, ">f8"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
keys = st.text(max_size=6) | st.sampled_from(["__array__", "__int__", "__dict__", "__float__", "file", "a/b", "../x"])
states = st.dictionaries(
    keys,
    st.recursive(
        scalars | arrays, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(state=states)
def test_read_savepoint_returns_the_same_bits(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("round") / "epoch_1"
    write_savepoint(folder, state)
    assert same(read_savepoint(folder), state)


@pytest.mark.parametrize("number", [2**53, 2**53 + 1, -(2**64), 2**128 - 1, -1, pytest.param(10**5000, id="huge")])
def test_read_savepoint_keeps_integers_of_any_size(tmp_path, number):
    write_savepoint(tmp_path / "epoch_0", {"n": number})
    assert read_savepoint(tmp_path / "epoch_0") == {"n": number}


def test_read_savepoint_keeps_floats_bit_by_bit(tmp_path):
    numbers = [0.1 + 0.2, 5e-324, -0.0, 1.7976931348623157e308, math.inf, -math.inf, math.nan]
    write_savepoint(tmp_path / "epoch_0", {"x": numbers})
    assert same(read_savepoint(tmp_path / "epoch_0")["x"], numbers)


def test_read_savepoint_restores_a_random_generator(tmp_path):
    rng = np.random.default_rng(3)
    write_savepoint(tmp_path / "epoch_0", {"rng": rng.bit_generator.state})
    other = np.random.default_rng(0)
    other.bit_generator.state = read_savepoint(tmp_path / "epoch_0")["rng"]
    assert np.array_equal(rng.normal(size=100), other.normal(size=100))


def test_write_savepoint_stores_numpy_scalars_as_python_numbers(tmp_path):
    state = {"a": np.float64(0.1), "b": np.int32(7), "c": np.bool_(True), "d": np.float32(0.1)}
    write_savepoint(tmp_path / "epoch_0", state)
    expected = {"a": 0.1, "b": 7, "c": True, "d": float(np.float32(0.1))}
    assert same(read_savepoint(tmp_path / "epoch_0"), expected)


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": {"b": (1, 2)}}, r"state\.a\.b is a tuple"),
        ({"a": [1, object()]}, r"state\.a\.1 is a object"),
        ({"a": np.array([None])}, r"state\.a is a ndarray"),
        ({"a": np.ma.masked_array([1.0])}, r"state\.a is a MaskedArray"),
        ({"a": 1j}, r"state\.a is a complex"),
        ({"a": {3: 1}}, "the key 3"),
        ([1], "must be a dict, got list"),
    ],
)
def test_write_savepoint_refuses_what_it_cannot_store_and_writes_nothing(tmp_path, state, place):
    with pytest.raises(ValidationError, match=place):
        write_savepoint(tmp_path / "epoch_0", state)
    assert list(tmp_path.iterdir()) == []


# -- damage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    for epoch in (1, 2, 3):
        write_savepoint(tmp_path / "RUN" / "savepoints" / f"epoch_{epoch}", a_state(epoch))
    return tmp_path / "RUN"


def refused(run, file, match=""):
    """Reading epoch 3 fails, names the file and the remedy; the others are read."""
    with pytest.raises(CheckpointError, match=match) as caught:
        read_savepoint(run / "savepoints" / "epoch_3")
    message = str(caught.value)
    assert str(run / "savepoints" / "epoch_3" / file) in message
    assert f"eventsnn continue {run} 2" in message
    assert "\n" not in message
    assert same(read_savepoint(run / "savepoints" / "epoch_2"), a_state(2))


@pytest.mark.parametrize("file", ["arrays.npz", "state.json"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.5, 0.9, 0.99])
def test_read_savepoint_refuses_a_truncated_file(run, file, share):
    path = run / "savepoints" / "epoch_3" / file
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(run, file, "damaged")


@pytest.mark.parametrize("file", ["arrays.npz", "state.json"])
def test_read_savepoint_refuses_a_flipped_bit_anywhere(run, file):
    path = run / "savepoints" / "epoch_3" / file
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [0, len(data) - 2, *rng.integers(len(data), size=60)]:
        broken = bytearray(data)
        broken[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            state = read_savepoint(run / "savepoints" / "epoch_3")
        except CheckpointError as error:
            assert file in str(error)  # noqa: PT017 - the other outcome is allowed, too
        else:  # white space of the JSON
            assert file == "state.json"
            assert same(state, a_state(3))


@pytest.mark.parametrize("file", ["arrays.npz", "state.json"])
def test_read_savepoint_refuses_a_missing_file(run, file):
    (run / "savepoints" / "epoch_3" / file).unlink()
    refused(run, file, "missing")
    assert list_savepoints(run / "savepoints") == [1, 2]


@pytest.mark.parametrize("file", ["arrays.npz", "state.json"])
def test_read_savepoint_refuses_files_of_another_savepoint(run, file):
    shutil.copy(run / "savepoints" / "epoch_2" / file, run / "savepoints" / "epoch_3" / file)
    refused(run, "arrays.npz", "checksum")


@pytest.mark.parametrize("content", [b"", b"null", b"[1]", b"{}", b"\xff\xfe", b'{"format": "other"}', b"[" * 10**5])
def test_read_savepoint_refuses_other_json(run, content):
    (run / "savepoints" / "epoch_3" / "state.json").write_bytes(content)
    refused(run, "state.json", "damaged")


def edit(run, **changes):
    path = run / "savepoints" / "epoch_3" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_read_savepoint_refuses_a_newer_format(run):
    edit(run, version=FORMAT_VERSION + 1)
    refused(run, "state.json", f"format version {FORMAT_VERSION + 1}.*update eventsnn")


def test_read_savepoint_refuses_an_edited_state(run):
    edit(run, state={"k": 4})
    refused(run, "state.json", "checksum")


@pytest.mark.parametrize("number", ["1e999", "9" * 5000])
def test_read_savepoint_refuses_impossible_numbers(run, number):
    path = run / "savepoints" / "epoch_3" / "state.json"
    path.write_text(path.read_text().replace('"k": 3', f'"k": {number}'))
    refused(run, "state.json", "damaged")


def test_read_savepoint_never_unpickles(run, monkeypatch):
    """Even with matching checksums: an object array is refused."""
    import hashlib

    from eventsnn.training import checkpoint

    folder = run / "savepoints" / "epoch_3"
    np.savez(folder / "arrays.npz", x=np.array([{"a": 1}], dtype=object))
    document = {
        "format": checkpoint.FORMAT,
        "version": 1,
        "arrays_sha256": hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest(),
        "state": {"x": {"__array__": "x"}},
    }
    document["sha256"] = checkpoint.checksum(document)
    (folder / "state.json").write_text(json.dumps(document))
    refused(run, "arrays.npz", "allow_pickle")


def test_read_savepoint_says_what_to_do_without_any_other(tmp_path):
    with pytest.raises(CheckpointError, match="no such savepoint; this run has no other.*eventsnn train"):
        read_savepoint(tmp_path / "RUN" / "savepoints" / "epoch_1")


def test_read_savepoint_of_a_file_is_refused(tmp_path):
    (tmp_path / "epoch_1").write_text("x")
    with pytest.raises(CheckpointError, match="is not a folder"):
        read_savepoint(tmp_path / "epoch_1")


# -- writing ------------------------------------------------------------------------------------------------------


def test_write_savepoint_replaces_the_old_one(tmp_path):
    for k in (1, 2):
        write_savepoint(tmp_path / "epoch_1", a_state(k))
        assert same(read_savepoint(tmp_path / "epoch_1"), a_state(k))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_1"]


def test_write_savepoint_never_replaces_something_else(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("home", "file"):
        with pytest.raises(CheckpointError, match="will not be replaced"):
            write_savepoint(tmp_path / name, a_state())
    assert (tmp_path / "home" / "thesis.tex").read_text() == "x"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", range(1, 6))
def test_write_savepoint_on_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch, code, call):
    """Each fsync in turn fails: of the two files, the temporary folder and its parent."""
    write_savepoint(tmp_path / "epoch_1", a_state(1))
    write_savepoint(tmp_path / "epoch_2", a_state(2))
    calls = 0

    def failing(handle):
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        if call <= 4:
            with pytest.raises(CheckpointError, match=f"{os.strerror(code)}.*earlier savepoints are untouched"):
                write_savepoint(tmp_path / "epoch_2", a_state(20))
        else:
            write_savepoint(tmp_path / "epoch_2", a_state(20))
            assert calls == 4  # so the four cases above are all there are
    assert same(read_savepoint(tmp_path / "epoch_1"), a_state(1))
    assert read_savepoint(tmp_path / "epoch_2")["k"] in ((2,) if call <= 3 else (20,))
    write_savepoint(tmp_path / "epoch_3", a_state(3))
    assert leftovers(tmp_path) == []


@posix
def test_write_savepoint_reports_a_real_write_error(tmp_path):
    """A limit on the file size stops the write in the middle, as a full disk does."""
    code = textwrap.dedent(
        """
        import resource, sys
        import numpy as np
        from eventsnn.errors import CheckpointError
        from eventsnn.training.checkpoint import read_savepoint, write_savepoint
        parent = sys.argv[1]
        write_savepoint(parent + "/epoch_1", {"x": np.zeros(10)})
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        for name in ("epoch_1", "epoch_2"):
            try:
                write_savepoint(parent + "/" + name, {"x": np.ones(100_000)})
            except CheckpointError as error:
                assert "untouched" in str(error), error
            else:
                raise SystemExit("no error")
        assert read_savepoint(parent + "/epoch_1")["x"].sum() == 0
        """
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_1"]


def test_write_savepoint_interrupted_in_the_middle_cleans_up(tmp_path, monkeypatch):
    write_savepoint(tmp_path / "epoch_1", a_state(1))

    def interrupted(handle):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_savepoint(tmp_path / "epoch_1", a_state(2))
    assert same(read_savepoint(tmp_path / "epoch_1"), a_state(1))
    assert leftovers(tmp_path) == []


def test_read_savepoint_finds_the_old_one_after_a_crash_between_two_renames(tmp_path):
    write_savepoint(tmp_path / "epoch_1", a_state(1))
    os.rename(tmp_path / "epoch_1", tmp_path / ".savepoint-old-epoch_1")
    assert same(read_savepoint(tmp_path / "epoch_1"), a_state(1))
    assert list_savepoints(tmp_path) == [1]
    clean_up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_1"]


def test_list_savepoints_lists_complete_ones_in_order(tmp_path):
    for epoch in (10, 9, 0):
        write_savepoint(tmp_path / f"epoch_{epoch}", a_state(epoch))
    (tmp_path / "epoch_11").mkdir()
    shutil.copytree(tmp_path / "epoch_9", tmp_path / "epoch_09")
    shutil.copytree(tmp_path / "epoch_9", tmp_path / ".savepoint-new-epoch_12")
    assert list_savepoints(tmp_path) == [0, 9, 10]
    assert list_savepoints(tmp_path / "missing") == []


# -- kill -9 ------------------------------------------------------------------------------------------------------

WRITER = """
import os, sys
import numpy as np
from eventsnn.training.checkpoint import read_savepoint, write_savepoint

def state(k):
    return {"k": k, "x": np.full(2000, k), "deep": [{"y": np.full(3, k)}]}
"""

# Every operation of the file system that Python announces is in turn the last one of its process.
CRASH_AT_EACH_STEP = (
    WRITER
    + """
parent = sys.argv[1]
place = parent + "/epoch_1"
write_savepoint(place, state(0))
old, step = 0, 0
while True:
    step += 1
    child = os.fork()
    if child == 0:
        seen = 0
        def hook(event, arguments):
            global seen
            if event in ("open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "os.listdir", "os.scandir"):
                seen += 1
                if seen == step:
                    os._exit(9)
        sys.addaudithook(hook)
        write_savepoint(place, state(step))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), status
    found = read_savepoint(place)
    assert found["k"] in (old, step), (found["k"], old, step)
    assert (found["x"] == found["k"]).all() and (found["deep"][0]["y"] == found["k"]).all()
    old = found["k"]
    if status == 0:
        break
assert old == step
print(step, *sorted(os.listdir(parent)))
"""
)

KILL_AT_RANDOM = (
    WRITER
    + """
import random, signal, time
from eventsnn.training.checkpoint import list_savepoints
parent, n_kills = sys.argv[1], 60
random.seed(0)
seen = set()
for kill in range(n_kills):
    child = os.fork()
    if child == 0:
        k = kill  # on a slow disk one savepoint is all it gets to: start with each in turn
        while True:
            k += 1
            write_savepoint(parent + f"/epoch_{k % 3}", state(1000 * kill + k))
    time.sleep(random.uniform(0.002, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    seen |= set(list_savepoints(parent))
    for epoch in seen:  # what was there once is there for ever
        found = read_savepoint(parent + f"/epoch_{epoch}")
        assert (found["x"] == found["k"]).all() and (found["deep"][0]["y"] == found["k"]).all()
write_savepoint(parent + "/epoch_0", state(0))
print(*sorted(os.listdir(parent)))
"""
)


def script(code, folder):
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@posix
def test_write_savepoint_killed_at_each_step_leaves_the_old_or_the_new(tmp_path):
    steps, *left = script(CRASH_AT_EACH_STEP, tmp_path)
    assert int(steps) > 10
    assert left == ["epoch_1"]


@posix
def test_write_savepoint_survives_kill_9_at_random_moments(tmp_path):
    assert script(KILL_AT_RANDOM, tmp_path) == ["epoch_0", "epoch_1", "epoch_2"]


# -- single files -------------------------------------------------------------------------------------------------


def test_write_json_atomic_writes_valid_json(tmp_path):
    path = tmp_path / "metrics.json"
    write_json_atomic(path, {"a": [1, 0.1 + 0.2, None, True, math.nan, -math.inf], "b": (1, np.float64(2.5)), "c": "ü"})
    expected = {"a": [1, 0.1 + 0.2, None, True, None, None], "b": [1, 2.5], "c": "ü"}
    assert json.loads(path.read_text()) == expected
    assert leftovers(tmp_path) == []


def test_write_bytes_atomic_keeps_the_old_content_on_an_error(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_bytes_atomic(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            write_bytes_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_write_bytes_atomic_into_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        write_bytes_atomic(tmp_path / "missing" / "x.json", b"new")
