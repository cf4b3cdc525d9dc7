"""Networks from named arrays and a list of layers: load_ann of a plain npz, ann_from_torch of a state_dict."""

import pickle

import numpy as np
import pytest

from eventsnn import ANN, DataError, ValidationError, ann_from_torch, load_ann
from tests.reference import ann_numpy

LAYERS = [
    ("conv2d", "conv", {"padding": (1, 0), "stride": 2}),
    ("batch_norm", "norm", {"epsilon": 1e-3}),
    "relu",
    ("avg_pool", {"size": 2, "stride": 1}),
    "flatten",
    ("batch_norm", "flat"),
    "dropout",
    ("linear", "fc"),
]


def state():
    """In torch's layout, for an input (7, 8, 2): (4, 3, 3) behind the convolution, (3, 2, 3) behind the pool."""
    draw = np.random.default_rng(0)
    return {
        "conv.weight": draw.normal(size=(3, 2, 3, 3)),
        "conv.bias": draw.normal(size=3),
        "norm.weight": draw.normal(size=3),
        "norm.bias": draw.normal(size=3),
        "norm.running_mean": draw.normal(size=3),
        "norm.running_var": draw.uniform(0.5, 1, 3),
        "norm.num_batches_tracked": np.array(7),
        "flat.running_mean": draw.normal(size=18),
        "flat.running_var": draw.uniform(0.5, 1, 18),
        "fc.weight": draw.normal(size=(4, 18)),
    }


def by_definition(arrays, x):
    """The network in torch's order, from the loops of the reference; x channel-last."""
    norm = [arrays[f"norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = arrays["conv.weight"].transpose(2, 3, 1, 0)
    v = ann_numpy.convolution(x, kernel, arrays["conv.bias"], (2, 2), (1, 0), 1)
    v = np.maximum(ann_numpy.batch_norm(v, *norm, 1e-3), 0)
    v = ann_numpy.pool(v, (2, 2), (1, 1), (0, 0), "mean")
    v = v.transpose(0, 3, 1, 2).reshape(len(x), -1)  # torch flattens channel by channel
    v = ann_numpy.batch_norm(v, 1, 0, arrays["flat.running_mean"], arrays["flat.running_var"], 1e-5)
    return v @ arrays["fc.weight"].T


def test_a_state_dict_is_the_network_by_definition():
    x = np.random.default_rng(1).normal(size=(4, 7, 8, 2))
    ann = ann_from_torch((state(), LAYERS), (7, 8, 2))
    np.testing.assert_allclose(ann.outputs(x), by_definition(state(), x), rtol=1e-12, atol=1e-12)  # order of the sums


def test_a_plain_npz_is_the_same_in_either_layout(tmp_path):
    x = np.random.default_rng(1).normal(size=(4, 7, 8, 2))
    arrays = state()
    np.savez(tmp_path / "torch.npz", **arrays)
    ann = load_ann(tmp_path / "torch.npz", LAYERS, (7, 8, 2))
    expected = ann_from_torch((arrays, LAYERS), (7, 8, 2)).outputs(x)
    assert (ann.outputs(x) == expected).all()
    order = np.arange(18).reshape(3, 3, 2).transpose(1, 2, 0).ravel()
    arrays["conv.weight"] = arrays["conv.weight"].transpose(2, 3, 1, 0)
    arrays["fc.weight"] = arrays["fc.weight"].T[order]
    for name in ("flat.running_mean", "flat.running_var"):
        arrays[name] = arrays[name][order]
    np.savez(tmp_path / "last.npz", **arrays)
    ann = load_ann(tmp_path / "last.npz", LAYERS, (7, 8, 2), layout="channel_last")
    assert (ann.outputs(x) == expected).all()


def test_load_ann_reads_what_save_wrote(tmp_path):
    ann = ann_from_torch((state(), LAYERS), (7, 8, 2))
    ann.save(tmp_path / "ann.npz")
    assert repr(load_ann(tmp_path / "ann.npz")) == repr(ann)
    with pytest.raises(ValidationError, match="describes its layers itself"):
        load_ann(tmp_path / "ann.npz", LAYERS, (7, 8, 2))


def test_global_average_and_maximum():
    ann = ann_from_torch(({}, [("max_pool", {"size": (2, 1)}), "global_avg_pool", "flatten"]), (4, 4, 3))
    x = np.random.default_rng(2).normal(size=(2, 4, 4, 3))
    expected = x.reshape(2, 2, 2, 4, 3).max(2).mean((1, 2))
    np.testing.assert_allclose(ann.outputs(x), expected, rtol=0, atol=1e-15)  # means of 8 numbers around 1


def changed(**arrays):
    return {**state(), **{name.replace("__", "."): value for name, value in arrays.items()}}


@pytest.mark.parametrize(
    ("arrays", "layers", "message"),
    [
        (state(), LAYERS[:-1], r"the arrays 'fc.weight' belong to none of the layers"),
        (state(), "relu", "layers: must be a list of layers, got str"),
        (state(), ["tanh"], r"ann_from_torch: layer 0 \(tanh\): is no supported layer; those are avg_pool, batch_norm"),
        (state(), [3], r"layer 0 \(3\): is no supported layer"),
        (state(), ["linear"], r"must be \('linear', name of its arrays\)"),
        (state(), [("relu", "conv")], r"must be 'relu' or \('relu', options\)"),
        (
            state(),
            [("conv2d", "conv", {"dilation": 2})],
            "has the unknown option 'dilation'; known are groups, padding",
        ),
        (state(), [("relu", {"slope": 0.1})], "has the unknown option 'slope'; known are none"),
        (state(), ["max_pool"], "needs a size: \\('max_pool', {\"size\": 2}\\)"),
        (state(), [("linear", "fc3")], "there is no array 'fc3.weight', only 'conv.bias', 'conv.weight'"),
        (changed(conv__weight=np.full((3, 2, 3, 3), np.nan)), LAYERS, r"layer 0 .*Convolution.weight: must be finite"),
        (changed(fc__weight=np.ones((4, 17))), LAYERS, r"layer 7 \(\('linear', 'fc'\)\): Linear: its weights take 17"),
        (changed(fc__weight=np.ones(4)), LAYERS, r"layer 7 .*Linear.weight: must have shape"),
        (changed(norm__running_var=-np.ones(3)), LAYERS, r"layer 1 .*BatchNorm.variance: must be >= 0"),
        (changed(flat__running_var=np.ones(3)), LAYERS, r"layer 5 .*BatchNorm.variance: must have as many values"),
        (changed(fc__bias=np.array(["a"])), LAYERS, "layer 7 .*fc.bias: must hold real numbers"),
        ({}, [("avg_pool", {"size": 9})], "a window of 9 x 9 does not fit"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arrays, layers, message):
    with pytest.raises(ValidationError, match=message):
        ann_from_torch((arrays, layers), (7, 8, 2))


def test_load_ann_refuses_bad_files_and_arguments(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, **state())
    with pytest.raises(ValidationError, match=r"holds plain arrays \(conv.weight \(3, 2, 3, 3\).*say what they are"):
        load_ann(path)
    with pytest.raises(
        ValidationError, match="load_ann.layout: must be one of channel_first, channel_last, got 'NCHW'"
    ):
        load_ann(path, LAYERS, (7, 8, 2), layout="NCHW")
    with pytest.raises(DataError, match="load_ann\\(path, layers=, input_shape=\\)"):
        ANN.load(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="arrays.npz: damaged, it is truncated"):
        load_ann(path, LAYERS, (7, 8, 2))
    path.write_bytes(pickle.dumps(state()))
    with pytest.raises(DataError, match="arrays.npz: is a pickle"):
        load_ann(path, LAYERS, (7, 8, 2))


@pytest.mark.parametrize("given", ["model.pt", b"bytes"])
def test_ann_from_torch_takes_no_files(given):
    with pytest.raises(ValidationError, match="takes the module, not a file"):
        ann_from_torch(given, (2,))


def test_ann_from_torch_refuses_what_is_no_module():
    with pytest.raises(ValidationError, match=r"layer 0 \(module, int\): is not supported"):
        ann_from_torch(3, (2,))
