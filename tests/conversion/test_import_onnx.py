"""ann_from_onnx against ONNX's own reference evaluator."""

import pickle
import sys

import numpy as np
import pytest

from eventsnn import DataError, MissingDependencyError, ValidationError, ann_from_onnx

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator
except ImportError:
    onnx = None
needs_onnx = pytest.mark.skipif(onnx is None, reason="onnx is not installed: pip install 'eventsnn[onnx]'")


class Chain:
    """Builds a graph of operators in a row; arrays become initialisers."""

    def __init__(self, shape, dtype=np.float64):
        self.shape, self.dtype, self.nodes, self.initializers, self.value = shape, dtype, [], [], "x"

    def __call__(self, op, *arrays, before=(), **attributes):
        names = [self.constant(array) for array in (*before, *arrays)]
        inputs = [*names[: len(before)], self.value, *names[len(before) :]]
        self.value = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.value], name=f"{op}_{len(self.nodes)}", **attributes))
        return self

    def constant(self, array):
        if array is None:
            return ""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def model(self, opset=17, batch="n"):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info("x", kind, (batch, *self.shape))],
            [helper.make_tensor_value_info(self.value, kind, (None, None))],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def draws(*shapes, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.normal(size=shape) for shape in shapes]


def mlp():
    chain = Chain((6,))
    w1, b1, w2, w3, b3 = draws((5, 6), (5,), (5, 4), (4, 3), (1, 3))
    chain("Gemm", w1, b1, transB=1)("Relu")("MatMul", w2)("Relu")
    return chain("Gemm", w3, b3, alpha=0.5, beta=2.0)("Identity")


def cnn():
    """Asymmetric plane (7, 8), flattened with 4 channels."""
    chain = Chain((3, 7, 8))
    w1, b1, w2, w3, b3 = draws((4, 3, 3, 3), (4,), (4, 2, 2, 1), (18 * 4 // 3, 5), (5,))
    scale, shift, mean, variance = draws(4, 4, 4, 4, seed=1)
    chain("Conv", w1, b1, pads=[1, 1, 1, 1], strides=[1, 1], kernel_shape=[3, 3])
    chain("BatchNormalization", scale, shift, mean, variance**2 + 0.1, epsilon=1e-3)("Relu")
    chain("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    chain("Conv", w2, group=2)("Relu")
    chain("AveragePool", kernel_shape=[1, 2], strides=[1, 1])
    chain("Dropout")("Flatten")
    return chain("MatMul", w3)("Add", b3)


def small(*operators, shape=(2, 6, 6)):
    chain = Chain(shape)
    for op, arrays, attributes in operators:
        chain(op, *arrays, **attributes)
    return chain


W = np.random.default_rng(3).normal(size=(2, 2, 3, 3))
MODELS = {
    "mlp": mlp,
    "cnn": cnn,
    "reshape": lambda: small(("Conv", [W], {}), ("Reshape", [np.array([0, -1])], {}), ("MatMul", draws((32, 3)), {})),
    "reshape to sizes": lambda: small(("Reshape", [np.array([-1, 72])], {}), ("MatMul", draws((72, 3)), {})),
    "bias of a convolution": lambda: small(("Conv", [W], {}), ("Add", draws((1, 2, 1, 1)), {}), ("Relu", [], {})),
    "bias first": lambda: small(("MatMul", draws((4, 3)), {}), ("Add", [], {"before": draws((3,))}), shape=(4,)),
    "scalar added twice": lambda: small(
        ("MatMul", draws((4, 3)), {}), ("Add", [np.array(2.0)], {}), ("Add", draws((3,)), {}), shape=(4,)
    ),
    "auto_pad same": lambda: small(("Conv", [W], {"auto_pad": "SAME_UPPER"})),
    "auto_pad valid": lambda: small(("Conv", [W], {"auto_pad": "VALID"})),
    "global average": lambda: small(("Conv", [W], {}), ("GlobalAveragePool", [], {}), ("Flatten", [], {})),
    "global maximum": lambda: small(("Conv", [W], {}), ("GlobalMaxPool", [], {}), ("Flatten", [], {})),
    "padded average": lambda: small(
        ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1})
    ),
    "padded maximum": lambda: small(("MaxPool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]})),
    "strided": lambda: small(("Conv", [W], {"strides": [2, 1], "pads": [2, 0, 2, 0]})),
}


@needs_onnx
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_reference(name, tmp_path):
    chain = MODELS[name]()
    model = chain.model()
    onnx.save(model, tmp_path / "model.onnx")
    ann = ann_from_onnx(tmp_path / "model.onnx")
    x = np.random.default_rng(5).normal(size=(4, *chain.shape))
    [expected] = ReferenceEvaluator(model).run(None, {"x": x})
    found = ann.outputs(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    # float64 but for alpha and beta, which ONNX keeps in float32: both are powers of 2 here
    np.testing.assert_allclose(found, expected.reshape(4, -1), rtol=0, atol=1e-12 * np.abs(expected).max())


@needs_onnx
def test_constants_may_be_nodes_and_go_through_identities():
    chain = Chain((4,), np.float32)
    [weight] = draws((4, 3))
    tensor = numpy_helper.from_array(weight.astype(np.float32), "w")
    chain.nodes = [
        helper.make_node("Constant", [], ["w"], value=tensor),
        helper.make_node("Identity", ["w"], ["v"]),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    chain.value = "y"
    ann = ann_from_onnx(chain.model())
    assert ann.dtype == np.float32
    assert (ann.layers[0].weight == weight.astype(np.float32)).all()


@needs_onnx
def test_bfloat16_weights_become_float32():
    chain = Chain((2,), np.float32)
    name = "w"
    chain.initializers = [helper.make_tensor(name, TensorProto.BFLOAT16, (2, 2), [1.0, -2.5, 0.0, 3.0])]
    chain.nodes = [helper.make_node("MatMul", ["x", name], ["y"])]
    chain.value = "y"
    assert ann_from_onnx(chain.model()).layers[0].weight.tolist() == [[1.0, -2.5], [0.0, 3.0]]


@needs_onnx
def test_open_sizes_need_an_input_shape():
    chain = small(("Conv", [W], {}), shape=("channels", "height", 6))
    with pytest.raises(ValidationError, match=r"its input 'x' has shape \['\?', '\?', '\?', 6\]; give input_shape="):
        ann_from_onnx(chain.model())
    assert ann_from_onnx(chain.model(), input_shape=(5, 6, 2)).shapes == [(3, 4, 2)]


def residual():
    chain = Chain((3,))
    chain.nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "x"], ["y"])]
    chain.value = "y"
    return chain


def branch():
    chain = Chain((3,))
    chain.nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Relu", ["x"], ["y"])]
    chain.value = "y"
    return chain


def unfinished():
    chain = Chain((3,))
    chain.nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    chain.value = "y"
    return chain


def given_by_ints():
    chain = Chain((3,))
    chain.nodes = [helper.make_node("Constant", [], ["c"], value_ints=[1]), helper.make_node("Relu", ["x"], ["y"])]
    chain.value = "y"
    return chain


@needs_onnx
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: small(("Relu", [], {}), ("Tanh", [], {})),
            r"layer 1 \(operator 1, Tanh 'Tanh_1'\): is not supported; ",
        ),
        (lambda: small(("Transpose", [], {"perm": [0, 2, 3, 1]})), r"Transpose 'Transpose_0'\): is not supported"),
        (lambda: small(("Softmax", [], {}), shape=(3,)), "at the end of a network is not supported; leave it away"),
        (residual, r"operator 1, Add\): takes 'r', 'x' where the chain has come to 'r'; only chains"),
        (branch, r"takes 'x' where the chain has come to 'r'"),
        (unfinished, "the output is 'y', but the chain of operators ends with 'z'"),
        (given_by_ints, "the constant 'c' is given by value_ints"),
        (lambda: small(("Conv", [W], {"dilations": [2, 2]})), r"dilations \[2, 2\] is not supported"),
        (lambda: small(("Conv", [W], {"pads": [1, 0, 0, 0]})), "differ between opposite sides"),
        (
            lambda: small(("Conv", [W], {"auto_pad": "SAME_LOWER", "strides": [2, 2]})),
            "auto_pad SAME_LOWER is",
        ),
        (lambda: small(("Conv", draws((2, 3, 3, 3)), {})), r"layer 0 .*take 3 channels .* but get 2"),
        (lambda: small(("Conv", [W * np.nan], {})), r"operator 0, Conv 'Conv_0'\): Convolution.weight: must be finite"),
        (lambda: small(("MaxPool", [], {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1})), "ceil_mode adds"),
        (
            lambda: small(("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})),
            "count_include_pad 0 is not supported, only 1",
        ),
        (lambda: small(("Gemm", draws((4, 3)), {"transA": 1}), shape=(4,)), "transA 1 is not supported"),
        (lambda: small(("MatMul", [], {"before": draws((4, 4))}), shape=(4,)), "the weights come first"),
        (lambda: small(("MatMul", draws((5, 3)), {}), shape=(4,)), "its weights take 5 inputs"),
        (lambda: small(("Relu", [], {}), ("Add", draws((2, 1, 1)), {})), "not directly after a layer with weights"),
        (lambda: small(("Conv", [W], {}), ("Add", draws((2, 4, 4)), {})), "not one value per output"),
        (lambda: small(("Conv", [W], {}), ("Add", draws((1, 1, 1, 2)), {})), "not one value per output"),
        (lambda: small(("Reshape", [np.array([-1, 2, 36])], {})), r"to \[-1, 2, 36\] is not supported"),
        (lambda: small(("Flatten", [], {"axis": 2})), "axis 2 is not supported, only 1"),
        (
            lambda: small(("BatchNormalization", [np.ones(2)] * 4, {"training_mode": 1})),
            "training_mode 1 is not supported",
        ),
        (lambda: small(("Dropout", [np.float32(0.5), np.array(True)], {}), shape=(3,)), "export the network in eval"),
        (lambda: small(("Conv", [W], {}), ("Flatten", [], {})), "leave the last Flatten away"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(make, message):
    with pytest.raises(ValidationError, match=message):
        ann_from_onnx(make().model())


@needs_onnx
def test_two_inputs_are_refused():
    model = small(("Relu", [], {}), shape=(3,)).model()
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (3,)))
    with pytest.raises(ValidationError, match="takes a network with one input and one output, got 2 and 1"):
        ann_from_onnx(model)


@needs_onnx
def test_what_is_no_model_is_refused():
    with pytest.raises(ValidationError, match="takes a path or an onnx.ModelProto, got bytes"):
        ann_from_onnx(b"")


@needs_onnx
def test_weights_that_are_computed_are_refused():
    chain = Chain((3,))
    chain.nodes = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    chain.value = "y"
    with pytest.raises(ValidationError, match="takes 'x', 'x' where the chain has come to 'x'"):
        ann_from_onnx(chain.model())


@needs_onnx
def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(DataError, match="model.onnx: cannot be read"):
        ann_from_onnx(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="model.onnx: is a pickle"):
        ann_from_onnx(path)
    onnx.save(cnn().model(), path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="model.onnx: is no intact ONNX file"):
        ann_from_onnx(path)


def test_missing_onnx_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'eventsnn\[onnx\]'"):
        ann_from_onnx("model.onnx")
