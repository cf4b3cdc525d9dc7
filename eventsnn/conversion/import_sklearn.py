"""A network from scikit-learn's multi-layer perceptrons, with the scalers before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.conversion.ann import ANN
from eventsnn.conversion.ann_layers import ANNLayer, Linear, ReLU
from eventsnn.errors import MissingDependencyError, ValidationError

__all__ = ["ann_from_sklearn"]

_NAME = "ann_from_sklearn"
Floats = NDArray[np.float64]


def ann_from_sklearn(model: Any) -> ANN:
    """The network of a fitted `MLPClassifier` or `MLPRegressor`, or of a Pipeline of scalers that ends with one.

    Parameters
    ----------
    model : fitted estimator with ``activation="relu"``
        Scalers that are linear per feature (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, and
        FunctionTransformer without a function) are taken into the first layer: the network takes the features as they
        are.

    Returns
    -------
    ANN
        Its outputs are those before softmax: class k of ``model.classes_`` is output k. A classifier of two classes,
        which has one logistic output z, gets two, -z/2 and z/2, whose softmax are the same probabilities. Of a
        regressor the outputs are the predictions.

    Raises
    ------
    ValidationError
        Another estimator, one that is not fitted, another activation, several labels per sample; a path: eventsnn opens
        no pickles.
    MissingDependencyError
        scikit-learn is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from eventsnn import ann_from_sklearn
    >>> x, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((16,), max_iter=2000, random_state=0).fit(x, y)
    >>> ann = ann_from_sklearn(mlp)
    >>> ann
    ANN((4,): Linear(4 -> 16), ReLU(), Linear(16 -> 3))
    >>> bool((mlp.classes_[ann.predict(x)] == mlp.predict(x)).all())
    True
    """
    if isinstance(model, (str, bytes, Path)):
        raise ValidationError(
            f"{_NAME}: takes the fitted estimator, not a file, because files of scikit-learn's estimators are pickles, "
            "which can run any code; if you trust it, load it yourself (joblib.load) and hand over the object"
        )
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import Pipeline
    except ImportError as error:
        raise MissingDependencyError(f"{_NAME}: needs scikit-learn: pip install 'eventsnn[sklearn]'") from error
    steps = list(model.steps) if isinstance(model, Pipeline) else [("model", model)]
    mlp = steps[-1][1]
    if not isinstance(mlp, (MLPClassifier, MLPRegressor)):
        raise ValidationError(
            f"{_NAME}: takes an MLPClassifier or MLPRegressor, or a Pipeline of scalers that ends with one, got "
            f"{type(mlp).__name__}" + ("; hand over its best_estimator_" if hasattr(mlp, "best_estimator_") else "")
        )
    if not hasattr(mlp, "coefs_"):
        raise ValidationError(f"{_NAME}: the {type(mlp).__name__} is not fitted; call fit first")
    if mlp.activation != "relu" and len(mlp.coefs_) > 1:
        raise ValidationError(
            f"{_NAME}: layer 1 (activation {mlp.activation!r}): is not supported; train with activation='relu'"
        )
    weights, biases = [np.asarray(w) for w in mlp.coefs_], [np.asarray(b) for b in mlp.intercepts_]
    if mlp.out_activation_ == "logistic":
        if mlp.n_outputs_ > 1:
            raise ValidationError(
                f"{_NAME}: layer {len(weights)} (output): several labels per sample, each with a logistic output, are "
                "not supported; train one network per label"
            )
        weights[-1] = np.concatenate([-weights[-1], weights[-1]], axis=1) / 2
        biases[-1] = np.concatenate([-biases[-1], biases[-1]]) / 2
    elif mlp.out_activation_ not in ("softmax", "identity"):
        raise ValidationError(
            f"{_NAME}: layer {len(weights)} (output activation {mlp.out_activation_!r}): is not supported; train with "
            "the squared error"
        )
    weights[0], biases[0] = _scaled(steps[:-1], weights[0], biases[0])
    layers: list[ANNLayer] = []
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        try:
            layers += [Linear(weight, bias), ReLU()]
        except ValidationError as error:
            raise ValidationError(f"{_NAME}: layer {k} (coefs_[{k}]): {error}") from None
    return ANN(layers[:-1], (len(weights[0]),))


def _scaled(
    steps: list[tuple[str, Any]], weight: NDArray[Any], bias: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """First layer behind scalers: if they make x to factor * x + offset, ``factor * W`` and ``b + offset @ W``."""
    n = len(weight)
    factor, offset = np.ones(n), np.zeros(n)
    for name, step in steps:
        if step is None or step == "passthrough":
            continue
        more_factor, more_offset = _affine(name, step, n)
        factor, offset = factor * more_factor, offset * more_factor + more_offset
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by Linear, by name
        return (
            (factor[:, np.newaxis] * weight).astype(weight.dtype),
            (bias + offset @ weight.astype(np.float64)).astype(bias.dtype),
        )


def _affine(name: str, step: Any, n: int) -> tuple[Floats, Floats]:
    """A scaler as factor and offset per feature."""
    from sklearn import preprocessing

    ones = np.ones(n)
    where = f"{_NAME}: step {name!r} ({type(step).__name__})"
    if isinstance(step, preprocessing.FunctionTransformer):
        if step.func is not None:
            raise ValidationError(f"{where}: has a function, which cannot be read; apply it to the data yourself")
        return ones, 0 * ones
    kinds = (
        preprocessing.StandardScaler,
        preprocessing.MinMaxScaler,
        preprocessing.MaxAbsScaler,
        preprocessing.RobustScaler,
    )
    if not isinstance(step, kinds):
        raise ValidationError(
            f"{where}: is not supported before the network; supported are "
            f"{', '.join(kind.__name__ for kind in kinds)}. Transform the data yourself and hand over the network alone"
        )
    if getattr(step, "clip", False):
        raise ValidationError(f"{where}: clip=True is not linear; train with clip=False")
    if not hasattr(step, "n_features_in_"):
        raise ValidationError(f"{where}: is not fitted; call fit first")
    if isinstance(step, preprocessing.MinMaxScaler):
        return np.asarray(step.scale_, np.float64), np.asarray(step.min_, np.float64)
    scale = getattr(step, "scale_", None)
    centre = getattr(step, "mean_" if isinstance(step, preprocessing.StandardScaler) else "center_", None)
    if isinstance(step, preprocessing.StandardScaler) and not step.with_mean:
        centre = None  # it keeps the mean it does not subtract
    factor = ones if scale is None else 1 / np.asarray(scale, np.float64)
    return factor, 0 * ones if centre is None else -factor * np.asarray(centre, np.float64)
