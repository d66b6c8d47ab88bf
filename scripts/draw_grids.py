#!/usr/bin/env python3
"""Draws a volume's middle z slice with the outlines of grids before and after training.

usage: draw_grids.py volume_XxYxZ_dtype.raw before.vtp after.vtp picture.png

The boxes are those of `kanbench info MODEL --grids FILE.vtp`, of a volume whose first voxel is at 0.
Needs numpy and matplotlib.
"""

import re
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

EDGES = [(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit]


def read_slice(path: Path) -> np.ndarray:
    """The middle slice [y][x]."""
    x, y, z, dtype = re.search(r"_(\d+)x(\d+)x(\d+)_(\w+)\.raw$", path.name).groups()
    size = (int(z), int(y), int(x))
    return np.memmap(path, dtype=np.dtype(dtype), mode="r", shape=size)[int(z) // 2]


def read_spacing(volume: Path) -> np.ndarray:
    """Between voxels, as the .nhdr beside the volume says, if there is one."""
    header = volume.with_suffix(".nhdr")
    found = re.search(r"^spacings: (.*)$", header.read_text(), re.M) if header.exists() else None
    return np.array(found.group(1).split()[:3], dtype=float) if found else np.ones(3)


def read_boxes(path: Path, spacing: np.ndarray) -> np.ndarray:
    """Corners [grid][8][3] in voxels."""
    text = re.search(r'Name="Points"[^>]*>([^<]*)<', path.read_text()).group(1)
    return np.array(text.split(), dtype=float).reshape(-1, 8, 3) / spacing


def outline(box: np.ndarray, z: float) -> np.ndarray:
    """Where the faces of a box cut the plane at z, as a closed polygon [n][2]; empty if nowhere."""
    points = []
    for a, b in EDGES:
        low, high = box[a], box[b]
        if (low[2] - z) * (high[2] - z) < 0:
            points.append(low + (z - low[2]) / (high[2] - low[2]) * (high - low))
    if len(points) < 3:
        return np.empty((0, 2))
    flat = np.array(points)[:, :2]
    centre = flat.mean(axis=0)
    order = np.argsort(np.arctan2(*(flat - centre).T[::-1]))
    return flat[np.append(order, order[0])]


def main() -> None:
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    volume = Path(sys.argv[1])
    image = read_slice(volume)
    depth = int(re.search(r"x(\d+)_\w+\.raw$", volume.name).group(1))
    spacing = read_spacing(volume)
    figure, axes = plt.subplots(1, 2, figsize=(10, 5 * image.shape[0] / image.shape[1] + 0.4))
    for axis, name, title in zip(axes, sys.argv[2:4], ("before", "after"), strict=True):
        axis.imshow(image, cmap="gray", origin="lower")
        for i, box in enumerate(read_boxes(Path(name), spacing)):
            polygon = outline(box, depth // 2 + 0.01)
            axis.plot(*polygon.T, color=plt.cm.turbo(i * 37 % 64 / 63), linewidth=0.7, alpha=0.8)
        margin = 0.15 * max(image.shape)
        axis.set_xlim(-margin, image.shape[1] + margin)
        axis.set_ylim(-margin, image.shape[0] + margin)
        axis.set_title(title)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(sys.argv[4], dpi=80)


if __name__ == "__main__":
    main()
