"""Golden figures of grids that move: features, densities, the density loss and its gradient.

Run: python3 adaptive_grids.py > adaptive_grids.json (needs numpy and scipy).
Rotations are scipy's, interpolation is scipy's map_coordinates with zeros beyond the grid, and the
gradient is made of central differences of the loss with its targets and its sum held.
Node n (x fastest), feature j of grid g holds ((n * 37 + j * 11 + g * 101) mod 257 - 128) / 128.
"""

import json

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

EPS = 1e-16
CASES = [("similarity", 3, 4, 2), ("affine", 3, 4, 2), ("similarity", 5, 6, 3), ("affine", 2, 2, 1)]


def matrices(kind: str, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M [G][3][3] and t [G][3] of transforms [G][10 or 12]."""
    if kind == "affine":
        rows = numbers.reshape(-1, 3, 4)
        return rows[:, :, :3], rows[:, :, 3]
    rotation = Rotation.from_quat(numbers[:, 3:7]).as_matrix()
    return rotation @ (np.exp(numbers[:, :3])[:, :, None] * np.eye(3)), numbers[:, 7:]


def local(kind: str, numbers: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Coordinates [G][B][3] of points [B][3] in [-1, 1]."""
    m, t = matrices(kind, numbers)
    return np.einsum("gkj,bj->gbk", m, points) + t[:, None, :]


def features(kind: str, numbers: np.ndarray, points: np.ndarray, size: int, width: int):
    """[B][G * width]."""
    out = []
    node = np.arange(size**3).reshape(size, size, size)
    for g, y in enumerate(local(kind, numbers, points)):
        place = (size - 1) * (y[:, ::-1].T + 1) / 2
        for j in range(width):
            table = ((node * 37 + j * 11 + g * 101) % 257 - 128) / 128
            out.append(map_coordinates(table, place, order=1, mode="grid-constant", cval=0.0))
    return np.array(out).T


def densities(kind: str, numbers: np.ndarray, points: np.ndarray) -> np.ndarray:
    m, _ = matrices(kind, numbers)
    power = np.sum(local(kind, numbers, points) ** 20, axis=2)
    steepness = 0.5 if kind == "affine" else 1.0
    return np.sum(np.abs(np.linalg.det(m))[:, None] * np.exp(-steepness * power), axis=0)


def loss(kind: str, numbers: np.ndarray, points: np.ndarray, total: float, q: np.ndarray) -> float:
    p = densities(kind, numbers, points) / total
    return float(np.mean(q * (np.log(q + EPS) - np.log(p + EPS))))


def case(kind: str, grids: int, size: int, width: int, rng: np.random.Generator) -> dict:
    if kind == "similarity":
        numbers = np.concatenate(
            [
                rng.uniform(-0.3, 0.5, (grids, 3)),
                rng.normal(0, 1, (grids, 4)),
                rng.uniform(-0.4, 0.4, (grids, 3)),
            ],
            axis=1,
        )
    else:
        numbers = np.tile(np.eye(3, 4).ravel(), (grids, 1)) * 1.2 + rng.normal(0, 0.2, (grids, 12))
        numbers[-1, :4] *= -1  # a map that turns space inside out
    numbers = numbers.astype(np.float32).astype(np.float64)
    unit = np.float32(rng.uniform(0, 1, (40, 3))).astype(np.float64)
    points = 2 * unit - 1
    errors = np.float32(rng.uniform(0, 1, 40) ** 4).astype(np.float64)
    rho = densities(kind, numbers, points)
    total = float(np.sum(rho))
    q = np.exp(np.log(rho / total + EPS) * np.mean(errors) / (errors + EPS))
    q /= np.sum(q)
    gradient = np.zeros_like(numbers)
    for i in np.ndindex(*numbers.shape):
        step = np.zeros_like(numbers)
        step[i] = 1e-5
        gradient[i] = (
            loss(kind, numbers + step, points, total, q) - loss(kind, numbers - step, points, total, q)
        ) / 2e-5
    return {
        "transform": kind,
        "n_grids": grids,
        "resolution": size,
        "features": width,
        "transforms": numbers.tolist(),
        "points": unit.tolist(),
        "errors": errors.tolist(),
        "encoded": features(kind, numbers, points, size, width).tolist(),
        "density": rho.tolist(),
        "loss": loss(kind, numbers, points, total, q),
        "gradient": gradient.tolist(),
    }


def main() -> None:
    rng = np.random.default_rng(7)
    print(json.dumps({"cases": [case(*one, rng) for one in CASES]}, indent=None))


if __name__ == "__main__":
    main()
