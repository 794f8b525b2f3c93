"""End the interpreter while a thread trains; "daemon" as argument."""

import random
import sys
import threading
import time

import numpy as np

import fastsm
from fastsm import nn

daemon = sys.argv[1] == "daemon"
fastsm.set_num_threads(3)
big = np.ones((2000, 400), np.float32)


def loop():
    for _ in range(10**6 if daemon else 3):
        fastsm.fit(nn.MLP([400, 300, 10], rng=0), big, np.zeros(2000, int), epochs=1, num_threads=3)
        fastsm.softmax(big)


threading.Thread(target=loop, daemon=daemon).start()
time.sleep(random.uniform(0, 0.2))
print("done")
