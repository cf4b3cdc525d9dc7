"""Surrogate derivatives: what takes the place of ds/dv, the derivative of a spike with respect to the potential.

On a time grid a neuron fires where x = v - v_threshold > 0. The true derivative of that step is 0 everywhere and
infinite at x = 0; training replaces it by one of these functions sigma(x). All have a formula, a default and a source
in their docstring, and the following in common:

``name``
    As in configurations and `surrogate_of`.
``support``
    (low, high): sigma is 0 outside this open interval; (-inf, inf) if it never vanishes. Where it is 0, so is the
    error that passes back through the spike, and a backward pass may skip it.
``derivative(x)``
    sigma as a new array.
``apply(x, out)``
    sigma by a compiled loop into an array that is there, for training.
"""

from eventsnn.surrogates.base import Surrogate
from eventsnn.surrogates.custom import CustomSurrogate
from eventsnn.surrogates.lookup import surrogate_of
from eventsnn.surrogates.piecewise import Boxcar, ReLUDerivative, SpikeAsGradient, StraightThrough, Triangular
from eventsnn.surrogates.smooth import Arctan, Exponential, FastSigmoid, Gaussian, MultiGaussian, Sigmoid

__all__ = ["Arctan", "Boxcar", "CustomSurrogate", "Exponential", "FastSigmoid", "Gaussian", "MultiGaussian"]
__all__ += ["ReLUDerivative", "Sigmoid", "SpikeAsGradient", "StraightThrough", "Surrogate", "Triangular"]
__all__ += ["surrogate_of"]
