"""Resume a training that a full disk has ended."""

import os
import resource

from training_of_faults import folder, losses, path, train, whole

train(path, 3)
size = os.path.getsize(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, resource.RLIM_INFINITY))
try:
    train(path, resume=path)
except OSError as error:
    message = str(error)
else:
    message = "no error"
assert "File too large" in message
assert os.listdir(folder) == ["run.safetensors"]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
params, found, _ = train(path, resume=path)
assert (params == whole).all()
assert found == losses
