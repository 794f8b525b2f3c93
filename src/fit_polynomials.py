"""Fit the polynomials of ``simd.h`` and print them as C constants.

    python src/fit_polynomials.py            # needs mpmath
    python src/fit_polynomials.py --check    # compare with the header, exit 1 when they differ

All are interpolated at Chebyshev nodes in 60 digits, which is within a factor of two of the minimax
polynomial and far below half a unit in the last place at these degrees; the error printed with each is
the relative error of the polynomial alone, before any rounding.

* ``exp(r) = 1 + r + r^2 q(r)`` on ``|r| <= ln(2)/2``. The first two coefficients stay exact, so that
  ``exp(0)`` is exactly 1. All coefficients are doubled: see ``exp_clamped`` in ``simd_real.h``.
* ``log(1+f) = f - s (f - R(s^2))`` with ``s = f/(2+f)`` and ``1+f`` in ``[sqrt(1/2), sqrt(2)]``, where
  ``R(z) = 2z/3 + 2z^2/5 + ...`` (the form of fdlibm's ``e_log.c``).
* ``exp(t^2/2) Phi(-t) = P(k) / (1+t)`` with ``k = (t-a)/(t+a)``, up to where ``Phi(-t)`` is less than any
  subnormal number. The map from t to k is that of M. M. Shepherd and J. G. Laframboise, Chebyshev
  approximation of (1 + 2x) exp(x^2) erfc x, Math. Comp. 36, 1981.
"""

import sys
from pathlib import Path

import mpmath as mp
import numpy as np

mp.mp.dps = 60
HEADER = Path(__file__).with_name("simd.h")


def interpolate(function, low, high, degree):
    """Coefficients, lowest first, of the polynomial through `function` at Chebyshev nodes."""
    count = degree + 1
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)
    ]
    vandermonde = mp.matrix(count, count)
    values = mp.matrix(count, 1)
    for i, node in enumerate(nodes):
        values[i] = function(node)
        for j in range(count):
            vandermonde[i, j] = node**j
    return list(mp.lu_solve(vandermonde, values))


def relative_error(approximation, exact, low, high):
    """Largest relative error over 2001 points."""
    points = [low + (high - low) * i / mp.mpf(2000) for i in range(2001)]
    return max(abs(approximation(p) / exact(p) - 1) for p in points if exact(p) != 0)


def exp_coefficients(degree):
    """Return q and the error of ``1 + r + r^2 q(r)``."""
    bound = mp.log(2) / 2

    def tail(r):
        return (mp.expm1(r) - r) / r**2 if abs(r) > mp.mpf(10) ** -20 else mp.mpf(1) / 2

    q = interpolate(tail, -bound, bound, degree)
    error = relative_error(lambda r: 1 + r + r**2 * mp.polyval(q[::-1], r), mp.exp, -bound, bound)
    return q, error


def log_coefficients(degree):
    """Return R(z)/z and the error of ``f - s (f - R)``."""
    bound = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2

    def tail(z):
        s = mp.sqrt(z)
        return (2 * mp.atanh(s) / s - 2) / z if z > mp.mpf(10) ** -20 else mp.mpf(2) / 3

    r = interpolate(tail, mp.mpf(0), bound, degree)

    def approximation(f):
        s = f / (2 + f)
        return f - s * (f - s**2 * mp.polyval(r[::-1], s**2))

    return r, relative_error(approximation, mp.log1p, 1 / mp.sqrt(2) - 1, mp.sqrt(2) - 1)


def mills_coefficients(degree, center, largest):
    """Return P and the error of ``P(k) / (1+t)``, for t from 0 to `largest`; a is `center`."""
    center, largest = mp.mpf(center), mp.mpf(largest)

    def exact(k):
        t = center * (1 + k) / (1 - k)
        return (1 + t) * mp.exp(t**2 / 2) * mp.ncdf(-t)

    low, high = mp.mpf(-1), (largest - center) / (largest + center)
    p = interpolate(exact, low, high, degree)
    return p, relative_error(lambda k: mp.polyval(p[::-1], k), exact, low, high)


def constants():
    """Yield each line of C."""
    for suffix, kind, exp_degree, log_degree, mills in (
        ("F", np.float32, 4, 3, (10, 4, 15)),
        ("D", np.float64, 9, 6, (22, 5, 39)),
    ):
        for name, (coefficients, error), factor in (
            ("EXP", exp_coefficients(exp_degree), 2),
            ("LOG", log_coefficients(log_degree), 1),
            ("MILLS", mills_coefficients(*mills), 1),
        ):
            numbers = ", ".join(f"{float(kind(float(c * factor)))!r}" for c in coefficients)
            yield f"/* relative error {mp.nstr(error, 2)} */"
            yield f"#define {name}_{suffix} {{{numbers}}}"


def main():
    """Print the constants, or compare them with the header."""
    lines = list(constants())
    if "--check" not in sys.argv:
        print("\n".join(lines))
        return 0
    header = HEADER.read_text()
    missing = [line for line in lines if line not in header]
    for line in missing:
        print(f"not in simd.h: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
