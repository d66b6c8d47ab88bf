"""Golden features of every encoder but the hash grid, which hash_grid.py has, in double precision.

Run: python3 encoders.py > encoders.json (needs numpy). Interpolation is NumPy's own in one dimension
after another, not a sum over corners. Table entry (row r, feature j) of table number l holds
((r * 2654435761 + j * 40503 + l * 97) mod 2^32 mod 2047 - 1023) / 1024, exact in float32.
Points are exact in float32.
"""

import json
import math

import numpy as np


def points() -> list[list[float]]:
    """Corners, faces and 14 points inside from a small linear congruential generator."""
    state, inside = 54321, []
    for _ in range(14 * 3):
        state = (state * 1664525 + 1013904223) % 2**32
        inside.append((state >> 8) / 2**24)
    corners = [[0, 0, 0], [1, 1, 1], [1, 0, 0.25], [0, 1, 0.75], [0.5, 0.5, 0.5], [1, 0.5, 0]]
    return [[float(u) for u in p] for p in corners] + [inside[i : i + 3] for i in range(0, 42, 3)]


def table(number: int, rows: np.ndarray, features: int) -> np.ndarray:
    mixed = (rows[..., None].astype(np.uint64) * 2654435761 + np.arange(features) * 40503
             + number * 97) % 2**32
    return (mixed % 2047).astype(float) / 1024 - 1023 / 1024


def lattice(number: int, resolution: int, dimensions: int, features: int) -> np.ndarray:
    """Values at the nodes, indexed by the last axis first."""
    rows = np.arange(resolution**dimensions).reshape([resolution] * dimensions)
    return table(number, rows, features)


def interpolate(values: np.ndarray, place: list[float]) -> np.ndarray:
    """One axis after another; the first axis of `values` is the last of `place`."""
    for u in reversed(place):
        nodes = np.arange(values.shape[0])
        flat = values.reshape(values.shape[0], -1)
        columns = [np.interp(u, nodes, flat[:, c]) for c in range(flat.shape[1])]
        values = np.array(columns).reshape(values.shape[1:])
    return values


def node_grid(table_number: int, resolution: int, features: int, p: list[float]) -> list[float]:
    place = [u * (resolution - 1) for u in p]
    return interpolate(lattice(table_number, resolution, 3, features), place).tolist()


def growing(e: dict, level: int) -> float:
    return e["base_resolution"] * e["per_level_scale"] ** level - 1


# Each takes the encoder, a point and how many tables stand before its own.


def dense_grid(e: dict, p: list[float], before: int) -> list[float]:
    return node_grid(before, e["resolution"], e["features"], p)


def multi_dense_grid(e: dict, p: list[float], before: int) -> list[float]:
    return [x for l in range(e["n_levels"])
            for x in node_grid(before + l, math.ceil(growing(e, l)) + 1,
                               e["n_features_per_level"], p)]


def tiled_grid(e: dict, p: list[float], before: int) -> list[float]:
    found, features = [], e["n_features_per_level"]
    for level in range(e["n_levels"]):
        scale = float(np.float32(growing(e, level)))
        resolution = math.ceil(growing(e, level)) + 1
        entries = min((resolution**3 + 7) // 8 * 8, 2 ** e["log2_hashmap_size"])
        place = [u * scale + 0.5 for u in p]
        low = [math.floor(u) for u in place]
        corner = [np.arange(c, c + 2) for c in low]
        rows = (corner[0][None, None, :] + corner[1][None, :, None] * resolution
                + corner[2][:, None, None] * resolution**2) % entries
        values = table(before + level, rows, features)
        found += interpolate(values, [u - c for u, c in zip(place, low)]).tolist()
    return found


def tri_plane(e: dict, p: list[float], before: int) -> list[float]:
    found = []
    for plane, axes in enumerate(((0, 1), (0, 2), (1, 2))):
        place = [p[a] * (e["resolution"] - 1) for a in axes]
        values = lattice(before + plane, e["resolution"], 2, e["features"])
        found += interpolate(values, place).tolist()
    return found


def identity(e: dict, p: list[float], before: int) -> list[float]:
    return list(p)


def frequency(e: dict, p: list[float], before: int) -> list[float]:
    found = list(p) if e["include_input"] else []
    for u in p:
        for l in range(e["n_frequencies"]):
            half_turns = math.fmod(2**l * u, 2)
            found += [math.sin(math.pi * half_turns), math.cos(math.pi * half_turns)]
    return found


def philox(counter: list[int], key: list[int]) -> list[int]:
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def mix64(x: int) -> int:
    mask = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


FOURIER_DIRECTIONS = 7


def random_fourier(e: dict, p: list[float], before: int) -> list[float]:
    key, found = mix64(e["seed"] ^ mix64(FOURIER_DIRECTIONS)), []
    for i in range(e["n_frequencies"]):
        words = philox([i, 0, 0, 0], [key & 0xFFFFFFFF, key >> 32])
        unit = [(w >> 8) / 2**24 for w in words]
        normal = []
        for u, v in ((unit[0], unit[1]), (unit[2], unit[3])):
            radius = math.sqrt(-2 * math.log(1 - u))
            normal += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
        b = [float(np.float32(e["std"] * n)) for n in normal[:3]]
        turns = math.fmod(sum(x * y for x, y in zip(b, p)), 1)
        found += [math.sin(2 * math.pi * turns), math.cos(2 * math.pi * turns)]
    return found


def concat(e: dict, p: list[float], before: int) -> list[float]:
    found = []
    for part in e["parts"]:
        found += encode(part, p, before)
        before += {"dense_grid": 1, "tri_plane": 3}.get(part["name"], 0)
    return found


def encode(e: dict, p: list[float], before: int = 0) -> list[float]:
    return globals()[e["name"]](e, p, before)


CASES = [
    {"name": "identity"},
    {"name": "dense_grid", "resolution": 2, "features": 3},
    {"name": "dense_grid", "resolution": 7, "features": 4},
    {"name": "multi_dense_grid", "n_levels": 3, "n_features_per_level": 2, "base_resolution": 3,
     "per_level_scale": 1.7},
    {"name": "tiled_grid", "n_levels": 4, "n_features_per_level": 2, "log2_hashmap_size": 7,
     "base_resolution": 3, "per_level_scale": 1.9},
    {"name": "tiled_grid", "n_levels": 2, "n_features_per_level": 1, "log2_hashmap_size": 4,
     "base_resolution": 300, "per_level_scale": 16.0},
    {"name": "tri_plane", "resolution": 2, "features": 1},
    {"name": "tri_plane", "resolution": 9, "features": 5},
    {"name": "frequency", "n_frequencies": 1, "include_input": True},
    {"name": "frequency", "n_frequencies": 16, "include_input": False},
    {"name": "random_fourier", "n_frequencies": 20, "std": 4.0, "seed": 3},
    {"name": "random_fourier", "n_frequencies": 1, "std": 100.0, "seed": 2147483647},
]


CASES.append({"name": "concat", "parts": [CASES[2], CASES[8], CASES[7], CASES[10]]})

AT = points()
print(json.dumps({"points": AT, "cases": [{"encoder": e, "features": [[round(x, 12) for x in encode(e, p)] for p in AT]}
                                          for e in CASES]}, separators=(",", ":")))
