"""Draw the relative error of the polynomial in simd.h itself, before any rounding."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

header = Path("../../src/simd.h")  # the directive runs this in its own folder
[line] = re.findall(r"#define EXP_F \{(.*)\}", header.read_text())
doubled = np.array([float(number) for number in line.split(",")])

r = np.linspace(-np.log(2) / 2, np.log(2) / 2, 2001)
q = np.polynomial.polynomial.polyval(r, doubled / 2)
fitted = (1 + r + r**2 * q) / np.exp(r) - 1

# The same degree cut off from the series 1/2 + r/6 + r^2/24 + ...
series = [1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720]
taylor = (1 + r + r**2 * np.polynomial.polynomial.polyval(r, series)) / np.exp(r) - 1
assert np.abs(fitted).max() < 1.1e-8 < 1e-7 < np.abs(taylor).max()

figure, axes = plt.subplots(1, 2, figsize=(6.4, 3))
axes[0].plot(r, fitted)
axes[0].set_title("fitted")
axes[1].plot(r, taylor)
axes[1].set_title("series of the same degree")
for axis in axes:
    axis.set_xlabel("r")
axes[0].set_ylabel("relative error")
