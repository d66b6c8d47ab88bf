"""The bases by their definitions, in mpmath: what bases.py tabulates."""

from collections.abc import Callable

import numpy as np
from mpmath import mp, mpf

mp.dps = 90

Numbers = list[mpf]
Fields = dict[str, float | str | bool]


def sigmoid(x: mpf) -> mpf:
    return 1 / (1 + mp.exp(-x))


def squashed(x: mpf, squash: str) -> mpf:
    return mp.tanh(x) if squash == "tanh" else min(max(x, mpf(-1)), mpf(1))


def linspace(low: mpf, high: mpf, count: int) -> Numbers:
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def rbf(x: mpf, inner: Numbers, **_: int) -> Numbers:
    *centres, width = inner
    return [mp.exp(-(((x - c) / width) ** 2)) for c in centres]


def rbf_start(num_grids: int, grid_radius: mpf) -> Numbers:
    return [*linspace(-grid_radius, grid_radius, num_grids), 2 * grid_radius / (num_grids - 1)]


def rswaf(x: mpf, inner: Numbers, **_: int) -> Numbers:
    *centres, sharpness = inner
    return [mp.sech((x - c) * sharpness) ** 2 for c in centres]


def rswaf_start(num_grids: int, grid_low: mpf, grid_high: mpf, sharpness: mpf) -> Numbers:
    return [*linspace(grid_low, grid_high, num_grids), sharpness]


def knots_of(grid: int, order: int, radius: mpf, clamped: bool) -> Numbers:
    spacing = 2 * radius / grid
    return [
        -radius + spacing * (min(max(i, 0), grid) if clamped else i)
        for i in range(-order, grid + order + 1)
    ]


def divided_difference(t: Numbers, f: Callable[[mpf, int], mpf]) -> mpf:
    """f[t_0, ..., t_n] of ascending knots, some equal; f(t, m) is the m-th derivative at t."""
    if t[0] == t[-1]:
        return f(t[0], len(t) - 1) / mp.factorial(len(t) - 1)
    return (divided_difference(t[1:], f) - divided_difference(t[:-1], f)) / (t[-1] - t[0])


def bspline(x: mpf, grid: int, order: int, grid_radius: mpf, clamped: bool) -> Numbers:
    """Curry and Schoenberg: (t_last - t_first) times a divided difference of (t - x)_+^order."""
    if clamped:
        x = min(max(x, -grid_radius), grid_radius)
    at_end = clamped and x == grid_radius

    def power(t: mpf, m: int) -> mpf:
        # Intervals are closed on the left; at the end of a clamped grid the last is on both sides.
        if t < x or (t == x and not (m == order and at_end)):
            return mpf(0)
        return mp.ff(order, m) * (t - x) ** (order - m)

    t = knots_of(grid, order, grid_radius, clamped)
    parts = [t[i : i + order + 2] for i in range(grid + order)]
    return [(p[-1] - p[0]) * divided_difference(p, power) for p in parts]


def gram_weights(degree: int) -> Numbers:
    return [1 / mpf(4 * q * q - 1) ** 2 for q in range(1, degree)]


def gram(x: mpf, inner: Numbers, degree: int, squash: str, activated: bool) -> Numbers:
    u = squashed(x, squash)
    p = [mpf(1), u]
    for i in range(2, degree + 1):
        q = i - 1
        beta = inner[q - 1] * (i * i - q * q) * q * q * (4 * q * q - 1) / mpf(i * i)
        p.append(u * p[-1] - beta * p[-2])
    p = p[: degree + 1]
    return [v * sigmoid(v) for v in p] if activated else p


def bernstein(x: mpf, degree: int) -> Numbers:
    u = sigmoid(x)
    return [mp.binomial(degree, d) * u**d * (1 - u) ** (degree - d) for d in range(degree + 1)]


def relu_kan(x: mpf, inner: Numbers, grid: int, span: int) -> Numbers:
    r = mpf(4 * grid * grid) / (span + 1) ** 2
    n = grid + span
    return [(r * max(x - a, 0) * max(b - x, 0)) ** 2 for a, b in zip(inner[:n], inner[n:])]


def relu_kan_start(grid: int, span: int) -> Numbers:
    low = [mpf(j - span) / grid for j in range(grid + span)]
    return low + [v + mpf(span + 1) / grid for v in low]


def fourier(x: mpf, terms: int) -> Numbers:
    return [f(m * x) for f in (mp.cos, mp.sin) for m in range(1, terms + 1)]


def meyer(z: mpf) -> mpf:
    v = abs(z)
    if v >= 1:
        return mpf(0)
    t = max(2 * v - 1, mpf(0))
    nu = t**4 * (35 - 84 * t + 70 * t**2 - 20 * t**3)
    return mp.sin(mp.pi * v) * mp.cos(mp.pi / 2 * nu)


WAVELETS: dict[str, Callable[[mpf], mpf]] = {
    "mexican_hat": lambda z: 2 / mp.sqrt(3 * mp.sqrt(mp.pi)) * (z * z - 1) * mp.exp(-z * z / 2),
    "morlet": lambda z: mp.cos(5 * z) * mp.exp(-z * z / 2),
    "dog": lambda z: -z * mp.exp(-z * z / 2),
    "meyer": meyer,
    "shannon": lambda z: mp.sinc(z),
}


def rational(x: mpf, inner: Numbers, numerator: int, denominator: int) -> Numbers:
    below = 1 + abs(sum(b * x ** (j + 1) for j, b in enumerate(inner)))
    return [x**k / below for k in range(numerator + 1)]


def chebyshev_value(d: int, u: mpf) -> mpf:
    """Moivre's: the real part of (u + sqrt(u^2 - 1))^d."""
    terms = range(d // 2 + 1)
    return sum((mp.binomial(d, 2 * m) * (u * u - 1) ** m * u ** (d - 2 * m) for m in terms), mpf(0))


def jacobi_value(d: int, alpha: mpf, beta: mpf, u: mpf) -> mpf:
    """Rodrigues': Leibniz' rule on (1 - u)^(alpha + d) (1 + u)^(beta + d)."""
    weights = [mp.binomial(d + alpha, d - s) * mp.binomial(d + beta, s) for s in range(d + 1)]
    terms = [w * ((u - 1) / 2) ** s * ((u + 1) / 2) ** (d - s) for s, w in enumerate(weights)]
    return sum(terms, mpf(0))


def polynomials(value: Callable[..., mpf]) -> Callable[..., Numbers]:
    return lambda x, degree, squash, **own: [
        value(d, u=squashed(x, squash), **own) for d in range(degree + 1)
    ]


# phi(x, fields) for each basis; those with inner parameters take these after x.
BASES: dict[str, Callable] = {
    "identity": lambda x: [x],
    "relu": lambda x: [max(x, mpf(0))],
    "leaky_relu": lambda x, slope: [x if x > 0 else slope * x],
    "gelu": lambda x: [x * mp.ncdf(x)],
    "silu": lambda x: [x * sigmoid(x)],
    "tanh": lambda x: [mp.tanh(x)],
    "sine": lambda x, omega: [mp.sin(omega * x)],
    "gauss": lambda x, scale: [mp.exp(-((scale * x) ** 2))],
    "wire": lambda x, omega, scale: [mp.cos(omega * x) * mp.exp(-((scale * x) ** 2))],
    "finer": lambda x, omega: [mp.sin(omega * (abs(x) + 1) * x)],
    "snake": lambda x, inner, **_: [x + mp.sin(inner[0] * x) ** 2 / inner[0]],
    "fkan": lambda x, steepness: [(x + mp.tanh(steepness * x)) * sigmoid(x)],
    "rbf": rbf,
    "rswaf": rswaf,
    "bspline": bspline,
    "chebyshev": polynomials(chebyshev_value),
    "legendre": polynomials(lambda d, u: jacobi_value(d, mpf(0), mpf(0), u)),
    "jacobi": polynomials(jacobi_value),
    "gram": gram,
    "bernstein": bernstein,
    "relu_kan": relu_kan,
    "fourier": fourier,
    "wavelet": lambda x, kind: [WAVELETS[kind](x)],
    "rational": rational,
}
STARTS: dict[str, Callable[..., Numbers]] = {
    "snake": lambda frequency: [frequency],
    "rbf": rbf_start,
    "rswaf": rswaf_start,
    "gram": lambda degree, **_: gram_weights(degree),
    "relu_kan": relu_kan_start,
    "rational": lambda numerator, denominator: [mpf(0)] * (denominator - 1) + [mpf(1)],
}
DEFAULTS: dict[str, Fields] = {
    "leaky_relu": {"slope": 0.01},
    "sine": {"omega": 30.0},
    "gauss": {"scale": 1.0},
    "wire": {"omega": 10.0, "scale": 10.0},
    "finer": {"omega": 30.0},
    "snake": {"frequency": 1.0},
    "fkan": {"steepness": 30.0},
    "rbf": {"num_grids": 8, "grid_radius": 1.0},
    "rswaf": {"num_grids": 8, "grid_low": -1.2, "grid_high": 1.2, "sharpness": 0.5},
    "bspline": {"grid": 5, "order": 3, "grid_radius": 1.0, "clamped": False},
    "chebyshev": {"degree": 3, "squash": "tanh"},
    "legendre": {"degree": 3, "squash": "tanh"},
    "jacobi": {"degree": 3, "alpha": 1.0, "beta": 1.0, "squash": "tanh"},
    "gram": {"degree": 3, "squash": "tanh", "activated": True},
    "bernstein": {"degree": 3},
    "relu_kan": {"grid": 5, "span": 3},
    "fourier": {"terms": 5},
    "wavelet": {"kind": "mexican_hat"},
    "rational": {"numerator": 3, "denominator": 2},
}


def exact(value: float | str | bool) -> mpf | int | str | bool:
    """A field as the program holds it: integers as they are, other numbers as floats."""
    return mpf(float(np.float32(value))) if isinstance(value, float) else value


def start_of(name: str, fields: Fields) -> Numbers:
    return STARTS[name](**{key: exact(v) for key, v in fields.items()}) if name in STARTS else []


def evaluate(name: str, fields: Fields, x: float | mpf, inner: Numbers) -> Numbers:
    arguments = (mpf(x), inner) if name in STARTS else (mpf(x),)
    return BASES[name](*arguments, **{key: exact(value) for key, value in fields.items()})
