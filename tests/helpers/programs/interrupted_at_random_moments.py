"""Interrupt a training at random moments while another thread computes."""

import os
import random
import signal
import sys
import threading
import time

import numpy as np
from training_of_faults import folder, losses, path, rng, train, whole

import fastsm


def interrupt(*arguments):
    raise KeyboardInterrupt


signal.signal(signal.SIGALRM, interrupt)
# Python swallows interrupts that come within a destructor, and warns of a file that was opened just then.
sys.unraisablehook = lambda unraisable: None
fastsm.set_num_threads(3)
big = rng.standard_normal((600, 1000), dtype=np.float32)
expected = fastsm.softmax(big, num_threads=1)
stop = False


def loop():
    while not stop:
        assert (fastsm.softmax(big) == expected).all()


other = threading.Thread(target=loop, daemon=True)
other.start()
started = time.perf_counter()
train(path, num_threads=2)
seconds = time.perf_counter() - started
os.unlink(path)
ends = set()
for _ in range(int(sys.argv[2])):
    resume = path if os.path.exists(path) else None
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, seconds / 3))
        end = train(path, resume=resume, num_threads=2)[2].stopped
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        end = "raised"
    ends.add(end)
    if end == "epochs":
        os.unlink(path)
    assert fastsm.get_num_threads() == 3
    assert (fastsm.softmax(big) == expected).all()
    left = set(os.listdir(folder))
    assert left <= {"run.safetensors"}, left
stop = True
other.join()
params, found, _ = train(path, resume=path if os.path.exists(path) else None)
assert (params == whole).all()
assert found == losses
assert "interrupted" in ends, ends
