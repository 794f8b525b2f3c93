"""Kill a training at random moments until it is done, and compare its bits."""

import os
import random
import signal
import sys
import time

from training_of_faults import EPOCHS, in_child, losses, path, train, whole

import fastsm

started, kills, epochs = time.perf_counter(), int(sys.argv[2]), set()
train(path, 3)
pace = (time.perf_counter() - started) / 3
while kills > 0 or len(epochs) < 2:
    kills -= 1
    pace *= 1 if len(epochs) > 1 else 1.2  # on a busy machine the first ones may come too early
    child = in_child(lambda: train(path, resume=path))
    time.sleep(random.uniform(0, 6 * pace))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    history = fastsm.History()
    fastsm.load(path, history=history)
    epochs.add(history.epochs)
    if history.epochs == EPOCHS:
        os.unlink(path)
        train(path, 1)
params, found, _ = train(path, resume=path)
assert (params == whole).all(), epochs
assert found == losses, epochs
