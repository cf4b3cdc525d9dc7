import sys
import types

import numpy as np
import pytest

from eventsnn import Spikes
from eventsnn.currents import Currents
from eventsnn.datasets import data_path, load_mnist, mnist
from eventsnn.errors import DataError, MissingDependencyError, ValidationError

SMALL = {"n_train": 20, "n_valid": 10, "n_test": 30}


@pytest.fixture(scope="module")
def original():
    with np.load(data_path("mnist.npz")) as arrays:
        return arrays["x"], arrays["y"]


@pytest.fixture
def fake(tmp_path):
    """Writes an .npz with the given arrays and returns its path; blank images by default."""

    def write(**arrays):
        if not arrays:
            arrays = {"x": np.zeros((60_010, 28, 28), np.uint8), "y": np.arange(60_010) % 10}
        path = tmp_path / "images.npz"
        np.savez_compressed(path, **arrays)
        return path

    return write


def test_load_mnist_takes_its_parts_in_the_original_order(original):
    x, y = original
    data = load_mnist(**SMALL)
    for part, start in ((data.train, 0), (data.valid, 59_990), (data.test, 60_000)):
        chosen = slice(start, start + len(part))
        np.testing.assert_array_equal(part.labels, y[chosen])
        assert part.values.dtype == np.float32
        np.testing.assert_array_equal(np.rint(part.values * 255).reshape(-1, 28, 28), x[chosen])
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]  # as every user of MNIST knows them
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.class_names == tuple("0123456789")
    assert data.n_inputs == 784
    assert "shipped with eventsnn" in data.origin


def test_load_mnist_encodes_bright_early_and_dark_silent():
    data = load_mnist(tau_syn=2.0, t_early=0.5, t_late=1.5, threshold=0.25, **SMALL)
    values = data.train.values.astype(float)
    expected = np.where(values > 0.25, 1.0 + (1.0 - values) * 2.0, np.inf)
    np.testing.assert_array_equal(data.train.spikes.first_times(), expected)


def test_load_mnist_gives_the_pixels_as_currents():
    data = load_mnist(encode=Currents, **SMALL)
    for part in (data.train, data.valid, data.test):
        assert part.spikes.is_constant
        assert part.spikes.values.dtype == np.float32
        np.testing.assert_array_equal(part.spikes.values, part.values)
        assert np.shares_memory(part.spikes.values, part.values)


def test_load_mnist_encodes_the_parts_in_turn():
    shapes = []

    def encode(values):
        shapes.append(values.shape)
        return Spikes.from_first_times(np.full(values.shape, float(len(shapes))))

    data = load_mnist(16, encode=encode, **SMALL)
    assert shapes == [(20, 256), (10, 256), (30, 256)]
    assert [part.spikes.times[0] for part in (data.train, data.valid, data.test)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda values: values, "encode: must give Spikes or Currents, got ndarray"),
        (lambda values: Currents(values[:3]), "encode: gave 3 samples for 20 images"),
        ("latency", "encode: must be a function of the pixels, got 'latency'"),
    ],
)
def test_load_mnist_refuses_an_encoder_that_does_not_fit(encode, message):
    with pytest.raises(ValidationError, match=message):
        load_mnist(encode=encode, **SMALL)


def test_load_mnist_shuffles_all_images_once(fake):
    rng = np.random.default_rng(0)
    x = np.zeros((60_020, 28, 28), np.uint8)
    x.reshape(len(x), -1)[:, :2] = np.arange(len(x))[:, None] // [1, 256] % 256  # its number is in every image
    y = rng.integers(0, 10, len(x))
    path = fake(x=x, y=y)
    sizes = {"path": path, "encode": Currents, "split": "shuffled"}
    data = load_mnist(test_fraction=0.25, n_valid=5_000, **sizes)
    parts = (data.train, data.valid, data.test)
    assert [len(part) for part in parts] == [40_015, 5_000, 15_005]
    pixels = np.concatenate([part.values for part in parts])
    numbers = np.rint(pixels[:, :2] * 255).astype(int) @ [1, 256]
    np.testing.assert_array_equal(np.sort(numbers), np.arange(len(x)))  # every image in one part
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), y[numbers])
    assert 10_000 < np.median(numbers[-15_005:]) < 50_000  # not the published test images
    small = sizes | {"n_train": 50, "n_valid": 0, "n_test": 5}
    again, other = load_mnist(split_seed=0, test_fraction=0.25, **small), load_mnist(split_seed=1, **small)
    np.testing.assert_array_equal(again.train.values, data.train.values[:50])
    assert (other.train.values != again.train.values).any()
    assert len(load_mnist(**(small | {"n_train": None, "n_test": None})).test) == 9_003  # 15 %


@pytest.mark.slow
def test_load_mnist_has_all_images_by_default():
    data = load_mnist()
    assert [len(part) for part in (data.train, data.valid, data.test)] == [55_000, 5000, 10_000]
    assert 140 < data.train.spikes.n_events / len(data.train) < 160  # about 150 of 784 pixels are not black


@pytest.mark.parametrize("size", [28, 16])
def test_load_mnist_may_leave_the_validation_part_empty(size):
    data = load_mnist(size, n_train=5, n_valid=0, n_test=5)
    assert len(data.valid) == 0
    assert data.valid.spikes.n_neurons == size * size


def test_load_mnist_16_is_the_area_average_of_the_central_pixels(original):
    data = load_mnist(16, **SMALL)
    assert data.n_inputs == 256
    assert data.name == "mnist_16x16"
    # oracle: every pixel as 2 x 2 equal ones (48 x 48), then means over 3 x 3 of these
    fine = np.kron(original[0][:20, 2:26, 2:26], np.ones((1, 2, 2)))
    expected = fine.reshape(20, 16, 3, 16, 3).mean(axis=(2, 4)).reshape(20, 256) / 255
    np.testing.assert_allclose(data.train.values, expected, atol=1e-7)  # float32 in [0, 1]


def test_load_mnist_takes_a_local_file(fake):
    path = fake()
    data = load_mnist(path=path, **(SMALL | {"n_test": None}))
    assert data.origin == str(path)
    assert len(data.test) == 10
    assert data.train.spikes.n_events == 0


def test_load_mnist_takes_the_layout_with_four_arrays(fake):
    path = fake(
        x_train=np.zeros((60_000, 28, 28), np.uint8),
        y_train=np.zeros(60_000, np.uint8),
        x_test=np.full((10, 28, 28), 255, np.uint8),
        y_test=np.arange(10, dtype=np.uint8),
    )
    data = load_mnist(path=str(path), n_train=3, n_valid=0)
    assert data.test.labels.tolist() == list(range(10))
    assert np.all(data.test.values == 1.0)


def test_load_mnist_downloads_with_a_checksum(monkeypatch, fake):
    path, calls = fake(), []

    def retrieve(url, known_hash, fname):
        calls.append((url, known_hash, fname))
        return str(path)

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    data = load_mnist(download=True, n_train=1, n_valid=0, n_test=1)
    [(url, known_hash, _)] = calls
    assert data.origin == f"downloaded from {url}"
    assert known_hash == f"sha256:{mnist._URL_SHA256}"


def test_load_mnist_says_why_a_download_failed(monkeypatch):
    def retrieve(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    with pytest.raises(DataError, match="no route to host; give a local file as path"):
        load_mnist(download=True)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingDependencyError, match="pip install pooch"):
        load_mnist(download=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros(3)}, "needs the arrays x and y"),
        ({"x": np.zeros((60_010, 28, 28)), "y": np.zeros(60_010, int)}, "must be uint8"),
        ({"x": np.zeros((60_010, 784), np.uint8), "y": np.zeros(60_010, int)}, r"got uint8, \(60010, 784\)"),
        ({"x": np.zeros((100, 28, 28), np.uint8), "y": np.zeros(100, int)}, r"got uint8, \(100, 28, 28\)"),
        ({"x": np.zeros((60_010, 28, 28), np.uint8), "y": np.zeros(5, int)}, "one per image"),
        ({"x": np.zeros((60_010, 28, 28), np.uint8), "y": np.full(60_010, 10)}, "integers 0 .. 9"),
        ({"x": np.array([None]), "y": np.zeros(1)}, "not a readable .npz"),
    ],
)
def test_load_mnist_refuses_a_file_that_is_not_mnist(fake, arrays, message):
    path = fake(**arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_mnist(path=path)
    assert str(path) in str(caught.value)


def test_load_mnist_refuses_a_missing_or_damaged_file(tmp_path, fake):
    with pytest.raises(DataError, match="no such file"):
        load_mnist(path=tmp_path / "nothing.npz")
    whole = fake(x=np.random.default_rng(0).integers(0, 200, (100, 28, 28), np.uint8), y=np.zeros(100)).read_bytes()
    flipped = bytearray(whole)
    flipped[200:260] = bytes(60)
    for content in (b"", b"not a zip file", whole[:5000], flipped):
        damaged = tmp_path / "damaged.npz"
        damaged.write_bytes(content)
        with pytest.raises(DataError, match=r"damaged.npz: not a readable .npz file"):
            load_mnist(path=damaged)
    with pytest.raises(DataError, match="not a readable"):
        load_mnist(path=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 20}, "load_mnist.size: must be 28 or 16, got 20"),
        ({"n_valid": 60_000}, "load_mnist.n_valid: must be below 60000"),
        ({"n_valid": -1}, "load_mnist.n_valid: must be an integer >= 0"),
        ({"n_train": 55_001}, "load_mnist.n_train: only 55000 images"),
        ({"n_test": 10_001}, "load_mnist.n_test: only 10000 images"),
        ({"n_test": 2.0}, "load_mnist.n_test: must be an integer"),
        ({"split": "random"}, "load_mnist.split: must be 'published' or 'shuffled', got 'random'"),
        ({"split_seed": -1}, "load_mnist.split_seed: must be an integer >= 0"),
        ({"test_fraction": 0.2}, "load_mnist.test_fraction: only for split='shuffled'"),
        ({"split": "shuffled", "test_fraction": 1.0}, "load_mnist.test_fraction: must be below 1"),
        ({"split": "shuffled", "test_fraction": 0.0}, "load_mnist.test_fraction: must be a finite number and > 0"),
        ({"split": "shuffled", "n_valid": 59_500}, "load_mnist.n_valid: must be below 59500"),
        ({"tau_syn": -1.0}, "load_mnist.tau_syn"),
        ({"t_late": 0.0}, "load_mnist.t_late"),
        ({"threshold": 2.0, "n_train": 1}, "threshold"),
        ({"path": "somewhere.npz", "download": True}, "a path or download=True, not both"),
    ],
)
def test_load_mnist_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValidationError, match=message):
        load_mnist(**arguments)
