"""ANN.save and ANN.load, and what a model file must withstand."""

import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from eventsnn.conversion import ANN, BatchNorm, Linear, ReLU
from eventsnn.conversion.model_file import read_arrays, read_model, write_model
from eventsnn.errors import CheckpointError, DataError, ValidationError
from eventsnn.training.state_content import checksum
from tests.conversion.test_ann import small_cnn


def saved(path, seed=1):
    ann = small_cnn(np.random.default_rng(seed))
    ann.save(path)
    return ann


def rewritten(path, change):
    """The file with its members changed by a function of {name: bytes}."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def with_header(change):
    """Change the header and give it a checksum that fits."""

    def apply(members):
        document = json.loads(members["header.json"])
        document.pop("sha256")
        change(document)
        document["sha256"] = checksum(document)
        members["header.json"] = json.dumps(document).encode()

    return apply


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_load_gives_back_every_bit(tmp_path, dtype):
    ann = small_cnn(np.random.default_rng(1), dtype)
    ann.save(tmp_path / "ann.npz")
    found = ANN.load(tmp_path / "ann.npz")
    assert repr(found) == repr(ann)
    assert found.dtype == dtype
    x = np.random.default_rng(2).normal(size=(3, 8, 8, 3))
    for a, b in zip(found.activations(x), ann.activations(x), strict=True):
        assert (a == b).all()


def test_saving_again_gives_the_same_bytes_and_numpy_reads_them(tmp_path):
    ann = saved(tmp_path / "a.npz")
    ann.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        [first] = [archive[name] for name in archive.files if name.endswith("layers.0.weight")]
    assert (first == ann.layers[0].weight).all()


def test_save_as_float16_rounds_weights_only(tmp_path):
    ann = ANN([Linear([[1 + 2**-13], [3.0]], [1 + 2**-13]), BatchNorm([1], [2], [3], [1e-9])], (2,))
    ann.save(tmp_path / "ann.npz", dtype=np.float16)
    found = ANN.load(tmp_path / "ann.npz")
    assert found.dtype == np.float32
    assert found.layers[0].weight.tolist() == [[1.0], [3.0]]
    assert found.layers[0].bias.tolist() == [1 + 2**-13]
    assert found.layers[1].variance == np.float32(1e-9)


@pytest.mark.parametrize(
    ("weight", "dtype", "message"),
    [
        (1e5, np.float16, r"ANN.layers\[0\] Linear\(1 -> 1, no bias\).weight: holds 100000, too large for float16"),
        (1e39, np.float32, "too large for float32"),
        (1.0, np.int8, "ANN.save.dtype: must be float16"),
    ],
)
def test_save_refuses_what_does_not_fit(tmp_path, weight, dtype, message):
    with pytest.raises(ValidationError, match=message):
        ANN([Linear([[weight]])], (1,)).save(tmp_path / "ann.npz", dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_save_into_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere/ann.npz: cannot be written"):
        ANN([ReLU()], (1,)).save(tmp_path / "nowhere" / "ann.npz")


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "ann.npz"
    saved(path)
    data = path.read_bytes()
    for length in range(0, len(data), 53):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"ann.npz: (damaged, it is truncated|is no npz file)"):
            ANN.load(path)


def test_no_changed_byte_changes_the_network(tmp_path):
    path = tmp_path / "ann.npz"
    ann = saved(path)
    data = path.read_bytes()
    refused = 0
    for place in range(0, len(data), 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            found = ANN.load(path)
        except DataError:
            refused += 1
        else:  # a date or an attribute of the archive
            for a, b in zip(found.layers, ann.layers, strict=True):
                if isinstance(a, Linear):
                    assert (a.weight == b.weight).all()
    assert refused > len(data) // 97 // 2


def test_an_array_exchanged_is_noticed(tmp_path):
    path = tmp_path / "ann.npz"
    saved(path)

    def exchange(members):
        name = next(name for name in members if name.endswith("layers.0.weight.npy"))
        other = io.BytesIO()
        np.save(other, np.zeros((3, 3, 3, 4)))
        members[name] = other.getvalue()

    rewritten(path, exchange)
    with pytest.raises(DataError, match="the checksum of its array '0_state.layers.0.weight' does not match"):
        ANN.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("header.json"), "is no file of an eventsnn ANN, it has no header.json"),
        (lambda m: m.update({"header.json": b"{"}), "its header.json cannot be read"),
        (lambda m: m.update({"header.json": b"[]"}), "its header.json cannot be read"),
        (lambda m: m.update({"header.json": m["header.json"].replace(b"ANN", b"AMM")}), "checksum of its header.json"),
        (with_header(lambda d: d.update(version=99)), "has format version 99, but this eventsnn reads up to version 1"),
        (with_header(lambda d: d.update(kind="SpikingNetwork")), "holds a 'SpikingNetwork', not a 'ANN'"),
        (with_header(lambda d: d.update(format="x")), "does not say that it is an 'eventsnn model'"),
        (with_header(lambda d: d["state"]["layers"][0].update(kind="LSTM")), "layer 0 is a 'LSTM'"),
        (with_header(lambda d: d["state"]["layers"][0].update(dilation=2)), "its layers cannot be understood"),
        (with_header(lambda d: d["state"].pop("layers")), "its layers cannot be understood"),
        (with_header(lambda d: d["arrays_sha256"].clear()), "its structure cannot be understood"),
        (with_header(lambda d: d.pop("state")), "its structure cannot be understood"),
        (with_header(lambda d: d.update(state=[])), "its state is not a mapping"),
    ],
)
def test_load_refuses_what_is_no_ann(tmp_path, change, message):
    path = tmp_path / "ann.npz"
    saved(path)
    rewritten(path, change)
    with pytest.raises(DataError, match=message):
        ANN.load(path)


class Bomb:
    """What a pickle may do: it must never run."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_pickles_are_refused_unopened(tmp_path):
    path = tmp_path / "model.pkl"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Bomb(), protocol))
        with pytest.raises(DataError, match="model.pkl: is a pickle, which eventsnn does not open"):
            ANN.load(path)
    with zipfile.ZipFile(path, "w") as archive:  # as torch.save writes them
        archive.writestr("model/data.pkl", pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="torch.load\\(path, weights_only=True\\)"):
        ANN.load(path)
    np.savez(tmp_path / "objects.npz", a=np.array([Bomb()], dtype=object))
    with pytest.raises(DataError, match="its array 'a' holds Python objects, pickled"):
        read_arrays(tmp_path / "objects.npz")


def test_a_missing_file_and_a_text_are_no_models(tmp_path):
    with pytest.raises(DataError, match="none.npz: cannot be read"):
        ANN.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="text.npz: is no npz file"):
        ANN.load(tmp_path / "text.npz")


def test_write_model_keeps_numbers_and_checksums(tmp_path):
    path = tmp_path / "m.npz"
    state = {"a": np.arange(3, dtype=np.uint8), "b": [1.5, float("inf"), None, {"c": True}], "n": 2**70}
    write_model(path, "thing", state)
    found = read_model(path, "thing")
    assert found.pop("a").tolist() == [0, 1, 2]
    assert found == {"b": [1.5, float("inf"), None, {"c": True}], "n": 2**70}
    with zipfile.ZipFile(path) as archive:
        sums = json.loads(archive.read("header.json"))["arrays_sha256"]
        assert sums == {"0_state.a": hashlib.sha256(archive.read("0_state.a.npy")).hexdigest()}
