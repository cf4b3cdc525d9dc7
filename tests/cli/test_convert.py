"""`eventsnn convert`: what users type, what they see, what lies in the run folder."""

import csv
import json
import re

import numpy as np
import pytest

from eventsnn.cli.main import main
from eventsnn.conversion import ANN, Linear, ReLU
from eventsnn.conversion.spiking_network import SpikingNetwork
from eventsnn.experiments.conversion import ConversionSettings, convert_model

N_INPUTS, N_CLASSES = 12, 3


def templates():
    return np.random.default_rng(7).random((N_CLASSES, N_INPUTS)) < 0.5


def samples(n, rng):
    labels = rng.integers(0, N_CLASSES, n)
    return np.clip(templates()[labels] * 0.6 + rng.uniform(0, 0.4, (n, N_INPUTS)), 0, 1).astype(np.float32), labels


@pytest.fixture
def model(tmp_path):
    """A network that compares with templates, through a random hidden layer that is read out by least squares."""
    rng = np.random.default_rng(0)
    hidden = Linear(rng.normal(size=(N_INPUTS, 40)).astype(np.float32), rng.normal(size=40))
    x, labels = samples(2000, rng)
    activity = np.maximum(x @ hidden.weight + hidden.bias, 0)
    weight = np.linalg.lstsq(activity, np.eye(N_CLASSES)[labels] * 10, rcond=None)[0]
    path = tmp_path / "templates.npz"
    ANN([hidden, ReLU(), Linear(weight.astype(np.float32))], input_shape=(N_INPUTS,)).save(path)
    return str(path)


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(1)
    (x_train, y_train), (x_test, y_test) = samples(300, rng), samples(450, rng)
    path = tmp_path / "data.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return str(path)


def convert(tmp_path, *arguments):
    """Exit status, and the only run folder, None where there is none."""
    status = main(["convert", *map(str, arguments), "--out", str(tmp_path / "runs")])
    folders = list((tmp_path / "runs").iterdir()) if (tmp_path / "runs").exists() else []
    return status, folders[0] if len(folders) == 1 else None


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_convert_says_and_writes_what_came_out(model, data, tmp_path, capsys):
    status, run = convert(tmp_path, model, "--data", data, "--timesteps", 12, "--scales", "0.5,1", "--early-exit", 0.05)
    assert status == 0
    out = capsys.readouterr().out
    assert "model: templates, 12 values to 3 outputs, 3 layers" in out
    assert f"data: 300 training images to calibrate, 450 to test; {data}" in out
    assert f"run folder: {run}" in out
    assert run.name.startswith("templates_")
    ann = float(re.search(r"^ANN: accuracy ([\d.]+) %$", out, re.MULTILINE)[1])
    assert ann > 90  # least squares on templates; chance is 33
    assert re.search(r"^ +steps +1 +2 +4 +8 +12 +spikes/image$", out, re.MULTILINE)
    assert re.search(r"^scale 0.5: [\d,.]+ spikes, [\d,.]+ synaptic operations, .* per image .*images/s$", out, re.M)
    assert re.search(r"^linear1 +0\.\d+ +[\d.]+ % +[\d.]+ % +[\d.]+ %$", out, re.MULTILINE)
    assert "early exit, margin" in out
    table = rows(run / "accuracy.csv")
    assert [row["steps"] for row in table] == [str(t) for _ in range(2) for t in range(1, 13)]
    assert {row["scale"] for row in table} == {"0.5", "1.0"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["n_images"] == 450
    assert 100 * metrics["ann_accuracy"] == pytest.approx(ann, abs=0.005)  # printed with two digits
    assert [float(row["accuracy"]) for row in table[:12]] == metrics["scales"][0]["accuracy"]
    layers = rows(run / "layers.csv")
    assert [row["layer"] for row in layers] == ["linear1", "output"]
    # in continuous time nothing saturates: with soft reset the error is half a scale / 12 at most, of some scales
    assert 0 < float(layers[0]["limit_error"]) < 0.2
    assert metrics["early_exit"]["steps"] < 12
    assert metrics["settings"]["scales"] == [0.5, 1.0]
    for name in ("accuracy", "rates", "activations"):
        assert f"picture: {run / 'plots' / f'{name}.png'}" in out
        assert (run / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_written_network_is_that_of_the_best_scale(model, data, tmp_path):
    _, run = convert(tmp_path, model, "--data", data, "--timesteps", 8, "--scales", "0.1,1", "--no-plots")
    metrics = json.loads((run / "metrics.json").read_text())
    best = max(metrics["scales"], key=lambda own: own["accuracy"][-1])
    assert best["scale"] == metrics["best_scale"]
    with np.load(data) as file:
        x, y = file["x_test"], file["y_test"]
    found = SpikingNetwork.load(run / "network.npz").accuracy(x, y, 8, progress=False)
    assert found == pytest.approx(best["accuracy"][-1], abs=1e-12)
    assert list((run / "plots").iterdir()) == []


def test_every_option_reaches_the_conversion(model, data, tmp_path, capsys):
    status, run = convert(
        tmp_path, model, "--data", data, "--timesteps", 6, "--images", 120, "--calibration-images", 50, "--method",
        "max", "--channel-wise", "--percentile", 99, "--reset", "zero", "--calibrate", "bias", "--input", "poisson",
        "--seed", 3, "--threads", 2, "--no-plots",
    )  # fmt: skip
    assert status == 0
    assert "reset zero" in capsys.readouterr().out
    settings = json.loads((run / "metrics.json").read_text())["settings"]
    assert settings == {
        "method": "max", "percentile": 99.0, "channel_wise": True, "n_steps": 6, "scales": [1.0], "reset": "zero",
        "calibrate": "bias", "input": "poisson", "n_images": 120, "n_calibration": 50, "seed": 3, "exit_share": None,
        "model": model, "data": data,
    }  # fmt: skip


@pytest.mark.parametrize(("option", "wanted"), [((), None), (("--no-channel-wise",), False)])
def test_scales_by_channel_are_left_to_the_conversion_or_switched_off(option, wanted, model, data, tmp_path):
    status, run = convert(tmp_path, model, "--data", data, "--timesteps", 2, "--images", 5, "--no-plots", *option)
    assert status == 0
    assert json.loads((run / "metrics.json").read_text())["settings"]["channel_wise"] is wanted


@pytest.mark.parametrize("kind", ["constant", "poisson"])
def test_threads_change_nothing(model, data, tmp_path, kind):
    settings = ConversionSettings(n_steps=5, n_images=250, input=kind)
    one, two = (
        convert_model(model, tmp_path / "runs", settings, data=data, threads=k, progress=False, plots=False)
        for k in (1, 2)
    )
    assert np.array_equal(one.accuracy.accuracy, two.accuracy.accuracy)
    assert np.array_equal(one.accuracy.n_spikes, two.accuracy.n_spikes)


def test_an_onnx_file_is_a_model(model, data, tmp_path, capsys):
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    ann = ANN.load(model)
    names, nodes, value = ["w0", "b0", "w1"], onnx.helper.make_node, "x"
    arrays = [ann.layers[0].weight, ann.layers[0].bias, ann.layers[2].weight]
    kinds = [("Gemm", ["w0", "b0"]), ("Relu", []), ("MatMul", ["w1"])]
    chain = []
    for k, (kind, weights) in enumerate(kinds):
        chain.append(nodes(kind, [value, *weights], [f"v{k}"]))
        value = f"v{k}"
    tensors = [onnx.numpy_helper.from_array(np.array(a), name) for a, name in zip(arrays, names, strict=True)]
    ends = [
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])]
        for name, size in (("x", N_INPUTS), (value, N_CLASSES))
    ]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(chain, "g", *ends, tensors)), tmp_path / "net.onnx")
    accuracies = []
    for own in (model, tmp_path / "net.onnx"):
        assert (
            main(["convert", str(own), "--data", data, "--timesteps", "4", "--no-plots", "--out", str(tmp_path)]) == 0
        )
        accuracies.append(re.search(r"^ANN: accuracy ([\d.]+) %$", capsys.readouterr().out, re.MULTILINE)[1])
    assert accuracies[0] == accuracies[1]


def test_x_and_y_alone_are_split(model, tmp_path, capsys):
    x, y = samples(200, np.random.default_rng(2))
    np.savez(tmp_path / "one.npz", x=(x * 255).astype(np.uint8), y=y)
    status, _ = convert(tmp_path, model, "--data", tmp_path / "one.npz", "--timesteps", 4, "--no-plots")
    assert status == 0
    assert "20 training images to calibrate, 180 to test" in capsys.readouterr().out


def interrupted_at(call, monkeypatch):
    """Ctrl-C in the `call`-th run of a network."""
    whole, calls = SpikingNetwork.run, []

    def run(self, *arguments, **options):
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return whole(self, *arguments, **options)

    monkeypatch.setattr(SpikingNetwork, "run", run)


def test_ctrl_c_keeps_the_images_that_are_finished(model, data, tmp_path, capsys, monkeypatch):
    interrupted_at(7, monkeypatch)  # one to compile, then two scales of a batch each: in the third batch
    status, run = convert(tmp_path, model, "--data", data, "--timesteps", 6, "--scales", "0.5,1")
    assert status == 130
    captured = capsys.readouterr()
    assert f"interrupted; 200 of 450 images are finished, what they say is in {run}" in captured.err
    assert "Traceback" not in captured.err
    assert {row["n_images"] for row in rows(run / "accuracy.csv")} == {"200"}
    assert json.loads((run / "metrics.json").read_text())["interrupted"] is True
    assert (run / "plots" / "accuracy.png").is_file()
    assert SpikingNetwork.load(run / "network.npz").ann.n_outputs == N_CLASSES


def test_ctrl_c_before_the_first_image_keeps_the_network(model, data, tmp_path, capsys, monkeypatch):
    interrupted_at(2, monkeypatch)
    status, run = convert(tmp_path, model, "--data", data, "--timesteps", 6, "--scales", "0.5,1")
    assert status == 130
    assert "interrupted; no image is finished, the network of scale 0.5 is in" in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == ["network.npz", "plots"]


def test_what_falls_short_is_said(model, data, tmp_path, capsys):
    convert(tmp_path, model, "--data", data, "--timesteps", 1, "--scales", "3", "--no-plots")
    out = capsys.readouterr().out
    assert re.search(r"^accuracy: [\d.]+ points below the ANN after 1 steps at scale 3; --calibrate both", out, re.M)
    assert re.search(r"^output: differs from the ANN by \d+ % of its activations; more --timesteps", out, re.MULTILINE)
    assert "nothing falls short" not in out


def test_an_energy_above_the_anns_is_said(model, data, tmp_path, capsys):
    convert(tmp_path, model, "--data", data, "--timesteps", 300, "--images", 50, "--scales", "0.5", "--no-plots")
    out = capsys.readouterr().out
    factor = float(re.search(r"^energy: ([\d.]+) times the ANN's, by operations; fewer --timesteps", out, re.M)[1])
    own, ann = re.search(r"operations, ([\d.]+) nJ per image .*, the ANN ([\d.]+) nJ", out).groups()
    assert factor == pytest.approx(float(own) / float(ann), rel=0.05)  # all printed with two or three digits


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert"],
        ["convert", "mnist_mlp", "--timesteps", "0"],
        ["convert", "mnist_mlp", "--scales", "0.6,-1"],
        ["convert", "mnist_mlp", "--scales", "0.6,0.6"],
        ["convert", "mnist_mlp", "--scales", ""],
        ["convert", "mnist_mlp", "--percentile", "101"],
        ["convert", "mnist_mlp", "--method", "mean"],
        ["convert", "mnist_mlp", "--early-exit", "2"],
        ["convert", "mnist_mlp", "--images", "0"],
    ],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def error_of(tmp_path, capsys, *arguments):
    status, run = convert(tmp_path, *arguments)
    assert status == 2
    assert run is None  # nothing is begun
    err = capsys.readouterr().err
    assert err.startswith("eventsnn: error: ")
    assert "Traceback" not in err
    return err


def test_an_unknown_model_is_named_with_the_nearest(tmp_path, capsys):
    assert "did you mean 'mnist_mlp'?" in error_of(tmp_path, capsys, "mnist_mpl")


def test_a_model_without_data_says_what_it_wants(model, tmp_path, capsys):
    assert "give the images to test it with, --data PATH: an .npz with x_train" in error_of(tmp_path, capsys, model)


def test_data_that_do_not_fit_the_network(model, tmp_path, capsys):
    np.savez(tmp_path / "wide.npz", x=np.zeros((20, 5)), y=np.zeros(20, int))
    err = error_of(tmp_path, capsys, model, "--data", tmp_path / "wide.npz")
    assert "wide.npz: must have shape (n, 12), got (" in err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((20, 12)), "y": np.full(20, 3)}, "labels run from 3 to 3, but the network has 3 outputs"),
        ({"x": np.zeros((20, 12)), "y": np.zeros(19, int)}, "x holds 20 images, y 19 labels"),
        ({"x": np.zeros((20, 12)), "y": np.zeros(20)}, "18 test images, but labels of dtype float64"),
        ({"x": np.zeros((1, 12)), "y": np.zeros(1, int)}, "holds 0 training and 1 test images; both are needed"),
        ({"a": np.zeros(2)}, "holds ['a']; --data takes an .npz with"),
        ({"x": np.full((20, 12), "a"), "y": np.zeros(20, int)}, "training images must be numbers"),
    ],
)
def test_data_that_cannot_be_used(arrays, message, model, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert message in error_of(tmp_path, capsys, model, "--data", tmp_path / "bad.npz")


def test_files_that_are_none(model, tmp_path, capsys):
    (tmp_path / "text.npz").write_text("no archive")
    assert "text.npz: cannot be read" in error_of(tmp_path, capsys, model, "--data", tmp_path / "text.npz")
    assert "no such file; --data takes" in error_of(tmp_path, capsys, model, "--data", tmp_path / "gone.npz")
    assert "text.npz" in error_of(tmp_path, capsys, tmp_path / "text.npz", "--data", "mnist")
    (tmp_path / "text.txt").write_text("no images")
    assert "text.txt: must be an .npz" in error_of(tmp_path, capsys, model, "--data", tmp_path / "text.txt")


def test_pickled_data_are_refused(model, tmp_path, capsys):
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], dtype=object), y=np.zeros(1, int))
    assert "pickle.npz: cannot be read" in error_of(tmp_path, capsys, model, "--data", tmp_path / "pickle.npz")


def test_early_exit_needs_enough_images(model, data, tmp_path, capsys):
    err = error_of(tmp_path, capsys, model, "--data", data, "--images", 100, "--early-exit", 0.01)
    assert "--early-exit 0.01 needs 99 images to calibrate, and gets half of those that are tested, 50" in err


def test_a_dead_layer_is_named(data, tmp_path, capsys):
    layers = [Linear(-np.ones((N_INPUTS, 4))), ReLU(), Linear(np.ones((4, N_CLASSES)))]
    ANN(layers, input_shape=(N_INPUTS,)).save(tmp_path / "dead.npz")
    assert "layer 'linear1'" in error_of(tmp_path, capsys, tmp_path / "dead.npz", "--data", data)


def test_mnist_is_not_downloaded(tmp_path, capsys):
    err = error_of(tmp_path, capsys, "mnist_mlp", "--download")
    assert "--download is for CIFAR-10; mnist_mlp needs MNIST, which eventsnn ships: leave it out" in err
