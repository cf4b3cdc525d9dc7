from pathlib import Path

import numpy as np
import pytest

from eventsnn import Currents, _shipped, convert, load_ann
from eventsnn.conversion import ANN, AvgPool, BatchNorm, Dropout, Linear, blocks_of, model_info
from eventsnn.conversion.models import MODELS
from eventsnn.datasets import load_mnist
from eventsnn.errors import DataError, ValidationError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def mnist():
    test = load_mnist(n_train=1, n_valid=0, encode=Currents).test
    return test.values, test.labels


def test_the_networks_that_have_a_name():
    assert list(MODELS) == ["mnist_mlp", "mnist_cnn", "cifar10_cnn", "vgg5", "vgg16"]


@pytest.mark.parametrize("name", MODELS)
def test_load_ann_loads_a_shipped_network_ready_for_conversion(name):
    info, ann = model_info(name), load_ann(name)
    assert ann.input_shape == info.input_shape
    assert ann.n_outputs == 10
    assert not any(isinstance(layer, (BatchNorm, Dropout)) for layer in ann.layers)
    assert blocks_of(ann)[-1].name == "output"


@pytest.mark.parametrize(("name", "required"), [("mnist_mlp", 0.984), ("mnist_cnn", 0.992)])
def test_shipped_networks_are_as_good_as_their_info_says(name, required, mnist):
    found = load_ann(name).accuracy(*mnist)  # all 10,000 test images
    # an image on the border between two classes may fall to either side by the order of a sum in float32
    assert abs(found - model_info(name).accuracy) <= 2.5e-4
    assert found >= required


def test_mnist_networks_have_the_shapes_that_their_info_says():
    mlp, cnn = load_ann("mnist_mlp"), load_ann("mnist_cnn")
    assert [layer.weight.shape for layer in mlp.layers if hasattr(layer, "weight")] == [(784, 500), (500, 10)]
    assert [layer.weight.shape for layer in cnn.layers if hasattr(layer, "weight")] == [
        (3, 3, 1, 32),
        (3, 3, 32, 32),
        (3, 3, 32, 32),
        (32, 10),
    ]
    assert sum(isinstance(layer, AvgPool) for layer in cnn.layers) == 3


@pytest.mark.parametrize("name", MODELS)
def test_model_info_names_scripts_that_exist(name):
    info = model_info(name)
    scripts = [word for word in info.make.split() if word.endswith(".py")]
    assert scripts
    for script in scripts:
        assert (BENCHMARKS.parent / script).is_file()
    assert name in info.make


def test_load_ann_takes_files(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    ann = ANN([Linear(rng.normal(size=(3, 2)))], (3,))
    ann.save(tmp_path / "mnist_mlp")
    np.savez(tmp_path / "plain.npz", **{"fc.weight": ann.layers[0].weight.T})
    monkeypatch.chdir(tmp_path)
    for found in (
        load_ann(tmp_path / "mnist_mlp"),
        load_ann("./mnist_mlp"),
        load_ann("plain.npz", [("linear", "fc")], input_shape=(3,)),
    ):
        np.testing.assert_array_equal(found.layers[0].weight, ann.layers[0].weight)
    assert load_ann("mnist_mlp").input_shape == (28, 28, 1)  # the name comes first


def test_load_ann_refuses_truncated_and_damaged_files(tmp_path, monkeypatch):
    path = tmp_path / "mine.npz"
    load_ann("mnist_cnn").save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:100], b"", bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="mine.npz: "):
            load_ann(path)
    (tmp_path / "eventsnn" / "_data").mkdir(parents=True)
    (tmp_path / "eventsnn" / "_data" / "mnist_cnn.npz").write_bytes(whole[:-1])
    monkeypatch.setattr(_shipped, "__file__", str(tmp_path / "eventsnn" / "_shipped.py"))
    with pytest.raises(DataError, match=r"mnist_cnn.npz: damaged, sha256 is .*reinstall"):
        load_ann("mnist_cnn")


def test_load_ann_refuses_what_is_neither_name_nor_file():
    with pytest.raises(DataError, match=r"'alexnet' is neither a built-in network \(mnist_mlp, .*vgg16\) nor a file"):
        load_ann("alexnet")
    with pytest.raises(ValidationError, match=r"no built-in network 'alexnet', only mnist_mlp, .*vgg16"):
        model_info("alexnet")
    with pytest.raises(ValidationError, match="'mnist_mlp' is a built-in network; give no layers"):
        load_ann("mnist_mlp", ["relu"])


def test_every_shipped_file_but_the_data_is_a_model():
    assert {name.removesuffix(".npz") for name in _shipped.SHIPPED} == {*MODELS, "mnist"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_images"), [("mnist_mlp", 10_000), ("mnist_cnn", 2_000)])
def test_mnist_networks_lose_little_in_conversion(name, n_images, mnist):
    calibration = load_mnist(n_train=500, n_valid=0, n_test=1, encode=Currents).train.values
    snn = convert(load_ann(name), calibration, progress=False)
    found = snn.accuracy_over_time(mnist[0][:n_images], mnist[1][:n_images], 64, progress=False)
    assert found.loss(64)[0] <= 1e-3  # 0.1 % is what is promised for at most 64 steps
