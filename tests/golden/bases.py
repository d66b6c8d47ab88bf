"""Golden values and slopes of every basis, from the definitions, with 90 digits.

Run: python3 bases.py > bases.json (needs numpy, scipy and mpmath).

A row is one basis with its fields, as in a model file, at points x: values[i][k] is phi_k(x[i])
and slopes[i][k] its derivative. Where phi_k has a kink the slope is a pair, of the left and of the
right side; what lies between them is a slope as good as either. Fields are taken as the floats
that they are stored as. Rows of bases with inner parameters hold `at`, the parameters' values,
whether those are the `start`, and inner[p].slopes[i][k], the derivative by parameter p.
"""

import json
from collections.abc import Callable
from itertools import product

import numpy as np
import scipy.interpolate
import scipy.special
from mpmath import mpf

from basis_definitions import (
    BASES,
    DEFAULTS,
    WAVELETS,
    Fields,
    Numbers,
    evaluate,
    knots_of,
    start_of,
)

STEP = mpf(10) ** -25

NEAR = [-0.7, -0.25, 0.0, 0.1, 0.83, 1.5]
FAR = [-1e4, -30.0, -3.0, -1.0, 1.0, 2.5, 30.0, 1e4]
POINTS = sorted(NEAR + FAR)


def number(value: mpf) -> float | int:
    """Ten significant digits; what the differences cannot tell from zero is zero."""
    rounded = float(f"{float(value):.10g}") if abs(value) > 1e-18 else 0
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e6 else rounded


def slope(left: mpf, right: mpf) -> float | int | list:
    kink = abs(left - right) > mpf("1e-12") * (1 + abs(left) + abs(right))
    return [number(left), number(right)] if kink else number((left + right) / 2)


def slopes(function: Callable[[mpf], Numbers], at: mpf) -> list:
    below, here, above = (function(at + STEP * side) for side in (-1, 0, 1))
    return [slope((h - b) / STEP, (a - h) / STEP) for b, h, a in zip(below, here, above)]


def row(name: str, points: list[float], at: list[float] | None = None, **changes: object) -> dict:
    """One row; `at` are values of the inner parameters, else they are at their start."""
    fields: Fields = DEFAULTS.get(name, {}) | changes
    start = start_of(name, fields)
    inner = start if at is None else [mpf(v) for v in at]
    assert len(inner) == len(start), name
    result: dict = {"basis": {"name": name} | fields, "x": points}
    if start:
        result |= {"at": [number(v) for v in inner], "start": at is None}
    result["values"] = [[number(v) for v in evaluate(name, fields, x, inner)] for x in points]
    result["slopes"] = [slopes(lambda z: evaluate(name, fields, z, inner), mpf(x)) for x in points]
    if at is not None:
        result["inner"] = [
            {"parameter": p, "slopes": [inner_slopes(name, fields, x, inner, p) for x in points]}
            for p in range(len(inner))
        ]
    return result


def inner_slopes(name: str, fields: Fields, x: float, inner: Numbers, p: int) -> list:
    def moved(value: mpf) -> Numbers:
        return evaluate(name, fields, x, inner[:p] + [value] + inner[p + 1 :])

    return slopes(moved, inner[p])


def beside(points: list[float]) -> list[float]:
    """The points and their neighbours on both sides, 2^-20 away."""
    return sorted(p + side * 2.0**-20 for p in points for side in (-1, 0, 1))


def bspline_rows() -> list[dict]:
    """Knots are exact, so that it is no matter of rounding on which side of one a point lies."""
    rows = [row("bspline", POINTS, clamped=clamped) for clamped in (False, True)]
    for order, clamped in product((1, 2, 3, 5), (False, True)):
        knots = [-1.0, -0.5, 1.0] if clamped else [-1.5, -1.0, 0.5, 1.0]
        if order == 1 and not clamped:
            knots += [1.5]
        points = [-1e4, -0.7, 0.1, 0.83, *beside(knots), 1e4]
        rows.append(row("bspline", sorted(points), grid=4, order=order, clamped=clamped))
    # Away from the knots, where those of order 0 jump.
    between = [-1e4, -1.125, -0.999, -0.7, 0.1, 0.499, 0.83, 1.125, 1e4]
    rows += [row("bspline", between, grid=4, order=0, clamped=clamped) for clamped in (False, True)]
    rows.append(row("bspline", NEAR, grid=1, order=4, grid_radius=2.5))
    rows.append(row("bspline", NEAR, grid=1, order=4, grid_radius=1.75, clamped=True))
    return rows


def polynomial_rows() -> list[dict]:
    rows = []
    for name in ("chebyshev", "legendre", "jacobi", "gram"):
        rows += [row(name, POINTS), row(name, POINTS, degree=6, squash="clamp")]
        rows += [row(name, NEAR, degree=1), row(name, [-0.7, 1.5], degree=0)]
    rows.append(row("jacobi", NEAR, degree=5, alpha=-0.5, beta=1.5))
    rows.append(row("jacobi", NEAR, degree=4, alpha=0.0, beta=0.0, squash="clamp"))
    rows.append(row("gram", NEAR, degree=5, activated=False))
    return rows


def moved(name: str, sizes: float, **changes: object) -> list[float]:
    """The start values, each a little off by turns."""
    start = start_of(name, DEFAULTS[name] | changes)
    return [round(float(v), 3) + sizes * (1 - 2 * (p % 2)) for p, v in enumerate(start)]


def inner_rows() -> list[dict]:
    points = [-0.7, 0.0, 0.1, 0.83, 2.5]
    rows = [row("gram", NEAR, at=[0.01, -0.02]), row("snake", POINTS, at=[2.5])]
    for name, changes in (
        ("rbf", {"num_grids": 5, "grid_radius": 1.5}),
        ("rswaf", {"num_grids": 4}),
        ("relu_kan", {"grid": 3, "span": 2}),
    ):
        rows.append(row(name, points, at=moved(name, 2.0**-5, **changes), **changes))
    rows.append(row("gram", points, at=[0.25, -0.125, 0.0625], degree=4, activated=False))
    rows.append(row("rational", NEAR + [30.0], at=[0.75, -0.375]))
    rows.append(row("rational", NEAR, at=[-0.5, 0.25, 1.5], numerator=2, denominator=3))
    return rows


def rows() -> list[dict]:
    plain = [name for name in BASES if name not in ("bspline", "wavelet", "chebyshev")]
    plain = [name for name in plain if name not in ("legendre", "jacobi", "gram")]
    result = [row(name, POINTS) for name in plain]
    result += [row("wavelet", sorted(POINTS + [-0.5, 0.09, 0.5]), kind=kind) for kind in WAVELETS]
    for name, changes in (
        ("leaky_relu", {"slope": 0.25}),
        ("sine", {"omega": 1.5}),
        ("gauss", {"scale": 2.5}),
        ("wire", {"omega": 3.0, "scale": 0.5}),
        ("finer", {"omega": 2.5}),
        ("snake", {"frequency": 0.5}),
        ("fkan", {"steepness": 2.0}),
        ("rbf", {"num_grids": 5, "grid_radius": 2.0}),
        ("rbf", {"num_grids": 2, "grid_radius": 0.5}),
        ("rbf", {"num_grids": 8, "grid_radius": 2.0}),
        ("rswaf", {"num_grids": 5, "grid_low": -2.0, "grid_high": 0.5, "sharpness": 4.0}),
        ("bernstein", {"degree": 6}),
        ("relu_kan", {"grid": 1, "span": 1}),
        ("relu_kan", {"grid": 4, "span": 2}),
        ("fourier", {"terms": 1}),
        ("fourier", {"terms": 3}),
        ("rational", {"numerator": 5, "denominator": 4}),
        ("rational", {"numerator": 0, "denominator": 1}),
    ):
        result.append(row(name, POINTS, **changes))
    return result + bspline_rows() + polynomial_rows() + inner_rows()


PUBLISHED = """
-0.7 bspline {} .002604 .315104 .611979 .070313 0 0 0 0
-0.7 rbf {"grid_radius":2.0} .005653 .196789 .927164 .591186 .051016 .000596 .000001 0
-0.7 rbf {} .332040 .997503 .405555 .022315 .000166 0 0 0
-0.7 legendre {"squash":"clamp"} 1 -.7 .235 .1925
-0.7 chebyshev {} 1 -.604368 -.269479 .930097
-0.7 gram {"activated":false} 1 -.604368 .342760 -.610065
-0.7 gram {} .731059 -.213550 .200467 -.214770
-0.7 jacobi {} 1 -1.208736 .619727 .267842
-0.7 bernstein {} .298329 .444437 .220701 .036532
-0.7 relu_kan {} 0 0 0 0 0 0 0 0
-0.7 wavelet {"kind":"mexican_hat"} -.346218
-0.7 wavelet {"kind":"morlet"} -.732969
-0.7 wavelet {"kind":"dog"} .547893
-0.7 wavelet {"kind":"meyer"} .726636
-0.7 wavelet {"kind":"shannon"} .920311
-0.7 fourier {"terms":3} .764842 .169967 -.504846 -.644218 -.985450 -.863209
-0.7 fkan {} -.564081
0.1 bspline {} 0 0 .002604 .315104 .611979 .070312 0 0
0.1 rbf {"grid_radius":2.0} .000001 .000780 .060469 .634052 .899762 .172799 .004491 .000016
0.1 rbf {} 0 .000297 .032631 .485537 .977751 .266468 .009828 .000049
0.1 legendre {"squash":"clamp"} 1 .1 -.485 -.1475
0.1 chebyshev {} 1 .099668 -.980133 -.295044
0.1 gram {"activated":false} 1 .099668 -.012566 .065193
0.1 gram {} .731059 .052315 -.006244 .033659
0.1 jacobi {} 1 .199336 -.712749 -.292073
0.1 bernstein {} .107186 .355376 .392752 .144686
0.1 relu_kan {} .191406 .878906 .878906 .191406 0 0 0 0
0.1 wavelet {"kind":"mexican_hat"} -.854369
0.1 wavelet {"kind":"morlet"} .873206
0.1 wavelet {"kind":"dog"} -.099501
0.1 wavelet {"kind":"meyer"} .309017
0.1 wavelet {"kind":"shannon"} .998334
0.1 fkan {} .574881
0.83 bspline {} 0 0 0 0 .012794 .431096 .524424 .031685
0.83 rbf {"grid_radius":2.0} 0 0 .000164 .022098 .403630 .997746 .333786 .015112
0.83 rbf {} 0 0 0 .000009 .003076 .138897 .848721 .701857
0.83 legendre {"squash":"clamp"} 1 .83 .533350 .184467
0.83 chebyshev {} 1 .680476 -.073905 -.781057
0.83 gram {"activated":false} 1 .680476 .440548 .753433
0.83 gram {} .731059 .451731 .268025 .512279
0.83 jacobi {} 1 1.360952 .986428 .164221
0.83 bernstein {} .027996 .192612 .441722 .337670
0.83 relu_kan {} 0 0 0 0 .448063 .988782 .671375 .020844
0.83 wavelet {"kind":"mexican_hat"} -.191201
0.83 wavelet {"kind":"morlet"} -.377837
0.83 wavelet {"kind":"dog"} -.588146
0.83 wavelet {"kind":"meyer"} .144850
0.83 wavelet {"kind":"shannon"} .889074
0.83 fkan {} 1.274330
1.0 bspline {} 0 0 0 0 0 .166667 .666667 .166667
1.5 bspline {} 0 0 0 0 0 0 .070313 .611979
"""


def assert_published() -> None:
    """Figures of other programs, to six decimals; for gram with w = (0.01, -0.02)."""
    for line in PUBLISHED.strip().splitlines():
        x, name, changes, *figures = line.split()
        fields = DEFAULTS.get(name, {}) | json.loads(changes)
        inner = [mpf("0.01"), mpf("-0.02")] if name == "gram" else start_of(name, fields)
        ours = [float(v) for v in evaluate(name, fields, mpf(x), inner)]
        np.testing.assert_allclose(ours, [float(v) for v in figures], rtol=0, atol=6e-7)


def assert_scipy(every: list[dict]) -> None:
    """B-splines and polynomials against SciPy's, slopes of splines too."""
    families = {"chebyshev": "eval_chebyt", "legendre": "eval_legendre", "jacobi": "eval_jacobi"}
    for r in every:
        f, x = r["basis"], np.array(r["x"])
        if f["name"] in families:
            u = np.tanh(x) if f["squash"] == "tanh" else np.clip(x, -1, 1)
            own = [f["alpha"], f["beta"]] if f["name"] == "jacobi" else []
            evaluated = getattr(scipy.special, families[f["name"]])
            want = [evaluated(d, *own, u) for d in range(f["degree"] + 1)]
            np.testing.assert_allclose(np.transpose(r["values"]), want, rtol=1e-7, atol=1e-9)
        if f["name"] == "bspline":
            assert_splines(r)


def assert_splines(r: dict) -> None:
    f = r["basis"]
    grid, order, radius, clamped = (f[k] for k in ("grid", "order", "grid_radius", "clamped"))
    t = [float(v) for v in knots_of(grid, order, mpf(radius), clamped)]
    for x, values, derivatives in zip(r["x"], r["values"], r["slopes"]):
        held = min(max(x, -radius), radius) if clamped else x
        if held < t[0] or held > t[-1]:
            assert not any(values) and not any(derivatives), (f, x, values, derivatives)
            continue
        for k, (value, derivative) in enumerate(zip(values, derivatives)):
            # SciPy looks for an interval between the inner knots, so more are put outside.
            knots = np.pad(np.array(t), order, "linear_ramp", end_values=(t[0] - 1, t[-1] + 1))
            spline = scipy.interpolate.BSpline(
                knots, np.eye(len(knots) - order - 1)[k + order], order
            )
            # The last interval of a clamped grid is closed.
            at = np.nextafter(held, -1) if clamped and held == t[-1] else held
            assert abs(spline(at) - value) < 1e-9, (f, x, k)
            if not isinstance(derivative, list):
                want = spline(at, 1) if at == x or not clamped else 0
                assert abs(want - derivative) < 1e-8, (f, x, k)


def main() -> None:
    assert_published()
    every = rows()
    assert_scipy(every)
    lines = [json.dumps(r, separators=(",", ":")) for r in every]
    print("[" + ",\n".join(lines) + "]")


if __name__ == "__main__":
    main()
