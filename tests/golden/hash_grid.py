"""Golden features of the hash-grid encoding, in plain Python loops and double precision.

Run: python3 hash_grid.py > hash_grid.json (needs numpy, for rounding to float32).
Table entry (row r, feature j) of level l holds
((r * 2654435761 + j * 40503 + l * 97) mod 2^32 mod 2047 - 1023) / 1024, exact in float32.
Points are exact in float32; a level's scale is rounded to float32 before use, as the program does.
"""

import itertools
import json
import math

import numpy as np

CONFIGURATIONS = [
    # n_levels, n_features_per_level, log2_hashmap_size, base_resolution, per_level_scale
    (1, 2, 12, 16, 2.0),
    (1, 4, 6, 16, 2.0),
    (1, 1, 3, 2, 2.0),
    (3, 2, 5, 1, 2.0),
    (8, 2, 12, 4, 1.38),
    (4, 5, 10, 7, 1.1),
    (3, 8, 15, 32, 1.1),
    (6, 2, 9, 8, 2.0),
]
CORNERS = [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5], [1, 0.5, 0]]


def points() -> list[list[float]]:
    """The corners, then 13 points inside from a small linear congruential generator."""
    state, inside = 12345, []
    for _ in range(13 * 3):
        state = (state * 1664525 + 1013904223) % 2**32
        inside.append((state >> 8) / 2**24)
    return [[float(u) for u in p] for p in CORNERS] + [inside[i : i + 3] for i in range(0, 39, 3)]


def table(level: int, row: int, feature: int) -> float:
    mixed = (row * 2654435761 + feature * 40503 + level * 97) % 2**32
    return (mixed % 2047 - 1023) / 1024


def geometry(base: int, growth: float, level: int, limit: int) -> dict:
    scale = float(base)
    for _ in range(level):
        scale *= growth
    scale -= 1
    resolution = math.ceil(scale) + 1
    entries = min((resolution**3 + 7) // 8 * 8, limit)
    return {
        "scale": float(np.float32(scale)),
        "resolution": resolution,
        "entries": entries,
        "dense": resolution**3 <= limit,
    }


def row_of(g: dict, x: int, y: int, z: int) -> int:
    if g["dense"]:
        row = x + y * g["resolution"] + z * g["resolution"] ** 2
    else:
        row = x ^ (y * 2654435761 % 2**32) ^ (z * 805459861 % 2**32)
    return row % g["entries"]


def encode(level: int, g: dict, n_features: int, point: list[float]) -> list[float]:
    position = [u * g["scale"] + 0.5 for u in point]
    cell = [math.floor(p) for p in position]
    offset = [p - c for p, c in zip(position, cell)]
    features = [0.0] * n_features
    for corner in itertools.product((0, 1), repeat=3):
        weight = math.prod(f if d else 1 - f for f, d in zip(offset, corner))
        row = row_of(g, *(c + d for c, d in zip(cell, corner)))
        for j in range(n_features):
            features[j] += weight * table(level, row, j)
    return features


def main() -> None:
    cases = []
    for n_levels, n_features, log2, base, growth in CONFIGURATIONS:
        levels = [geometry(base, growth, level, 2**log2) for level in range(n_levels)]
        features = [
            [round(v, 12) for l, g in enumerate(levels) for v in encode(l, g, n_features, p)]
            for p in points()
        ]
        encoder = {
            "n_levels": n_levels,
            "n_features_per_level": n_features,
            "log2_hashmap_size": log2,
            "base_resolution": base,
            "per_level_scale": growth,
        }
        cases.append({"encoder": encoder, "levels": levels, "features": features})
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    print(f'{{"points": {json.dumps(points())},\n "cases": [\n{lines}\n]}}')


if __name__ == "__main__":
    main()
