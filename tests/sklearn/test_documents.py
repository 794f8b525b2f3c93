"""The docstrings of the estimators say everything, once, and the HTML shows it."""

import inspect
import re

import pytest

pytest.importorskip("sklearn")

from fastsm.sklearn import MLPClassifier, MLPRegressor

ESTIMATORS = [MLPClassifier, MLPRegressor]
X, Y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]


def section(text, title):
    """Return the entries of a section of a numpydoc text, by name, and what they say."""
    body = re.split(rf"^{title}\n-+\n", text, flags=re.MULTILINE)[1]
    body = re.split(r"^\w[\w ]*\n-{3,}$", body, flags=re.MULTILINE)[0]
    entries = re.split(r"^(\w+) : ", body, flags=re.MULTILINE)[1:]
    return dict(zip(entries[::2], entries[1::2], strict=True))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_parameters_in_order(estimator):
    """With the defaults that they have."""
    documented = section(inspect.getdoc(estimator), "Parameters")
    parameters = inspect.signature(estimator).parameters
    assert list(documented) == list(parameters)
    for name, words in documented.items():
        default = words.splitlines()[0].split("default=")[1].replace('"', "'")
        assert repr(parameters[name].default) == default or float(default) == parameters[name].default


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_attributes_are_there(estimator):
    """Those that a fit leaves, and no others, but for the names of features."""
    documented = set(section(inspect.getdoc(estimator), "Attributes"))
    model = estimator(hidden_layer_sizes=(2,), solver="lbfgs", alpha=1.0, random_state=0).fit(X, Y)
    public = {name for name in (*vars(model), "coefs_", "intercepts_") if re.fullmatch(r"[a-z]\w*_", name)}
    assert documented - {"feature_names_in_"} == public | {"n_features_in_"}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_methods_say_what_they_take(estimator):
    """Every argument, and what is returned."""
    names = {name for name in vars(estimator) if not name.startswith("_")}
    names |= {
        name for base in estimator.__mro__ if base.__module__.startswith("fastsm") for name in vars(base)
    }
    methods = {name for name in names if not name.startswith("_") and callable(getattr(estimator, name))}
    for name in methods - {"to_sklearn"}:
        method = getattr(estimator, name)
        text = inspect.getdoc(method)
        arguments = [argument for argument in inspect.signature(method).parameters if argument != "self"]
        assert list(section(text, "Parameters")) == arguments, name
        assert "Returns\n-------" in text


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_part_was_forgotten(estimator):
    """No name in brackets is left, and the lines are no longer than others."""
    text = inspect.getdoc(estimator)
    assert not re.search(r"^\s*\[", text, flags=re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 110
    for number in range(1, 7):
        assert f".. [{number}] " in text
        assert f"[{number}]_" in text


@pytest.mark.parametrize(
    ("estimator", "changed"), [(MLPClassifier, {"label_smoothing": 0.1}), (MLPRegressor, {"clip_norm": 0.5})]
)
def test_html(estimator, changed):
    """scikit-learn's, with the parameters that were changed, fitted or not."""
    model = estimator(hidden_layer_sizes=(3,), solver="lbfgs", alpha=1.0, random_state=0, **changed)
    for fitted in (model, model.fit(X, Y)):
        html = fitted._repr_html_()
        assert estimator.__name__ in html
        assert "hidden_layer_sizes" in html
        assert next(iter(changed)) in html
    assert repr(model).startswith(f"{estimator.__name__}(")
