"""Train in forked workers while threads of the parent train."""

import multiprocessing
import os
import threading
import warnings

import numpy as np
from training_of_faults import folder, train, whole

import fastsm

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
fastsm.set_num_threads(3)
big = np.ones((600, 1000), np.float32)
fastsm.softmax(big)
stop, wrong = False, []


def loop(name):
    while not stop:
        if (train(os.path.join(folder, name))[0] != whole).any():
            wrong.append(name)
        fastsm.softmax(big)


threads = [threading.Thread(target=loop, args=(f"{i}.safetensors",), daemon=True) for i in range(2)]
for thread in threads:
    thread.start()


def work(i):
    return (train(os.path.join(folder, f"worker{i}.safetensors"), num_threads=1 + i % 3)[0] == whole).all()


with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map_async(work, range(4)).get(100)
stop = True
for thread in threads:
    thread.join()
assert all(results)
assert not wrong
