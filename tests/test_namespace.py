import ast
import subprocess
import sys
from pathlib import Path

import pytest

import eventsnn

# The public API: changing this list is a change of the library that CHANGELOG.md must name.
PUBLIC = [
    "ANN",
    "IF",
    "LI",
    "LIF",
    "SGD",
    "Adam",
    "Arctan",
    "AvgPool2d",
    "BiasSpikes",
    "BinningWarning",
    "Boxcar",
    "CheckpointError",
    "ClippedDelay",
    "Clock",
    "ClockedResult",
    "ConfigError",
    "Constant",
    "Conv2d",
    "CosineDecay",
    "CurrentLIF",
    "Currents",
    "CustomSurrogate",
    "DataError",
    "DelayL2",
    "Dense",
    "EulerForward",
    "EventSNNError",
    "Exponential",
    "ExponentialDecay",
    "FastSigmoid",
    "FirstSpikeCrossEntropy",
    "FirstSpikeMSE",
    "Gaussian",
    "Hardware",
    "IFRun",
    "ImageShift",
    "IntegralCrossEntropy",
    "Layer",
    "Leaky",
    "LearnedDelay",
    "MarginPenalty",
    "Margins",
    "MaxPool2d",
    "MaxVoltageCrossEntropy",
    "MembraneCrossEntropy",
    "MissingDependencyError",
    "MultiGaussian",
    "MultiStepDecay",
    "Network",
    "ParameterMonitor",
    "Pooled",
    "Population",
    "Projection",
    "ReLUDerivative",
    "Repeat",
    "Result",
    "Sequential",
    "ShiftInvariantMSE",
    "ShiftedDelay",
    "Sigmoid",
    "SigmoidDelay",
    "SilentHinge",
    "SimulationError",
    "Sparse",
    "SpikeAsGradient",
    "SpikeCountCrossEntropy",
    "SpikeCountLowerBound",
    "SpikeCountMSE",
    "SpikeCountSurrogate",
    "SpikeCountTarget",
    "SpikeCountUpperBound",
    "SpikeRateCrossEntropy",
    "SpikeRateL1",
    "SpikeRateL2",
    "Spikes",
    "SpikingNetwork",
    "StepDecay",
    "StepNeuron",
    "StraightThrough",
    "Synaptic",
    "TargetSpikeTimes",
    "ThresholdNoise",
    "Trainer",
    "Triangular",
    "ValidationError",
    "VanRossum",
    "VoltageCrossEntropy",
    "VoltageGradient",
    "WeightBumping",
    "ann_from_onnx",
    "ann_from_sklearn",
    "ann_from_torch",
    "check_eventprop",
    "check_gradients",
    "concatenate",
    "convert",
    "datasets",
    "decode_first_spike",
    "decode_max_membrane",
    "decode_rate",
    "encode_delta",
    "encode_latency",
    "encode_latency_rc",
    "encode_latency_steps",
    "encode_rate",
    "eventprop",
    "given_spikes",
    "load_ann",
    "loss_and_grad",
    "margins",
    "plotting",
    "poisson_spikes",
    "regular_spikes",
    "simulate",
    "simulate_clocked",
    "simulate_if",
    "surrogate_of",
]

HEAVY = [
    "numba",
    "llvmlite",
    "matplotlib",
    "sklearn",
    "pandas",
    "sparse",
    "scipy",
    "mpmath",
    "pydantic",
    "ruamel",
    "pooch",
]


def test_all_is_pinned():
    assert eventsnn.__all__ == PUBLIC  # constants, classes, functions, each sorted: ruff's order


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_resolves_and_is_documented(name):
    value = getattr(eventsnn, name)
    assert value.__doc__
    assert value.__doc__.strip()
    assert getattr(value, "__name__", name) in (name, f"eventsnn.{name}")


def test_dir_lists_every_public_name():
    assert set(PUBLIC) | {"__version__"} <= set(dir(eventsnn))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'eventsnn' has no attribute 'nonsense'"):
        _ = eventsnn.nonsense


def test_lazy_names_are_what_type_checkers_see():
    tree = ast.parse(Path(eventsnn.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {node.module: {alias.name for alias in node.names} for node in block.body}
    assert seen.pop("eventsnn") == set(eventsnn._SUBMODULES)
    assert seen == {module: set(names) for module, names in eventsnn._LAZY.items()}


def test_import_loads_nothing_heavy():
    code = f"import sys, eventsnn; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_datasets_load_nothing_heavy():
    code = f"import sys, eventsnn; eventsnn.datasets.load_xor(); print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
