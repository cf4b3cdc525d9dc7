"""ann_from_torch against torch's own forward pass; skipped where torch is missing (it is no dependency)."""

import numpy as np
import pytest

from eventsnn import ANN, DataError, ValidationError, ann_from_torch
from eventsnn.conversion import Linear

torch = pytest.importorskip("torch", reason="torch, which ann_from_torch is compared with, is not installed")
nn = torch.nn


def trained_looking(module, seed=0, dtype=torch.float64):
    """Weights and running statistics that are not what they begin with."""
    generator = torch.Generator().manual_seed(seed)
    module = module.to(dtype).eval()
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator, dtype=dtype))
                if name.endswith("running_var"):
                    value.abs_().add_(0.3)
    return module


def assert_same(module, ann, shape, n=5, atol=1e-11):
    """`shape` channel-first; outputs of some tens at most, float64."""
    x = np.random.default_rng(1).normal(size=(n, *shape))
    with torch.no_grad():
        expected = module(torch.tensor(x, dtype=next(module.parameters()).dtype)).numpy()
    found = ann.outputs(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected.reshape(n, -1), rtol=0, atol=atol * scale)


MLP = ((20,), lambda: nn.Sequential(nn.Linear(20, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4, bias=False)))


def layers(*modules):
    return lambda: nn.Sequential(*modules)


MODULES = {
    "mlp": MLP,
    "flattened image": ((1, 6, 5), layers(nn.Flatten(), nn.Linear(30, 4), nn.ReLU(), nn.Linear(4, 2))),
    "channels flattened": ((3, 4, 5), layers(nn.Flatten(), nn.Linear(60, 4))),
    "nested": (
        (3, 9, 8),
        layers(
            nn.Sequential(nn.Conv2d(3, 6, 3, stride=(2, 1), padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d()),
            nn.Sequential(nn.Conv2d(6, 8, (2, 3), groups=2, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            nn.Identity(),
            nn.Sequential(nn.Flatten(), nn.Dropout(), nn.BatchNorm1d(48), nn.Linear(48, 5)),
        ),
    ),
    "average": ((2, 8, 8), layers(nn.Conv2d(2, 3, 1), nn.AvgPool2d(3, 2, 1), nn.ReLU())),
    "maximum": ((2, 8, 8), layers(nn.Conv2d(2, 3, 1), nn.MaxPool2d(3, 2, 1), nn.ReLU())),
    "ceil_mode that adds nothing": ((2, 8, 8), layers(nn.Conv2d(2, 3, 1), nn.MaxPool2d(2, ceil_mode=True))),
    "adaptive": (
        (2, 8, 6),
        layers(nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d((4, 3)), nn.Flatten(), nn.Linear(36, 3)),
    ),
    "adaptive to one": ((2, 8, 6), layers(nn.Conv2d(2, 7, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    "adaptive maximum": ((2, 8, 6), layers(nn.Conv2d(2, 7, 1), nn.AdaptiveMaxPool2d((None, 2)))),
    "same": ((2, 8, 6), layers(nn.Conv2d(2, 7, (3, 5), padding="same"))),
    "valid": ((2, 8, 6), layers(nn.Conv2d(2, 7, (3, 5), padding="valid"))),
    "depthwise": ((4, 8, 6), layers(nn.Conv2d(4, 8, 3, groups=4))),
    "plain norms": ((4, 8, 6), layers(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8, affine=False, eps=1e-2))),
}


@pytest.mark.parametrize("name", MODULES)
def test_outputs_are_those_of_the_module(name):
    shape, make = MODULES[name]
    module = trained_looking(make())
    ann = ann_from_torch(module, shape if len(shape) == 1 else (*shape[1:], shape[0]))
    assert ann.dtype == np.float64
    assert_same(module, ann, shape)


def test_one_layer_is_a_network_and_float32_stays():
    module = trained_looking(nn.Linear(4, 3), dtype=torch.float32)
    ann = ann_from_torch(module, (4,))
    assert ann.dtype == np.float32
    assert_same(module, ann, (4,), atol=1e-6)  # float32
    half = ann_from_torch(module.to(torch.bfloat16), (4,))
    assert (half.layers[0].bias == module.bias.detach().float().numpy()).all()


def test_weight_normalisation_is_taken_as_it_is_now():
    module = trained_looking(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))))
    assert_same(module, ann_from_torch(module, (4,)), (4,))


def test_state_dict_and_layers_are_the_module():
    shape, make = MODULES["nested"]
    module = trained_looking(make())
    listed = [
        ("conv2d", "0.0", {"stride": (2, 1), "padding": 1}),
        ("batch_norm", "0.1"),
        "relu",
        ("conv2d", "1.0", {"groups": 2}),
        "relu",
        ("max_pool", {"size": 2}),
        "flatten",
        "dropout",
        ("batch_norm", "3.2"),
        ("linear", "3.3"),
    ]
    ann = ann_from_torch((module.state_dict(), listed), (9, 8, 3))
    assert_same(module, ann, shape)


def test_torch_files_are_refused_and_their_state_dict_is_taken(tmp_path):
    module = trained_looking(MLP[1]())
    torch.save(module.state_dict(), tmp_path / "mlp.pt")
    with pytest.raises(ValidationError, match="torch.load\\(path, weights_only=True\\)"):
        ann_from_torch(tmp_path / "mlp.pt", (20,))
    state = torch.load(tmp_path / "mlp.pt", weights_only=True)
    layers = [("linear", "0"), ("batch_norm", "1"), "relu", ("linear", "3")]
    assert_same(module, ann_from_torch((state, layers), (20,)), (20,))
    with pytest.raises(DataError, match="is a file of torch.save, pickles inside"):
        ANN.load(tmp_path / "mlp.pt")


class Own(nn.Module):
    def forward(self, x):
        return x


class OwnSequential(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + 1


def hooked():
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].register_forward_hook(lambda module, args, output: output + 1)
    return module


def hooked_outside():
    module = nn.Sequential(nn.Linear(2, 2))
    module.register_forward_hook(lambda module, args, output: output + 1)
    return module


def nan():
    module = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
    with torch.no_grad():
        module[1].weight[1, 0] = float("nan")
    return module


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (
            nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
            (2,),
            r"ann_from_torch: layer 1 \(1, Tanh\): is not supported; supp",
        ),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)), (2,), "at the end of a network; leave it away"),
        (nn.Sequential(Own()), (2,), r"layer 0 \(0, Own\): is not supported.*give \(state_dict, layers\)"),
        (Own(), (2,), r"layer 0 \(module, Own\): is not supported"),
        (OwnSequential(nn.Linear(2, 2)), (2,), r"layer 0 \(module, OwnSequential\): is not supported"),
        (hooked(), (2,), "has forward hooks"),
        (hooked_outside(), (2,), "has forward hooks"),
        (nan(), (2,), r"layer 2 \(1, Linear\): Linear.weight: must be finite, got nan at \[0, 1\]"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(2, 2)), (2,), r"layer 2 \(2, Linear\).* take 2 inputs"),
        (nn.Sequential(nn.Conv2d(3, 2, 3, dilation=2)), (8, 8, 3), "dilation \\(2, 2\\) is not supported"),
        (nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular")), (8, 8, 3), "padding_mode 'circular'"),
        (nn.Sequential(nn.Conv2d(3, 2, 2, padding="same")), (8, 8, 3), "padding 'same' of a kernel of 2 x 2"),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), (3, 8, 8), r"take 3 channels .* but get 8 of the input \(3, 8, 8\)"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), (8, 8, 3), "has no running statistics"),
        (nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), (8, 8, 3), "divisor_override is not supported"),
        (nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False)), (8, 8, 3), "count_include_pad=False"),
        (nn.Sequential(nn.AvgPool2d(3, ceil_mode=True)), (8, 8, 3), "ceil_mode adds windows"),
        (nn.Sequential(nn.MaxPool2d(2, dilation=2)), (8, 8, 3), "dilation 2 is not supported"),
        (nn.Sequential(nn.MaxPool2d(2, return_indices=True)), (8, 8, 3), "return_indices"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(3)), (8, 8, 3), "output size 3 x 3 does not divide the plane of 8 x 8"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1)), (8,), r"needs an input of shape \(height, width, channels\)"),
        (nn.Sequential(nn.Flatten(0)), (8,), r"only Flatten\(1, -1\)"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), (5, 5, 1), "leave the last Flatten away"),
        (nn.Sequential(), (5,), "the network has no layers"),
        (MLP[1]().state_dict(), (20,), r"give \(state_dict, layers\)"),
        (nn.Linear(2, 2), (2, 2), "ANN.input_shape: must be"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(module, shape, message):
    with pytest.raises(ValidationError, match=message):
        ann_from_torch(module, shape)


def test_weights_are_copies():
    module = nn.Linear(2, 2)
    ann = ann_from_torch(module, (2,))
    before = ann.layers[0].weight.copy()
    with torch.no_grad():
        module.weight.zero_()
    assert isinstance(ann.layers[0], Linear)
    assert (ann.layers[0].weight == before).all()
