"""The estimators in use: kinds of data, records, further training, pickles, searches and threads."""

import copy
import pickle
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from processes import run_program
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

import fastsm
from fastsm.sklearn import MLPClassifier, MLPRegressor
from fastsm.sklearn._network import threads_for

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = (part[:400] for part in load_digits(return_X_y=True))
X = X / 16
BINARY = np.where(Y > 4, "large", "small")


def small(**options):
    return MLPClassifier(**({"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0} | options))


def same(a, b):
    return np.array_equal(a._network.params, b._network.params)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"shuffle": False}], ids=str)
def test_sparse_inputs_give_the_same_bits(make, solver, options):
    dense = small(solver=solver, **options).fit(X, Y)
    spread = small(solver=solver, **options).fit(make(X), Y)
    assert same(dense, spread)
    assert np.array_equal(dense.predict_proba(X), spread.predict_proba(make(X)))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_sparse_matrix_is_never_made_dense(solver):
    x = sparse.random_array((20_000, 4_000), density=0.001, format="csr", dtype=np.float32, rng=0)
    y = np.arange(20_000) % 2
    estimator = small(hidden_layer_sizes=(2,), max_iter=1, solver=solver, max_fun=2)
    tracemalloc.start()
    try:
        estimator.fit(x, y).predict(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.shape[0] * x.shape[1] * 4 / 4


def test_blocks_of_rows():
    x = np.random.default_rng(0).random((2500, 3))
    y = x.sum(axis=1)
    ours = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, solver="lbfgs", random_state=0).fit
    predicted = ours(x, y).predict(x)
    assert np.array_equal(predicted, ours(sparse.csr_array(x), y).predict(x))
    np.testing.assert_allclose(predicted[1100:1101], ours(x, y).predict(x[1100:1101]), rtol=1e-12)


def test_string_labels_and_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    labels = pandas.Series(BINARY)
    estimator = small(solver="lbfgs", max_iter=30).fit(frame, labels)
    assert list(estimator.classes_) == ["large", "small"]
    assert list(estimator.feature_names_in_) == list(frame.columns)
    assert set(estimator.predict(frame)) == {"large", "small"}
    assert estimator.score(frame, labels) > 0.8
    with pytest.warns(UserWarning, match="feature names"):
        estimator.predict(X)
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame[frame.columns[::-1]])


def test_one_class():
    estimator = small().fit(X, np.full(len(X), "only"))
    assert set(estimator.predict(X)) == {"only"}


def test_several_labels():
    labels = np.column_stack([Y % 2, Y > 4, Y == 0]).astype(int)
    estimator = small(max_iter=200, learning_rate_init=0.01).fit(X, labels)
    predicted = estimator.predict(X)
    assert predicted.shape == labels.shape
    assert np.array_equal(predicted, estimator.predict_proba(X) > 0.5)
    assert np.array_equal(predicted, estimator.decision_function(X) > 0)
    assert estimator.score(X, labels) > 0.8
    assert same(estimator, clone(estimator).fit(X, sparse.csr_matrix(labels)))


def test_column_of_labels():
    with pytest.warns(DataConversionWarning):
        assert same(small().fit(X, Y[:, None]), small().fit(X, Y))


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop", "lbfgs"])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_solvers(solver, dtype):
    rate = {"sgd": 0.1}.get(solver, 0.005)
    estimator = small(solver=solver, max_iter=60, learning_rate_init=rate, dtype=dtype).fit(X, Y)
    assert estimator.score(X, Y) > 0.9
    assert estimator.coefs_[0].dtype == (dtype or "float64")
    assert len(estimator.loss_curve_) == estimator.n_iter_
    assert estimator.best_loss_ == min(estimator.loss_curve_)


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu", "silu"])
def test_activations_that_scikit_learn_lacks(activation):
    assert small(activation=activation, max_iter=100, learning_rate_init=0.01).fit(X, Y).score(X, Y) > 0.9


def test_adamw_shrinks_weights_only():
    # So small a beta_2 and epsilon that it does not matter where epsilon is added.
    options = {"alpha": 0.5, "max_iter": 1, "learning_rate_init": 0.01, "beta_2": 0.0, "epsilon": 1e-300}
    options |= {"batch_size": 400, "shuffle": False}
    start = small(**options | {"learning_rate_init": 1e-300, "alpha": 0.0}).fit(X, Y)
    plain, decayed = (small(**options | o).fit(X, Y) for o in ({"alpha": 0.0}, {"solver": "adamw"}))
    for a, b, c in zip(plain.coefs_, decayed.coefs_, start.coefs_, strict=True):
        np.testing.assert_allclose(b, a - 0.01 * 0.5 * c, atol=1e-7)
    for a, b in zip(plain.intercepts_, decayed.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e)), "joblib"])
def test_copies_go_on_as_the_original(tmp_path, solver, way):
    estimator = small(solver=solver, warm_start=True).fit(X, BINARY)
    if way == "joblib":
        joblib.dump(estimator, tmp_path / "estimator")
        other = joblib.load(tmp_path / "estimator")
    else:
        other = way(estimator)
    assert np.array_equal(estimator.predict_proba(X), other.predict_proba(X))
    more = "fit" if solver == "lbfgs" else "partial_fit"
    assert same(getattr(estimator, more)(X, BINARY), getattr(other, more)(X, BINARY))
    assert not np.shares_memory(estimator._network.params, other._network.params)


def test_losses_of_a_script():
    """`@nn.loss` in `__main__` reaches other processes, as functions do."""
    assert run_program("losses_of_a_script.py") == "done\n"


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
def test_mapped_estimators(tmp_path, mode, solver):
    """The file stays as it is, and training goes on as without mapping."""
    estimator = small(solver=solver).fit(X, Y)
    joblib.dump(estimator, tmp_path / "estimator")
    content = (tmp_path / "estimator").read_bytes()
    for _ in range(2):
        mapped = joblib.load(tmp_path / "estimator", mmap_mode=mode)
        assert np.array_equal(mapped.predict_proba(X), estimator.predict_proba(X))
        expected = copy.deepcopy(estimator).partial_fit(X, Y).partial_fit(X, Y)
        assert same(mapped.partial_fit(X, Y).partial_fit(X, Y), expected)
        assert same(mapped.fit(X, Y), estimator)
        mapped.coefs_[0][...] = 0
        assert (tmp_path / "estimator").read_bytes() == content


@pytest.mark.parametrize(("solver", "copies"), [("lbfgs", 2), ("adam", 4)])
def test_size_of_pickles(solver, copies):
    estimator = small(hidden_layer_sizes=(200,), solver=solver).fit(X, Y)
    assert len(pickle.dumps(estimator)) < (copies + 0.5) * estimator._network.params.nbytes


def test_weights_can_be_written():
    estimator = small().fit(X, Y)
    coefs = [np.ones_like(w) for w in estimator.coefs_]
    estimator.coefs_ = coefs
    estimator.intercepts_[0][...] = 7
    assert (estimator._network.params[: 64 * 8] == 1).all()
    assert (estimator.intercepts_[0] == 7).all()
    with pytest.raises(ValueError, match="shorter"):
        estimator.coefs_ = coefs[:1]


def test_best_weights_come_back():
    options = {"early_stopping": True, "warm_start": True, "max_iter": 15, "learning_rate_init": 0.01}
    estimator = small(**options).fit(X, Y)
    best = estimator._network.params.copy()
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    assert estimator.best_loss_ is None
    # A learning rate that spoils everything: the weights of the first training are still the best ones.
    estimator.set_params(learning_rate_init=5.0, solver="sgd", max_iter=2).fit(X, Y)
    assert len(estimator.validation_scores_) == len(estimator.loss_curve_) == 17
    assert np.array_equal(estimator._network.params, best)


def test_interruption_keeps_weights():
    class Interrupt:
        def on_epoch_end(self, run):
            if run.epoch == 2:
                raise KeyboardInterrupt

    for solver in ("adam", "lbfgs"):
        with pytest.warns(UserWarning, match="interrupted"):
            estimator = small(solver=solver, max_iter=50, callbacks=[Interrupt()]).fit(X, Y)
        assert estimator.n_iter_ == 2
        assert estimator.score(X, Y) > 0


def test_batches_larger_than_the_data():
    with pytest.warns(UserWarning, match="clipped") as caught:
        estimator = small(batch_size=1000).fit(X, Y)
    assert caught[0].filename == __file__
    assert same(estimator, small(batch_size=400).fit(X, Y))


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_divergence(solver):
    with pytest.raises(ValueError, match="non-finite"):
        MLPRegressor(hidden_layer_sizes=(4,), solver=solver, learning_rate_init=1e6, random_state=0).fit(
            1e200 * X, Y * 1e200
        )


def test_divergence_keeps_best_weights():
    options = {"solver": "sgd", "learning_rate_init": 1.0, "activation": "identity", "early_stopping": True}
    with pytest.warns(ConvergenceWarning, match="non-finite"):
        estimator = MLPRegressor(max_iter=50, random_state=0, **options).fit(X, Y)
    assert np.isnan(estimator.validation_scores_[-1])
    assert estimator.n_iter_ < 50
    assert np.isfinite(estimator.predict(X)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "newton"}, "solver"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
        ({"activation": "sine"}, "activation"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": 0.5, "solver": "lbfgs"}, "`dropout` must be 0"),
        (
            {"early_stopping": True, "validation_fraction": 0.001},
            "validation set is too small|should be greater",
        ),
        ({"dtype": "float16"}, "dtype"),
        ({"n_threads": 0}, "n_threads"),
    ],
    ids=str,
)
def test_parameters_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options).fit(X, Y)
    assert issubclass(InvalidParameterError, ValueError)


@pytest.mark.parametrize("more", ["partial_fit", "fit"])
def test_other_loss_in_further_training(more):
    def fitted(loss):
        return MLPRegressor(loss, (4,), max_iter=2, random_state=0, warm_start=True).fit(X, Y / 10)

    with pytest.raises(ValueError, match=r"`loss` must not become 'poisson' .* got 'poisson'"):
        getattr(fitted("squared_error").set_params(loss="poisson"), more)(X, Y / 10)
    with pytest.raises(ValueError, match=r"`loss` must stay 'poisson' .* got 'mae'"):
        getattr(fitted("poisson").set_params(loss="mae"), more)(X, Y / 10)
    plain, other = fitted("squared_error"), fitted("squared_error").set_params(loss="mae")
    assert not same(getattr(plain, more)(X, Y / 10), getattr(other, more)(X, Y / 10))


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {"learning_rate_init": 0.1}),
        ({}, {"learning_rate": lambda step: 0.1}),
        ({}, {"learning_rate": "cosine"}),
        ({"learning_rate": "cosine"}, {"max_iter": 400}),
        ({}, {"beta_1": 0.5}),
        ({}, {"beta_2": 0.5}),
        ({}, {"epsilon": 0.5}),
        ({}, {"alpha": 1.0}),
        ({}, {"clip_norm": 1e-3}),
        ({}, {"batch_size": 7}),
        ({}, {"shuffle": False}),
        ({}, {"random_state": 1}),
        ({}, {"label_smoothing": 0.5}),
        ({}, {"class_weight": {0: 7.0}}),
        ({}, {"loss": "focal"}),
        ({"solver": "adamw"}, {"alpha": 1.0}),
        ({"solver": "sgd"}, {"momentum": 0.5}),
        ({"solver": "sgd"}, {"momentum": 0.0}),
        ({"solver": "sgd", "momentum": 0.0}, {"momentum": 0.9}),
        ({"solver": "sgd"}, {"nesterovs_momentum": False}),
        *(({}, {"solver": solver}) for solver in ("sgd", "adamw", "rmsprop")),
    ],
)
def test_parameters_set_between_parts(options, changes):
    """What is set before a further `partial_fit` has an effect there, and none is lost by a copy."""
    first = small(learning_rate_init=0.01, **options).fit(X, Y)
    plain, other = copy.deepcopy(first), pickle.loads(pickle.dumps(first)).set_params(**changes)
    for _ in range(2):
        plain.partial_fit(X, Y)
        other.partial_fit(X, Y)
    assert not same(plain, other)


def test_rate_set_between_parts():
    """A new learning rate keeps what Adam remembers: the steps are larger by the same factor."""
    moves = []
    for rate in (0.001, 0.002):
        estimator = small(batch_size=400).fit(X, Y)
        before = estimator._network.params.copy()
        moves.append(estimator.set_params(learning_rate_init=rate).partial_fit(X, Y)._network.params - before)
    np.testing.assert_allclose(moves[1], 2 * moves[0], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("rate", ["adaptive", "invscaling"])
def test_rate_kept_between_parts(rate):
    """Other parameters do not take back what the epochs made of the learning rate."""
    estimator = small(solver="sgd", learning_rate=rate, max_iter=30, tol=1.0, n_iter_no_change=2).fit(X, Y)
    before = estimator._optimizer.lr
    assert before < estimator.learning_rate_init
    estimator.set_params(nesterovs_momentum=False, n_iter_no_change=99).partial_fit(X, Y)
    assert estimator._optimizer.lr <= before
    assert not estimator._optimizer.nesterov


def test_further_training_is_checked():
    estimator = small().fit(X, Y)
    with pytest.raises(ValueError, match="classes"):
        small(warm_start=True).fit(X, Y).fit(X, Y % 3)
    with pytest.raises(ValueError, match="must stay"):
        clone(estimator).set_params(warm_start=True).fit(X, Y).set_params(hidden_layer_sizes=(9,)).fit(X, Y)
    for name, value in (("activation", "tanh"), ("dropout", 0.1), ("layer_norm", True)):
        with pytest.raises(ValueError, match=f"`{name}` must stay"):
            small().fit(X, Y).set_params(**{name: value}).partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"`dtype` must stay float64 .* got float32"):
        small().fit(X, Y).set_params(dtype=np.float32).partial_fit(X, Y)
    with pytest.raises(ValueError, match="early_stopping"):
        small(early_stopping=True).partial_fit(X, Y, classes=range(10))
    with pytest.raises(ValueError, match="classes must be passed"):
        small().partial_fit(X, Y)
    with pytest.raises(AttributeError, match="partial_fit"):
        _ = small(solver="lbfgs").partial_fit
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match=r"previously unseen|must lie|not in"):
        small().partial_fit(X, Y % 3, classes=range(3)).partial_fit(X, Y)
    with pytest.raises(ValueError, match="columns"):
        MLPRegressor(hidden_layer_sizes=(3,)).partial_fit(X, Y.astype(float)).partial_fit(X, X[:, :2])
    with pytest.raises(ValueError, match="features"):
        estimator.predict(X[:, 1:])


def test_not_fitted():
    for call in ("predict", "predict_proba", "decision_function", "predict_log_proba"):
        with pytest.raises(NotFittedError):
            getattr(small(), call)(X)
    assert not hasattr(small(), "coefs_")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inputs_are_checked_when_predicting(bad):
    estimator = small().fit(X, Y)
    x = X[:3].copy()
    x[1, 2] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.predict(x)
    large = np.full((1, 64), 1e200)  # finite, though the sum of the squares is not
    with np.errstate(over="ignore"):
        assert estimator.predict(large).shape == (1,)
    assert np.array_equal(estimator.predict(X[:5].tolist()), estimator.predict(X[:5]))
    assert np.array_equal(estimator.predict(X[:5][:, ::-1][:, ::-1]), estimator.predict(X[:5]))


def test_pipelines_and_searches():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), small(max_iter=10)),
        {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__solver": ["adam", "lbfgs"]},
        cv=2,
        n_jobs=2,
        error_score="raise",
    )
    with joblib.parallel_config(backend="threading"):
        search.fit(X, BINARY)
    assert search.best_score_ > 0.8
    assert len(cross_val_score(small(), X, Y, cv=3, error_score="raise")) == 3


@pytest.mark.slow
def test_workers_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("FASTSM_NUM_THREADS", raising=False)
    assert threads_for(small()) is None
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        search = GridSearchCV(small(), {"alpha": [0.1, 1.0]}, cv=2, n_jobs=2, error_score="raise").fit(X, Y)
        shares = joblib.Parallel(n_jobs=2)(joblib.delayed(threads_for)(small()) for _ in range(2))
    assert search.best_score_ > 0
    assert shares == [1, 1]


def test_threads_asked_for(monkeypatch):
    seen = []

    class Look:
        def on_epoch_end(self, run):
            seen.append(fastsm.get_num_threads())

    before = fastsm.get_num_threads()
    monkeypatch.delenv("FASTSM_NUM_THREADS", raising=False)
    for share, asked in (("3", None), ("3,5", None), ("3", 2), ("nonsense", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", share)
        small(max_iter=1, n_threads=asked, callbacks=[Look()]).fit(X, Y).predict(X)
    assert seen == [3, 3, 2, 1]
    assert fastsm.get_num_threads() == before


def test_concurrent_fits_restore_threads():
    before = fastsm.get_num_threads()
    threads = [
        threading.Thread(target=lambda n=n: small(n_threads=n, max_iter=20).fit(X, Y)) for n in (1, 2, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fastsm.get_num_threads() == before


def test_is_imported_on_its_own():
    code = "import sys, fastsm; assert not {'sklearn', 'fastsm.sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    without = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try: import fastsm.sklearn\n"
        "except ImportError as error: assert 'pip install fastsm[sklearn]' in str(error)\n"
        "else: raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", without], check=True)
