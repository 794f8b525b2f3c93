"""Kill a process at calls of functions within `save`, and check the file."""

import functools
import os
import signal
import sys

from training_of_faults import folder, in_child, path, train, whole

import fastsm

train(path, 1)


def content(path):
    with open(path, "rb") as file:
        return file.read()


old = content(path)
other = os.path.join(folder, "other.safetensors")
train(other, 2)
new = fastsm.load(other)
fastsm.save(other, new)


def killed(count):
    left = count

    def watch(frame, event, argument):
        nonlocal left
        if event == "c_call":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)
    fastsm.save(path, new)
    sys.setprofile(None)
    os.write(pipe[1], (count - left).to_bytes(4, "little"))


pipe = os.pipe()
os.waitpid(in_child(lambda: killed(1 << 30)), 0)
calls = int.from_bytes(os.read(pipe[0], 4), "little")
assert calls > 50
complete = {old: 0, content(other): 0}
for count in range(1, calls + 1):
    with open(path, "wb") as file:
        file.write(old)
    child = in_child(functools.partial(killed, count))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    complete[content(path)] += 1
    assert fastsm.load(path).params.size == whole.size
assert complete[old]
left = {name.rpartition(".")[2] for name in os.listdir(folder)}
assert left == {"safetensors", "tmp"}, left
