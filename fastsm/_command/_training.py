"""A training from settings to a folder of results."""

import time
from pathlib import Path
from typing import Any

import numpy as np

import fastsm
from fastsm import callbacks, nn
from fastsm._arguments import Array
from fastsm._command import _network, _pictures, _report, _runs
from fastsm._command._errors import DATA, DIVERGED, INTERRUPTED, OK, CommandError, UsageError
from fastsm._command._inputs import fingerprint, load_splits, split_off
from fastsm._command._output import Output, Silence, bold
from fastsm._command._world import world
from fastsm.training import Run

__all__ = ["Training"]


class _Lines:
    """Tells each epoch as a line of JSON."""

    first_rank_only = True

    def __init__(self, output: Output) -> None:
        self._output = output

    def on_epoch_end(self, run: Run) -> None:
        """Tell."""
        if self._output.json:
            self._output.result("", event="epoch", epoch=run.epoch, epochs=run.epochs, **run.logs)


class Training:
    """A run: new, or taken up again in its folder."""

    def __init__(
        self, settings: dict[str, Any], output: Output, folder: Path | None, description: dict[str, Any]
    ) -> None:
        if settings["shard_data"] and not settings["mpi"]:
            raise UsageError("--shard-data works with --mpi")
        self.world = world(settings["mpi"])
        self.settings, self.output = settings, Silence() if self.world.rank else output
        self.folder, self.description = folder, description

    def run(self) -> int:
        """Train, test, and write everything; return the exit code."""
        try:
            return self._run()
        except BaseException as error:
            self.world.end(error)

    def _run(self) -> int:
        started = time.perf_counter()
        sharded = self.settings["shard_data"]
        splits = load_splits(self.settings, (self.world.rank, self.world.size) if sharded else (0, 1))
        history, model, folder = self._train(splits)
        if self.world.rank:
            return OK
        if history.stopped == "interrupted":
            raise CommandError(f"interrupted: go on with fastsm train --resume {folder}", INTERRUPTED)
        fastsm.save(folder / _runs.MODEL, model, history=history)
        self._finish(folder, splits, model, history, time.perf_counter() - started)
        return OK

    def _train(self, splits: Any) -> tuple[fastsm.History, nn.Sequential, Path]:
        settings, train, classes = self.settings, splits.train, len(splits.train.classes)
        rest, aside = self._parts(splits)
        x, y = (train.X[rest], train.y[rest]) if len(aside) else (train.X, train.y)
        counts = np.bincount(y, minlength=classes)
        if settings["shard_data"]:
            counts = self.world.add(counts)
        rows = int(counts.sum())
        loss = _network.make_loss(settings, counts)
        try:
            model = _network.make_model(settings, x.shape[1], classes)
            steps = settings["epochs"] * -(-rows // settings["batch_size"])
            optimizer = _network.make_optimizer(settings, steps)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"the settings make no network: {error}") from error
        validation = None
        if len(aside):
            validation = (train.X[aside], _network.targets(settings, train.y[aside], classes))
        folder, checkpoint = self.world.first_does(lambda: self._begin(splits))
        sizes = "-".join(map(str, [x.shape[1], *settings["hidden"], classes]))
        self.output.progress(f"training {sizes} on {rows} rows of {splits.name} ({splits.source})")
        if self.output.json:
            self.output.result("", event="start", out=str(folder), rows=rows, settings=settings)
        try:
            history = fastsm.fit(
                model,
                x,
                _network.targets(settings, y, classes),
                loss=loss,
                optimizer=optimizer,
                epochs=settings["epochs"],
                batch_size=settings["batch_size"],
                validation_data=validation,
                callbacks=self._callbacks(folder),
                clip_norm=settings["clip_norm"] or None,
                rng=np.random.default_rng([settings["seed"], 1]),
                num_threads=settings["threads"] or None,
                resume_from=checkpoint,
                comm=self.world.comm,
                sharded=settings["shard_data"] and self.world.comm is not None,
            )
        except fastsm.TrainingDiverged as error:
            what = str(error).partition(": ")[0]
            advice = "try a smaller --lr, --schedule warmup-cosine or --clip-norm 1"
            raise CommandError(f"{what}: {advice}, or inputs that are about 1", DIVERGED) from error
        except ValueError as error:
            if checkpoint is None:
                raise
            raise CommandError(f"{folder} cannot be resumed: {error}", DATA) from error
        return history, model, folder

    def _parts(self, splits: Any) -> tuple[Array, Array]:
        """Return the rows to train on, and those to watch the training by."""
        settings, train = self.settings, splits.train
        if len(train.classes) < 2 or not len(train.y) or not len(splits.test.y):
            raise CommandError(f"{splits.source} must have two classes or more, and rows of them", DATA)
        _report.check_classes(len(train.classes), splits.source)
        rest, aside = split_off(train.y, settings["val_split"], np.random.default_rng([settings["seed"], 2]))
        if not len(rest):
            raise UsageError(f"--val-split {settings['val_split']} leaves no row to train on")
        if not len(aside) and settings["early_stop"]:
            raise UsageError("--early-stop needs validation data: --val-split 0.1")
        return rest, aside

    def _callbacks(self, folder: Path) -> list[Any]:
        result: list[Any] = [_Lines(self.output), callbacks.JSONLogger(folder / _runs.METRICS)]
        if not self.output.quiet:
            result.append(callbacks.ProgressBar())
        if self.settings["early_stop"]:
            result.append(callbacks.EarlyStopping(patience=self.settings["early_stop"]))
        return [*result, callbacks.Checkpoint(folder / _runs.CHECKPOINT)]

    def _begin(self, splits: Any) -> tuple[Path, Path | None]:
        """Return the folder, with the description of the run in it, and the checkpoint to go on from."""
        description = {
            "settings": {key: value for key, value in self.settings.items() if key not in ("json", "quiet")},
            "data": {
                "name": splits.name,
                "classes": list(splits.train.classes),
                "features": splits.train.X.shape[1],
                "shape": None if splits.train.shape is None else list(splits.train.shape),
                "dtype": splits.train.X.dtype.name,
                "fingerprint": fingerprint(splits.train.X, splits.train.y),
            },
        }
        if self.settings["shard_data"]:  # nobody has seen all of the data
            description["data"]["fingerprint"] = None
        folder = self.folder
        if folder is None:
            folder = _runs.new_folder(self.settings["out"], self.settings["data"])
        elif not _same_data(self.description.get("data"), description["data"]):
            raise CommandError(f"{splits.source} has other data than {folder} was trained on", DATA)
        description["settings"]["out"] = str(folder)
        # Without a checkpoint the run was stopped in its first epoch, and begins again.
        checkpoint = folder / _runs.CHECKPOINT
        resumes = self.folder is not None and checkpoint.is_file()
        if resumes:
            self._check_epochs(checkpoint)
        _runs.write_json(folder / _runs.CONFIG, description)
        return folder, checkpoint if resumes else None

    def _check_epochs(self, checkpoint: Path) -> None:
        history = fastsm.History()
        try:
            fastsm.load(checkpoint, history=history)
        except ValueError as error:
            raise CommandError(f"{checkpoint} cannot be resumed: {error}", DATA) from error
        if history.epochs > self.settings["epochs"]:
            raise UsageError(
                f"--epochs must be at least {history.epochs}, which are done, got {self.settings['epochs']}"
            )

    def _finish(self, folder: Path, splits: Any, model: Any, history: fastsm.History, seconds: float) -> None:
        test, output = splits.test, self.output
        probs = _report.predict_probs(model, test.X)
        figures = _report.report(probs, test.y, list(splits.train.classes))
        _runs.write_json(folder / _runs.RESULTS, {"epochs": history.epochs, "seconds": seconds, **figures})
        if self.settings["plots"]:
            try:
                _pictures.draw(folder, history, figures, probs, test.X, test.y, test.shape)
            except ImportError:
                output.note("no pictures: they need matplotlib (pip install fastsm[train])")
        accuracy = bold(f"{figures['accuracy']:.2%}")
        count = f"{history.epochs} epoch{'s' * (history.epochs != 1)}"
        early = ", stopped early" if history.stopped == "early stop" else ""
        output.result(
            f"test accuracy {accuracy} on {len(test.y)} rows, after {count}{early}\nresults in {folder}",
            event="end",
            test_accuracy=figures["accuracy"],
            test_ece=figures["ece"],
            epochs=history.epochs,
            stopped=history.stopped,
            seconds=seconds,
            out=str(folder),
        )


def _same_data(before: Any, now: dict[str, Any]) -> bool:
    """Whether a run was begun with these data, as far as whoever described them has seen them."""
    if not isinstance(before, dict):
        return False
    fingerprints = before.get("fingerprint"), now["fingerprint"]
    return before | {"fingerprint": 0} == now | {"fingerprint": 0} and (
        None in fingerprints or fingerprints[0] == fingerprints[1]
    )
