"""Compare the accuracy of ``fastsm train`` by default with scikit-learn's on small tables.

``python benchmarks/tables.py`` prints the table of docs/use/command.md, of five seeds and five folds.
"""

import contextlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.base import ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastsm._command import main

SEEDS, FOLDS = 5, 5


def churn(rows: int = 3000) -> pd.DataFrame:
    """Return customers who leave or stay: numbers, some missing, and choices; not linear in the age."""
    rng = np.random.default_rng(0)
    age = rng.normal(45, 14, rows).clip(18, 90).round()
    since, city = rng.integers(1, 120, rows), rng.choice(["Rome", "Bonn", "Paris"], rows)
    vip, income = rng.random(rows) < 0.2, np.exp(rng.normal(10, 0.6, rows)).round(2)
    score = 1.2 * (city == "Rome") - 1.5 * vip - 0.02 * since + 0.8 * np.sin(age / 6) - 0.04 * (age - 45)
    leaves = rng.random(rows) < 1 / (1 + np.exp(-2 * (score + 0.6)))
    age[rng.random(rows) < 0.05] = np.nan
    return pd.DataFrame(
        {"age": age, "income": income, "since": since, "city": city, "vip": vip, "target": leaves}
    )


TABLES = {
    **{
        name: lambda name=name: getattr(datasets, f"load_{name}")(as_frame=True).frame
        for name in ("iris", "wine", "breast_cancer", "digits")
    },
    "churn": churn,
}


def theirs(model: ClassifierMixin, train: pd.DataFrame, test: pd.DataFrame) -> float:
    """Return the accuracy of a classifier of scikit-learn in a pipeline."""
    x = train.drop(columns="target")
    texts = [name for name in x if x[name].dtype.kind not in "iuf"]
    scaled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = make_column_transformer((OneHotEncoder(), texts), remainder=scaled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline = make_pipeline(columns, model).fit(x, train["target"])
    return pipeline.score(test.drop(columns="target"), test["target"])


def ours(train: pd.DataFrame, test: pd.DataFrame, seed: int, options: list[str]) -> float:
    """Return the test accuracy of the command."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.csv" for name in ("train", "test")]
        for file, frame in zip(files, (train, test), strict=True):
            frame.to_csv(file, index=False)
        words = f"train --data {files[0]} --test {files[1]} --seed {seed} --out {folder}/run"
        with contextlib.redirect_stdout(None):
            code = main([*words.split(), "--no-plots", "--quiet", *options])
        assert code == 0
        return json.loads((Path(folder) / "run" / "results.json").read_text())["test_accuracy"]


def run(options: list[str], names: list[str] | None = None) -> None:
    """Print a line for each table."""
    print("| table | rows | logistic regression | MLPClassifier | `fastsm train` |\n|---|---|---|---|---|")
    for name in names or TABLES:
        frame = TABLES[name]()
        scores = []
        for seed in range(SEEDS):
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
            for a, b in folds.split(frame, frame["target"]):
                train, test = frame.iloc[a], frame.iloc[b]
                models = LogisticRegression(max_iter=1000), MLPClassifier(random_state=seed)
                scores.append([*(theirs(m, train, test) for m in models), ours(train, test, seed, options)])
        cells = " | ".join(f"{100 * mean:.1f} %" for mean in np.mean(scores, axis=0))
        print(f"| {name.replace('_', ' ')} | {len(frame):,} | {cells} |", flush=True)


if __name__ == "__main__":
    run(sys.argv[1:])
