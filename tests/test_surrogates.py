"""Every formula against mpmath in both precisions, its area, symmetry and support; lookup; functions of the user."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
import subprocess
import sys

import numba
import numpy as np
import pytest
from mpmath import inf, mpf, quad, workdps

import eventsnn
from eventsnn import (
    Arctan,
    Boxcar,
    CustomSurrogate,
    Exponential,
    FastSigmoid,
    Gaussian,
    MultiGaussian,
    ReLUDerivative,
    Sigmoid,
    SpikeAsGradient,
    StraightThrough,
    Triangular,
    ValidationError,
    surrogate_of,
)
from eventsnn.surrogates.lookup import SURROGATES
from tests.reference import surrogates as formulas

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")

CASES = [
    ReLUDerivative(),
    SpikeAsGradient(),
    StraightThrough(),
    Boxcar(),
    Boxcar(0.3),
    Triangular(),
    Triangular(height=2.0, width=0.7),
    FastSigmoid(),
    FastSigmoid(slope=1.3),
    Arctan(),
    Arctan(alpha=7.0),
    Sigmoid(),
    Sigmoid(slope=0.8),
    Gaussian(),
    Gaussian(width=0.11),
    Exponential(),
    Exponential(scale=0.3, slope=5.0),
    MultiGaussian(),
    MultiGaussian(width=0.3, depth=0.4, spread=2.5, scale=1.7),
    MultiGaussian(depth=0.0),
]
TYPES = [np.float32, np.float64]
both_types = pytest.mark.parametrize("dtype", TYPES, ids=["float32", "float64"])
every_case = pytest.mark.parametrize("surrogate", CASES, ids=repr)


def exact(surrogate, x):
    """The oracle at every x."""
    parameters = dataclasses.astuple(surrogate)
    return [getattr(formulas, surrogate.name)(mpf(float(one)), *parameters) for one in x]


def potentials(dtype):
    rng = np.random.default_rng(0)
    parts = rng.normal(0.0, 1.0, 150), rng.normal(0.0, 0.05, 150), rng.uniform(-8.0, 8.0, 50), [0.0, -0.0, 1e-6, -1e-6]
    return np.concatenate(parts).astype(dtype)


def exponents(surrogate, x):
    """How large the exponents are in the formula at x: their rounding errors come out as relative errors."""
    if isinstance(surrogate, (Sigmoid, Exponential)):
        return surrogate.slope * np.abs(x)
    if isinstance(surrogate, (Gaussian, MultiGaussian)):
        return (np.abs(x) / surrogate.width) ** 2 / 2
    return np.zeros_like(x)


# -- formulas -------------------------------------------------------------------------------------------------


@both_types
@every_case
def test_derivative_is_the_formula(surrogate, dtype):
    x = potentials(dtype)
    with workdps(120):  # s (1 - s) of a sigmoid at exponent 200 cancels to 1e-87
        expected = np.array([float(value) for value in exact(surrogate, x)])
    found = surrogate.derivative(x)
    assert found.dtype == dtype
    eps = np.finfo(dtype).eps
    # About ten roundings of half an eps each, those of an exponent z amplified to z of them: 4 eps (1 + z) has been
    # enough. The terms of MultiGaussian cancel: there relative to the height instead. `cut` is what apply's docstring
    # says is left out (the factor of a sigmoid's exponential is four times its height).
    bound = 4 * eps * (1 + exponents(surrogate, x.astype(float))) * np.abs(expected)
    if isinstance(surrogate, MultiGaussian):
        bound = 6 * eps * surrogate.derivative(0.0)
    if isinstance(surrogate, Triangular):  # width - |x| has the error of its terms, not of their difference
        bound = 4 * eps * surrogate.height
    cut = 4 * surrogate.derivative(0.0) * np.exp(-87.0 if dtype == np.float32 else -708.0)
    assert np.all(np.abs(found.astype(float) - expected) <= bound + cut)


@every_case
def test_derivative_has_the_area_of_its_docstring(surrogate):
    area = {
        "boxcar": lambda s: 1.0,
        "triangular": lambda s: s.height * s.width,
        "fast_sigmoid": lambda s: 2 / s.slope,
        "arctan": lambda s: 1.0,
        "sigmoid": lambda s: 1.0,
        "gaussian": lambda s: 1.0,
        "exponential": lambda s: 2 * s.scale / s.slope,
        "multi_gaussian": lambda s: s.scale * (1 - s.depth),
    }
    if surrogate.name not in area:
        assert surrogate.support[1] == math.inf  # a step, whose area is infinite
        assert surrogate.derivative(1e6) == 1.0
        return
    high = mpf(surrogate.support[1]) if math.isfinite(surrogate.support[1]) else inf

    def half(x):
        # the rule's outermost points round to the end of the support, or lie beyond what a float holds
        return mpf(float(surrogate.derivative(float(x))))

    # Two halves: kinks and steps then lie at ends, where the rule is exact to rounding.
    ends = [mpf(0), high] if high != inf else [mpf(0), mpf(0.1), mpf(1), mpf(10), inf]
    total = 2 * quad(half, ends)
    assert abs(float(total) - area[surrogate.name](surrogate)) <= 1e-9 * area[surrogate.name](surrogate)


@every_case
def test_derivative_is_even_or_a_step(surrogate):
    x = np.abs(potentials(np.float32))
    left, right = surrogate.derivative(-x), surrogate.derivative(x)
    if isinstance(surrogate, (ReLUDerivative, SpikeAsGradient)):
        away = x > 0
        assert not left[away].any()
        assert np.all(right[away] == 1.0)
        assert surrogate.derivative(0.0) == (1.0 if isinstance(surrogate, ReLUDerivative) else 0.0)
        assert surrogate.derivative(-0.0) == surrogate.derivative(0.0)
    else:
        assert left.tobytes() == right.tobytes()


@both_types
@every_case
def test_derivative_of_infinite_potentials_is_the_limit(surrogate, dtype):
    left, right = surrogate.derivative(np.array([-np.inf, np.inf], dtype))
    assert right == (1.0 if surrogate.support[1] == math.inf and surrogate.derivative(1e30) == 1.0 else 0.0)
    assert left == (1.0 if isinstance(surrogate, StraightThrough) else 0.0)


@both_types
@pytest.mark.parametrize(
    "surrogate",
    [Boxcar(), Boxcar(0.2), Boxcar(0.7), Triangular(), Triangular(0.3, 0.1), Triangular(2.0, 0.7), ReLUDerivative(),
     SpikeAsGradient()],
    ids=repr,
)  # fmt: skip
def test_support_is_where_it_is_not_zero(surrogate, dtype):
    low, high = surrogate.support
    for end, inwards in ((low, math.inf), (high, -math.inf)):
        if math.isinf(end):
            continue
        # All numbers of the type near the end. A support such as 0.1 lies between two float32 numbers.
        x = np.array([dtype(end)])
        for direction in (-np.inf, np.inf):
            x = np.append(x, np.nextafter(x[-1], dtype(direction)))
            x = np.append(x, np.nextafter(x[0], dtype(direction)))
        x = np.unique(x)
        inside = (low < x.astype(float)) & (x.astype(float) < high)
        assert not surrogate.derivative(x[~inside]).any()
        well_inside = np.nextafter(np.nextafter(dtype(end), dtype(inwards)), dtype(inwards))
        if not isinstance(surrogate, ReLUDerivative):  # which is 0 between the end of its support and 0
            assert surrogate.derivative(well_inside) > 0


def test_support_of_relu_derivative_holds_zero_in_both_types():
    low, _ = ReLUDerivative().support
    for dtype in TYPES:
        assert dtype(low) < dtype(0.0)  # it would not if the end were rounded to 0 in float32


@pytest.mark.parametrize("surrogate", [FastSigmoid(), Arctan(), Sigmoid(), Gaussian(), Exponential(), MultiGaussian()])
def test_support_of_what_never_vanishes_is_everything(surrogate):
    assert surrogate.support == (-math.inf, math.inf)
    assert surrogate.derivative(3.0) != 0


# -- calls ----------------------------------------------------------------------------------------------------


@both_types
@every_case
def test_apply_in_place_gives_the_same_bits(surrogate, dtype):
    x = potentials(dtype)
    before, out = x.copy(), np.full_like(x, np.nan)
    surrogate.apply(x, out)
    assert x.tobytes() == before.tobytes()
    surrogate.apply(x, x)
    assert x.tobytes() == out.tobytes()
    assert out.tobytes() == surrogate.derivative(before).tobytes()


WITHOUT_COMPILER = """
import numpy as np
from eventsnn import surrogate_of
from eventsnn.surrogates.lookup import SURROGATES
for name in SURROGATES:
    for dtype in (np.float32, np.float64):
        found = surrogate_of(name).derivative(np.array([-np.inf, -0.3, 0.0, 0.02, 0.4, 7.0, np.inf], dtype))
        print(name, found.dtype, *map(float, found))
"""


def test_derivative_is_the_same_without_the_compiler():
    environment = dict(os.environ, NUMBA_DISABLE_JIT="1")
    command = [sys.executable, "-W", "error", "-c", WITHOUT_COMPILER]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(SURROGATES)
    for line in lines:
        name, dtype, *values = line.split()
        x = np.array([-np.inf, -0.3, 0.0, 0.02, 0.4, 7.0, np.inf], dtype)
        expected = surrogate_of(name).derivative(x)
        # the compiler contracts a product and a sum to one rounding; exponents here reach 100
        bound = 200 * np.finfo(dtype).eps
        np.testing.assert_allclose(np.array(values, float), expected, rtol=bound, atol=1e-37)


@every_case
def test_apply_of_nothing(surrogate):
    surrogate.apply(np.empty(0), np.empty(0))


@pytest.mark.parametrize(
    ("x", "out"),
    [
        (np.zeros(3), np.zeros(4)),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.zeros((3, 1)), np.zeros((3, 1))),
        (np.zeros(6)[::2], np.zeros(3)),
        (np.zeros(3), np.zeros(6)[::2]),
        (np.zeros(3, int), np.zeros(3, int)),
        (np.zeros(3, np.float16), np.zeros(3, np.float16)),
    ],
)
def test_apply_refuses_other_arrays(x, out):
    with pytest.raises(ValidationError, match=r"Arctan\.apply: x and out must be flat, C-contiguous"):
        Arctan().apply(x, out)


def test_apply_refuses_a_read_only_output():
    out = np.zeros(3)
    out.flags.writeable = False
    with pytest.raises(ValidationError, match="out writeable"):
        Arctan().apply(np.zeros(3), out)


def test_derivative_keeps_shape_and_leaves_its_argument_alone():
    x = np.arange(6.0).reshape(2, 3).T
    found = Arctan().derivative(x)
    assert found.shape == (3, 2)
    assert np.array_equal(found[2, 1], Arctan().derivative(5.0))
    assert np.array_equal(x, np.arange(6.0).reshape(2, 3).T)
    assert Arctan().derivative(0.0).shape == ()
    assert Arctan().derivative([]).shape == (0,)
    assert Arctan().derivative(np.array([1, 2])).dtype == np.float64
    assert Arctan().derivative(np.array([1, 2], ">f4")).dtype.isnative


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0.0, 1.0], [2.0, math.nan]], r"Arctan.derivative: x is NaN at index \(1, 1\)"),
        (math.nan, r"x is NaN at index \(\)"),
        (["a"], "must hold real numbers, got dtype <U1"),
        ([1j], "must hold real numbers, got dtype complex128"),
        ([True], "must hold real numbers, got dtype bool"),
    ],
)
def test_derivative_refuses_what_is_no_number(x, message):
    with pytest.raises(ValidationError, match=message):
        Arctan().derivative(x)


# -- parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-10, 1e10, math.nan, math.inf, "1", None, True, np.ones(2)])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, field.name) for kind in SURROGATES.values() for field in dataclasses.fields(kind)],
)
def test_parameters_out_of_range(kind, name, value):
    if (name, value if isinstance(value, float) else None) == ("depth", 0.0):
        assert kind(depth=0.0).depth == 0.0
        return
    with pytest.raises(ValidationError, match=rf"{kind.__name__}\.{name}: must be "):
        kind(**{name: value})


@both_types
@pytest.mark.parametrize("value", [1e-9, 1e9])
@pytest.mark.parametrize("kind", SURROGATES.values())
def test_extreme_parameters_stay_finite(kind, value, dtype):
    surrogate = kind(**{field.name: value for field in dataclasses.fields(kind)})
    with np.errstate(over="ignore"):  # without a compiler NumPy says that a square is infinite; its inverse is 0
        found = surrogate.derivative(np.array([-1e3, -1e-3, 0.0, 1e-3, 1e3], dtype))
    assert np.isfinite(found).all()


def test_surrogates_are_values():
    assert Arctan(2) == Arctan(2.0) != Arctan(3.0)
    assert isinstance(Arctan(2).alpha, float)
    assert len({Arctan(), Arctan(), Sigmoid()}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Arctan().alpha = 3.0
    for surrogate in CASES:
        assert pickle.loads(pickle.dumps(surrogate)) == surrogate


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogate_of_knows_every_name(name):
    surrogate = surrogate_of(name)
    assert surrogate == SURROGATES[name]()
    assert surrogate.name == name
    assert type(surrogate).__name__ in eventsnn.__all__


def test_surrogate_of_passes_options():
    assert surrogate_of("triangular", height=1.0, width=2) == Triangular(1.0, 2.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fast_sigmoud", {}, r"surrogate_of: no surrogate 'fast_sigmoud'; did you mean 'fast_sigmoid'\? there are: "),
        ("zzz", {}, "no surrogate 'zzz'; there are: 'relu_derivative', "),
        (3, {}, "no surrogate 3; there are"),
        ("fast_sigmoid", {"slop": 1.0}, r"surrogate_of\('fast_sigmoid'\): no parameter 'slop'; did you mean 'slope'\?"),
        ("straight_through", {"slope": 1.0}, "no parameter 'slope'; there are: none"),
        ("fast_sigmoid", {"slope": -1.0}, r"FastSigmoid\.slope: must be in 1e-09 \.\. 1e\+09, got -1\.0"),
    ],
)
def test_surrogate_of_unknown_names(name, options, message):
    with pytest.raises(ValidationError, match=message):
        surrogate_of(name, **options)


# -- functions of the user ------------------------------------------------------------------------------------


def parabola(x):
    return 0.75 * (1.0 - x * x)


def reciprocal(x):
    return 1.0 / x


def with_default(x, slope=2.0):
    return math.exp(-slope * abs(x))


@both_types
def test_custom_surrogate_is_the_function_inside_its_support(dtype):
    surrogate = CustomSurrogate(parabola, support=(-1, 1))
    x = potentials(dtype)
    # parabola itself in float64, rounded once, with at most one contraction of its three operations
    expected = np.where(np.abs(x) < 1, 0.75 * (1.0 - x.astype(float) ** 2), 0.0)
    found = surrogate.derivative(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=np.finfo(dtype).eps)
    surrogate.apply(x, x)
    assert x.tobytes() == found.tobytes()
    assert surrogate.derivative([-1.0, 1.0, np.nextafter(1.0, 0.0)]).tolist()[:2] == [0.0, 0.0]
    assert (surrogate.name, surrogate.support) == ("parabola", (-1.0, 1.0))


def test_custom_surrogate_is_not_called_outside_its_support():
    surrogate = CustomSurrogate(reciprocal, support=(0.5, math.inf))
    assert surrogate.derivative([-1.0, 0.0, 0.5, 2.0]).tolist() == [0.0, 0.0, 0.0, 0.5]


def test_custom_surrogate_of_booleans_defaults_and_outside_numbers():
    height = 3.0
    assert CustomSurrogate(lambda x: x > 0).derivative([-1.0, 0.0, 2.0]).tolist() == [0.0, 0.0, 1.0]
    assert CustomSurrogate(lambda x: height).derivative([1.0]).tolist() == [3.0]
    # one exp, in another library than NumPy's: a unit in the last place
    np.testing.assert_allclose(CustomSurrogate(with_default).derivative([0.5]), math.exp(-1.0), rtol=4e-16)


@needs_jit
def test_custom_surrogate_takes_a_compiled_function():
    assert CustomSurrogate(numba.njit(parabola), support=(-1, 1)).derivative(0.0) == 0.75


def test_custom_surrogate_names():
    assert CustomSurrogate(lambda x: 1.0).name == "custom"
    assert CustomSurrogate(parabola, (-1, 1), name="parabolic").name == "parabolic"
    with pytest.raises(ValidationError, match=r"CustomSurrogate\.name: must be a string that is not empty, got ''"):
        CustomSurrogate(parabola, (-1, 1), name="")


def test_custom_surrogate_equals_and_pickles():
    surrogate = CustomSurrogate(parabola, (-1, 1))
    again = pickle.loads(pickle.dumps(surrogate))
    assert again == surrogate
    assert hash(again) == hash(surrogate)
    assert again.derivative(0.5) == surrogate.derivative(0.5)
    assert surrogate != CustomSurrogate(parabola, (-0.5, 0.5))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(CustomSurrogate(lambda x: 1.0))


NAN_FAR_AWAY = lambda x: math.nan if x > 500 else 1.0  # noqa: E731


@pytest.mark.parametrize(
    ("function", "support", "message"),
    [
        (reciprocal, None, r"CustomSurrogate\('reciprocal'\)\.function: must return finite numbers, returned inf at x ="
                           r" 0 \(float64\); a narrower support=\(low, high\)"),
        (reciprocal, (0, 1), r"returned inf at x = 4\.94066e-324"),
        (lambda x: math.nan, None, "'custom'.*returned nan at x = -1000"),
        (NAN_FAR_AWAY, None, "returned nan at x = 1000"),
        (lambda x: math.nan if x > 0.9999999 else 1.0, (-1, 1), "returned nan at x = 1 "),
        (lambda x: math.nan if 0.0 < x < 1e-5 else 1.0, None, "returned nan at x = 1e-06"),
        (lambda x: (x, x), None, r"must return a number, returned \(.*\) at x = -1000"),
        (lambda x: 1j * x, None, "must return a number, returned .*j"),
        (lambda x: None, None, "must return a number, returned None at x = -1000"),
        (lambda: 1.0, None, r"'custom'\)\.function: must be callable with one argument, .* it is <lambda>\(\)"),
        (lambda x, y: x, None, r"must be callable with one argument, .* it is <lambda>\(x, y\)"),
        (lambda *, x: x, None, "must be callable with one argument"),
        (3, None, "must be a Python function of x, got 3; wrap it in one"),
        (np.exp, None, "must be a Python function of x, got <ufunc 'exp'>"),
        (math.exp, None, "must be a Python function of x"),
    ],
)  # fmt: skip
def test_custom_surrogate_refuses_functions(function, support, message):
    options = {} if support is None else {"support": support}
    with pytest.raises(ValidationError, match=message):
        CustomSurrogate(function, **options)


def raises_above(x):
    if x > 5.0:
        raise ValueError("too far")
    return 1.0


def test_custom_surrogate_refuses_a_function_that_raises():
    with pytest.raises(ValidationError, match=r"'raises_above'\)\.function: raises ValueError\('too far'\) at x = 10"):
        CustomSurrogate(raises_above)
    assert CustomSurrogate(raises_above, (-5, 5)).derivative(6.0) == 0.0


def uses_a_module(x):
    return sys.getsizeof(x)


def adds_text(x):
    return "a" + x


@needs_jit
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (uses_a_module, r"^CustomSurrogate\('uses_a_module'\)\.function: does not compile: Unknown attribute 'getsize"),
        (adds_text, r"does not compile: No implementation of function .* for signature: add\(.*float64\)$"),
        (lambda x: parabola(x), r"does not compile: Untyped global name 'parabola'"),
        (lambda x: nowhere(x), r"does not compile: NameError: name 'nowhere' is not defined"),  # noqa: F821
    ],
)  # fmt: skip
def test_custom_surrogate_says_why_it_does_not_compile(function, message):
    with pytest.raises(ValidationError, match=message) as caught:
        CustomSurrogate(function)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None  # numba's whole message


def test_custom_surrogate_tries_float32_when_it_is_first_used():
    surrogate = CustomSurrogate(lambda x: 1e39, name="large")
    assert surrogate.derivative(1.0) == 1e39
    with pytest.raises(ValidationError, match=r"'large'.*returned inf at x = -1000 \(float32\)"):
        surrogate.apply(np.zeros(1, np.float32), np.zeros(1, np.float32))


def test_custom_surrogate_leaves_later_values_to_the_caller_and_derivative_looks_at_them():
    surrogate = CustomSurrogate(lambda x: math.nan if x == 0.123 else 1.0)
    x = np.array([0.0, 0.123])
    surrogate.apply(x, x)
    assert np.isnan(x).tolist() == [False, True]
    with pytest.raises(ValidationError, match="returned nan at x = 0.123"):
        surrogate.derivative([0.0, 0.123])


@pytest.mark.parametrize(
    ("support", "message"),
    [
        ((1.0, -1.0), r"CustomSurrogate\('parabola'\)\.support: must have low < high, got \(1\.0, -1\.0\)"),
        ((0.0, 0.0), "must have low < high"),
        ((0.0, math.nan), "must have low < high"),
        (1.0, "must be two numbers"),
        ((0.0, 1.0, 2.0), "must be two numbers"),
        ("ab", "must be two numbers"),
    ],
)
def test_custom_surrogate_refuses_a_support(support, message):
    with pytest.raises(ValidationError, match=message):
        CustomSurrogate(parabola, support=support)
