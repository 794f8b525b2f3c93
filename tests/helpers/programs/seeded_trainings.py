"""Print checksums of the results of two seeded trainings."""

import hashlib
import json

import fastsm
from fastsm import nn, optim

X, y = fastsm.data.load_digits()
results = {}
for name, optimizer, loss in (
    ("sgd", optim.SGD(0.1, momentum=0.9), None),
    ("adam", optim.Adam(), nn.CrossEntropyLoss(label_smoothing=0.1)),
):
    model = nn.MLP([64, 48, 10], activation="gelu", dropout=0.2, layer_norm=True, rng=3)
    history = fastsm.fit(
        model,
        X[:700],
        y[:700],
        optimizer=optimizer,
        loss=loss,
        epochs=2,
        batch_size=64,
        rng=4,
        clip_norm=1.0,
        validation_data=(X[700:900], y[700:900]),
    )
    results[name] = [hashlib.sha256(model.params.tobytes()).hexdigest(), history["val_loss"]]
    results[name].append(hashlib.sha256(model(X).tobytes()).hexdigest())
print(json.dumps(results))
