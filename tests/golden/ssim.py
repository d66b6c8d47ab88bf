"""Figures of merit of small volumes by scikit-image and SciPy, for tests/metrics_test.cpp.

Writes ssim.json beside itself. Both sides make the volumes by integer arithmetic alone, so that
no library's rounding stands between them: values are multiples of 1/4096 in [0, 1].
"""

import json
import pathlib

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

CASES = [
    # name, shape (x, y, z), kind
    ("non_cubic", (24, 19, 15), "waves"),
    ("thin_z", (40, 33, 1), "waves"),
    ("thin_x", (1, 20, 17), "waves"),
    ("short_z", (16, 12, 7), "waves"),
    ("short_y", (13, 6, 12), "waves"),
    ("tiny", (3, 2, 4), "waves"),
    ("exactly_eleven", (11, 11, 11), "waves"),
    ("flat_background", (20, 21, 22), "background"),
]


def hashed(i, salt):
    """32 bits from a voxel's number: multiply, shift, xor (mod 2^32)."""
    h = (i.astype(np.uint64) * 2654435761 + salt) & 0xFFFFFFFF
    h ^= h >> 15
    h = (h * 2246822519) & 0xFFFFFFFF
    h ^= h >> 13
    return h.astype(np.int64)


def triangle(t, period):
    t = t % period
    return np.minimum(t, period - t)


def volumes(shape, kind):
    nx, ny, nz = shape
    z, y, x = np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")
    i = x + nx * (y + ny * z)
    if kind == "waves":
        a = 60 * triangle(3 * x + 5 * y + 7 * z, 64) + 50 * triangle(9 * x - 4 * y + 2 * z, 46)
        a = a + hashed(i, 1) % 257
        b = a + hashed(i, 2) % 401 - 200
    else:
        inside = (x - 9) ** 2 + (y - 10) ** 2 + (z - 11) ** 2 < 36
        a = np.where(inside, 2048 + 128 * triangle(x + y + z, 16) + hashed(i, 3) % 129, 40)
        b = a + np.where(inside, hashed(i, 4) % 301 - 150, hashed(i, 5) % 5 - 2)
    return np.clip(a, 0, 4096) / 4096.0, np.clip(b, 0, 4096) / 4096.0


def mirrored(a, b):
    """The form without cropping, by SciPy's filter with mode 'mirror', which repeats no edge."""
    mean = lambda v: gaussian_filter(v, sigma=1.5, truncate=3.5, mode="mirror")
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    s = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return s.mean()


def ssim(a, b):
    if min(a.shape) < 11:
        return mirrored(a, b)
    return structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1
    )


def main():
    rows = []
    for name, shape, kind in CASES:
        a, b = volumes(shape, kind)
        rows.append(
            {
                "name": name,
                "shape": shape,
                "kind": kind,
                "mse": mean_squared_error(a, b),
                "psnr": peak_signal_noise_ratio(a, b, data_range=1),
                "max_error": np.abs(a - b).max(),
                "ssim": np.mean([ssim(p, q) for p, q in zip(a, b)]),
                "ssim_3d": ssim(a, b),
            }
        )
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
