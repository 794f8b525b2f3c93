"""Train from settings to a folder of results."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

import fastsm
from fastsm import callbacks, nn
from fastsm._command import _network, _pictures, _report, _runs
from fastsm._command._errors import BAD_DATA, DIVERGED, INTERRUPTED, OK, CommandError, UsageError
from fastsm._command._html import Trial, write_report
from fastsm._command._inputs import fingerprint, load_splits, split_off
from fastsm._command._options import Settings
from fastsm._command._output import Output, SilentOutput
from fastsm._command._summary import Warnings, summary
from fastsm._command._table_lines import table_lines
from fastsm._command._train_options import fitting
from fastsm._command._world import find_processes
from fastsm.data import Pictures, Splits
from fastsm.training import Run
from fastsm.typing import Array

__all__ = ["Training"]

_ENOUGH = 50  # rows of validation data by which epochs can be told apart


class _EpochPrinter:
    """Prints each epoch as a JSON object."""

    first_rank_only = True

    def __init__(self, output: Output) -> None:
        self._output = output

    def on_epoch_end(self, run: Run) -> None:
        """Print the epoch."""
        if self._output.json:
            self._output.result("", event="epoch", epoch=run.epoch, epochs=run.epochs, **run.logs)


class Training:
    """A new run, or one that is resumed in its folder."""

    def __init__(
        self, settings: Settings, output: Output, folder: Path | None, description: dict[str, object]
    ) -> None:
        if settings["shard_data"] and not settings["mpi"]:
            raise UsageError("--shard-data works with --mpi")
        self.processes = find_processes(settings["mpi"])
        self.settings, self.output = settings, SilentOutput() if self.processes.rank else output
        self.folder, self.description = folder, description
        self.progress = callbacks.ProgressBar()
        say = self.progress.write if not self.output.quiet else lambda _: None
        self.warnings = Warnings(settings["loss"], say)

    def run(self) -> int:
        """Train, test, and write the results; return the exit code."""
        try:
            return self._run()
        except BaseException as error:
            self.processes.fail(error)

    def _run(self) -> int:
        started = time.perf_counter()
        part = (self.processes.rank, self.processes.size) if self.settings["shard_data"] else (0, 1)
        splits = load_splits(self.settings, part)
        history, model, folder = self._train(splits)
        if self.processes.rank:
            return OK
        if history.stopped == "interrupted":
            raise CommandError(f"interrupted: continue with fastsm train --resume {folder}", INTERRUPTED)
        fastsm.save(folder / _runs.MODEL, model, history=history)
        self._finish(folder, splits, model, history, time.perf_counter() - started)
        return OK

    def _train(self, splits: Splits) -> tuple[fastsm.History, nn.Sequential, Path]:
        train, classes = splits.train, len(splits.train.classes) or 1
        rest, aside = self._parts(splits)
        x, y = (train.X[rest], train.y[rest]) if len(aside) else (train.X, train.y)
        counts: Array = np.bincount(y, minlength=classes) if train.classes else np.array([len(y)])
        if self.settings["shard_data"]:
            counts = self.processes.sum(counts)
        rows = int(counts.sum())
        settings = self.settings = fitting(self.settings, rows)
        loss = _network.make_loss(settings, counts)
        try:
            model = _network.make_model(settings, x.shape[1], classes)
            steps = settings["epochs"] * -(-rows // settings["batch_size"])
            optimizer = _network.make_optimizer(settings, steps)
            model.table, model.pictures = splits.table, Pictures.fit(train)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"the settings make no network: {error}") from error
        scale = (0.0, 1.0) if splits.table is None else splits.table.scale
        validation = None
        if splits.val is not None or len(aside):
            x_val, y_val = (
                (train.X[aside], train.y[aside]) if splits.val is None else (splits.val.X, splits.val.y)
            )
            validation = (x_val, _network.make_targets(settings, y_val, classes, scale))
        folder, checkpoint = self.processes.on_first(lambda: self._begin(splits))
        sizes = "-".join(map(str, [x.shape[1], *settings["hidden"], classes]))
        if splits.table is not None:
            asked = settings["label"] is not None
            self.output.note("\n".join(table_lines(splits.table, splits, asked)))
        for words in splits.notes:
            self.output.note(f"{splits.name}: {words}")
        validating = f"validating on {len(validation[1]):,}, " if validation else ""
        self.output.note(
            f"training {sizes} on {rows:,} rows, {validating}testing on {len(splits.test.y):,}\n"
        )
        if self.output.json:
            record = None if splits.table is None else splits.table.record()
            about = {"settings": settings, "table": record, "notes": splits.notes}
            self.output.result("", event="start", out=str(folder), train_rows=rows, **about)
        if train.classes:
            self.warnings.look_at_classes(counts, train.classes)
        try:
            history = fastsm.fit(
                model,
                x,
                _network.make_targets(settings, y, classes, scale),
                loss=loss,
                optimizer=optimizer,
                epochs=settings["epochs"],
                batch_size=settings["batch_size"],
                validation_data=validation,
                metrics=["accuracy"] if train.classes else [],
                callbacks=self._callbacks(folder, len(validation[1]) if validation else 0),
                clip_norm=settings["clip_norm"] or None,
                rng=np.random.default_rng([settings["seed"], 1]),
                num_threads=settings["threads"] or None,
                resume_from=checkpoint,
                comm=self.processes.comm,
                sharded=settings["shard_data"] and self.processes.comm is not None,
            )
        except fastsm.TrainingDiverged as error:
            what = str(error).partition(": ")[0]
            advice = (
                "try a smaller --lr, --schedule warmup-cosine or --clip-norm 1, or inputs scaled to about 1"
            )
            raise CommandError(f"{what}: {advice}", DIVERGED) from error
        except ValueError as error:
            if checkpoint is None:
                raise
            raise CommandError(f"{folder} cannot be resumed: {error}", BAD_DATA) from error
        finally:
            self.progress.close()
        return history, model, folder

    def _parts(self, splits: Splits) -> tuple[Array, Array]:
        """Return the rows to train on and the rows for validation."""
        settings, train = self.settings, splits.train
        if len(train.classes) == 1 or not len(train.y) or not len(splits.test.y):
            raise CommandError(f"{splits.source} must have at least two classes, and rows of them", BAD_DATA)
        _report.check_classes(len(train.classes), splits.source)
        rest, aside = split_off(train, 0.0 if splits.val else settings["val_split"], settings["seed"])
        if not len(rest):
            raise UsageError(f"--val-split {settings['val_split']} leaves no row to train on")
        if not len(aside) and not splits.val and settings["early_stop"]:
            raise UsageError("--early-stop needs validation data: --val-split 0.1")
        return rest, aside

    def _callbacks(self, folder: Path, validated: int) -> list[object]:
        result: list[object] = [_EpochPrinter(self.output), callbacks.JSONLogger(folder / _runs.METRICS)]
        result.append(self.warnings)
        if not self.output.quiet:
            result.append(self.progress)
        patience = self.settings["early_stop"]
        if validated:
            best = not self.settings["last"] and (patience > 0 or validated >= _ENOUGH)
            result.append(callbacks.EarlyStopping(patience=patience or sys.maxsize, restore_best=best))
        # Writing takes longer than the short epochs of small data.
        every = max(self.settings["epochs"] // 30, 1)
        return [*result, callbacks.Checkpoint(folder / _runs.CHECKPOINT, every)]

    def _begin(self, splits: Splits) -> tuple[Path, Path | None]:
        """Write the description of the run; return its folder and the checkpoint to resume from."""
        train, sharded = splits.train, self.settings["shard_data"]
        about = {
            "name": splits.name,
            "classes": list(train.classes),
            "features": train.X.shape[1],
            "shape": None if train.shape is None else list(train.shape),
            "dtype": train.X.dtype.name,
            # With shards no process has all of the data.
            "fingerprint": None if sharded else fingerprint(splits),
        }
        folder = self.folder
        if folder is None:
            folder = _runs.new_folder(self.settings["out"], self.settings["data"])
        elif not _same_data(self.description.get("data"), about):
            raise CommandError(f"{splits.source} has other data than {folder} was trained on", BAD_DATA)
        # Without a checkpoint the run was stopped in its first epoch, and begins again.
        checkpoint = folder / _runs.CHECKPOINT
        resumes = self.folder is not None and os.path.lexists(checkpoint)
        if resumes:
            self._check_epochs(checkpoint)
        settings = {key: value for key, value in self.settings.items() if key not in ("json", "quiet")}
        _runs.write_json(folder / _runs.CONFIG, {"settings": {**settings, "out": str(folder)}, "data": about})
        return folder, checkpoint if resumes else None

    def _check_epochs(self, checkpoint: Path) -> None:
        history = fastsm.History()
        try:
            fastsm.load(checkpoint, history=history)
        except (ValueError, OSError) as error:
            raise CommandError(f"{checkpoint} cannot be resumed: {error}", BAD_DATA) from error
        if history.epochs > self.settings["epochs"]:
            raise UsageError(
                f"--epochs must be at least {history.epochs}, which are done, got {self.settings['epochs']}"
            )

    def _finish(
        self, folder: Path, splits: Splits, model: nn.Sequential, history: fastsm.History, seconds: float
    ) -> None:
        """Test the model, and write and print the results."""
        test, output = splits.test, self.output
        self.warnings.look_back(history, self.settings["early_stop"])
        figures: _report.Figures | None = None
        errors: _report.NumberFigures | None = None
        if test.classes:
            answers = _report.predict_probs(model, test.X)
            figures = _report.measure(answers, test.y, list(test.classes))
        else:
            answers = _report.predict_numbers(model, test.X)
            errors = _report.measure_numbers(answers, test.y)
        results = {
            "epochs": history.epochs,
            "restored": history.restored,
            "stopped": history.stopped,
            "seconds": seconds,
            "warnings": self.warnings.said,
            **{f"test_{name}": value for name, value in (figures or errors or {}).items()},
        }
        _runs.write_json(folder / _runs.RESULTS, results)
        if self.settings["plots"]:
            try:
                _pictures.draw(folder, history, answers, test)
            except Exception as error:  # matplotlib may raise anything where it can write nothing
                output.note(f"no pictures: {' '.join(str(error).split())}")
        rest, aside = self._parts(splits)
        val = len(aside) if splits.val is None else len(splits.val)
        own = " (of the first process)" if self.settings["shard_data"] else ""
        rows = {f"training{own}": len(rest), f"validation{own}": val, "test": len(test)}
        found = figures or errors
        assert found is not None
        trial = Trial(folder, self.settings, splits, rows, model, history, answers, found, seconds)
        write_report(folder / _runs.REPORT, trial)
        output.note("")
        words = summary(folder, splits.table is not None, history, figures, errors)
        output.result(words, event="end", out=str(folder), **results)


def _same_data(before: object, now: dict[str, object]) -> bool:
    """Whether two descriptions are of the same data, moved or not; the fingerprint of shards is unknown."""
    if not isinstance(before, dict):
        return False
    fingerprints = before.get("fingerprint"), now["fingerprint"]
    moved = {"fingerprint": 0, "name": ""}
    return before | moved == now | moved and (None in fingerprints or fingerprints[0] == fingerprints[1])
