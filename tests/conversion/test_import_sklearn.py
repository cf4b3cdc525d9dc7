"""ann_from_sklearn against scikit-learn's own predictions."""

import sys
import warnings

import numpy as np
import pytest

from eventsnn import MissingDependencyError, ValidationError, ann_from_sklearn

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn.datasets import make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler


def fitted(model, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations: they need not converge
        return model.fit(x, y)


def classification(n_classes):
    x, y = make_classification(120, 8, n_informative=6, n_classes=n_classes, random_state=0)
    return 3 * x + 2, np.array(["a", "b", "c", "d"])[y]


def classifier(*hidden, **more):
    return MLPClassifier(hidden, max_iter=20, random_state=0, **more)


def softmax(z):
    exponentials = np.exp(z - z.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


@pytest.mark.parametrize("hidden", [(), (9,), (9, 7)])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_outputs_give_the_probabilities_of_the_classifier(hidden, n_classes):
    x, y = classification(n_classes)
    model = fitted(classifier(*hidden), x, y)
    ann = ann_from_sklearn(model)
    assert ann.n_outputs == n_classes
    np.testing.assert_allclose(softmax(ann.outputs(x)), model.predict_proba(x), rtol=0, atol=1e-13)  # float64
    assert (model.classes_[ann.predict(x)] == model.predict(x)).all()


@pytest.mark.parametrize("n_targets", [1, 3])
def test_outputs_are_the_predictions_of_the_regressor(n_targets):
    x, y = make_regression(100, 5, n_targets=n_targets, random_state=1)
    model = fitted(MLPRegressor(hidden_layer_sizes=(11,), max_iter=20, random_state=0), x, y)
    expected = model.predict(x).reshape(100, n_targets)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ann_from_sklearn(model).outputs(x), expected, rtol=0, atol=1e-13 * scale)


def test_float32_stays():
    x, y = classification(3)
    model = fitted(classifier(9), x.astype(np.float32), y)
    ann = ann_from_sklearn(model)
    assert ann.dtype == np.float32
    np.testing.assert_allclose(softmax(ann.outputs(x)), model.predict_proba(x.astype(np.float32)), rtol=0, atol=1e-6)


SCALERS = {
    "standard": [StandardScaler()],
    "centre": [StandardScaler(with_std=False)],
    "divide": [StandardScaler(with_mean=False)],
    "range": [MinMaxScaler((-1, 3))],
    "largest": [MaxAbsScaler()],
    "robust": [RobustScaler()],
    "robust, centre": [RobustScaler(with_scaling=False)],
    "robust, divide": [RobustScaler(with_centering=False)],
    "several": [MinMaxScaler(), "passthrough", FunctionTransformer(), StandardScaler()],
}


@pytest.mark.parametrize("name", SCALERS)
def test_scalers_are_taken_into_the_first_layer(name):
    x, y = classification(3)
    x[:, 2] = 5.0  # a constant feature: scikit-learn divides by 1
    model = fitted(make_pipeline(*SCALERS[name], classifier(9)), x, y)
    ann = ann_from_sklearn(model)
    # float64; folding cancels means of some units
    np.testing.assert_allclose(softmax(ann.outputs(x)), model.predict_proba(x), rtol=0, atol=1e-12)


def broken(model):
    x, y = classification(3)
    model = fitted(model, x, y)
    model.coefs_[1][2, 0] = np.nan
    return model


def with_y(model, y):
    return fitted(model, classification(3)[0], y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: classifier(9), "the MLPClassifier is not fitted; call fit first"),
        (lambda: PCA(), "takes an MLPClassifier or MLPRegressor, .* got PCA"),
        (lambda: with_y(GridSearchCV(classifier(9), {"alpha": [1]}, cv=2), classification(3)[1]), "best_estimator_"),
        (lambda: make_pipeline(StandardScaler(), PCA()), "got PCA"),
        (lambda: with_y(classifier(9, activation="tanh"), classification(3)[1]), "activation 'tanh'.*is not supported"),
        (lambda: broken(classifier(9)), r"layer 1 \(coefs_\[1\]\): Linear.weight: must be finite, got nan at \[2, 0\]"),
        (lambda: with_y(classifier(9), np.eye(3, dtype=int)[np.arange(120) % 3]), "several labels per sample"),
        (
            lambda: with_y(make_pipeline(PCA(), classifier(9)), classification(3)[1]),
            r"step 'pca' \(PCA\): is not supported before the network",
        ),
        (
            lambda: with_y(make_pipeline(MinMaxScaler(clip=True), classifier(9)), classification(3)[1]),
            "clip=True is not linear",
        ),
        (
            lambda: with_y(make_pipeline(FunctionTransformer(np.abs), classifier(9)), classification(3)[1]),
            "has a function, which cannot be read",
        ),
        (
            lambda: make_pipeline(StandardScaler(), with_y(classifier(9), classification(3)[1])),
            r"step 'standardscaler' \(StandardScaler\): is not fitted",
        ),
        (lambda: "model.pkl", "takes the fitted estimator, not a file, .*pickles"),
        (lambda: b"", "takes the fitted estimator, not a file"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(make, message):
    with pytest.raises(ValidationError, match=message):
        ann_from_sklearn(make())


def test_other_output_activations_are_refused():
    x, y = make_regression(50, 5, random_state=1)
    model = fitted(MLPRegressor(hidden_layer_sizes=(4,), max_iter=5, random_state=0), x, y)
    model.out_activation_ = "exp"  # what loss="poisson" of newer releases sets
    with pytest.raises(ValidationError, match=r"layer 2 \(output activation 'exp'\): is not supported"):
        ann_from_sklearn(model)


def test_missing_scikit_learn_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'eventsnn\[sklearn\]'"):
        ann_from_sklearn(object())
