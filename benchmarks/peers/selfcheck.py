"""Holds model.py and train.py against slow loops and the golden figures in tests/golden."""

import json
from pathlib import Path

import torch
from torch import Tensor

from model import FastKANLayer, HashGrid
from train import lookup, voxel_centres

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"


def golden(name: str) -> dict:
    return json.loads((GOLDEN / name).read_text())


def largest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape, f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
    return (a - b).abs().max().item()


def check_rows() -> float:
    """Table rows of the corners against a loop, on a dense and a hashed level; 0 where equal."""
    encoder = HashGrid(2, 2, 9, 8, 3.0)
    assert encoder.dense == [True, False]
    points, differing = torch.rand(50, 3), 0
    for level, (scale, resolution) in enumerate(zip(encoder.scales, encoder.resolutions)):
        rows, _ = encoder.corners(level, points)
        for i, cell in enumerate((points * scale + 0.5).int().tolist()):
            for c in range(8):
                x, y, z = (cell[d] + (c >> d & 1) for d in range(3))
                row = x + y * resolution + z * resolution**2
                if level == 1:
                    row = x ^ (y * 2654435761 & 0xFFFFFFFF) ^ (z * 805459861 & 0xFFFFFFFF)
                differing += row % 512 != rows[c >> 2, c >> 1 & 1, c & 1, i].item()
    return float(differing)


def check_encoder() -> float:
    figures, worst = golden("hash_grid.json"), 0.0
    for case in figures["cases"]:
        encoder = HashGrid(**case["encoder"])
        with torch.no_grad():
            for level, table in enumerate(encoder.levels):
                row = torch.arange(len(table))[:, None] * 2654435761
                mixed = (row + torch.arange(table.shape[1]) * 40503 + level * 97) % 2**32
                table.copy_((mixed % 2047 - 1023) / 1024)
            features = encoder(torch.tensor(figures["points"]))
        worst = max(worst, largest(features, torch.tensor(case["features"])))
    return worst


def check_layers() -> float:
    worst = 0.0
    for case in golden("layers.json")["fastkan_layers"]:
        base, norm = "base_weight" in case, "layernorm.weight" in case
        shape = case["in"], case["out"], case["num_grids"], case["grid_radius"]
        layer = FastKANLayer(*shape, base, norm)
        state = {"spline_linear.weight": torch.tensor(case["spline_weight"])}
        if base:
            state["base_linear.weight"] = torch.tensor(case["base_weight"])
            state["base_linear.bias"] = torch.tensor(case["base_bias"])
        if norm:
            state["layernorm.weight"] = torch.tensor(case["layernorm.weight"])
            state["layernorm.bias"] = torch.tensor(case["layernorm.bias"])
        layer.load_state_dict(state)
        worst = max(
            worst, largest(layer(torch.tensor(case["x"])).detach(), torch.tensor(case["y"]))
        )
    return worst


def check_lookup() -> float:
    """At voxel centres the volume itself; elsewhere a plane in x, y, z, clamped to the edge."""
    volume = torch.rand(3, 4, 5)
    centres = voxel_centres(volume.shape)
    worst = largest(lookup(volume, centres), volume.flatten())
    z, y, x = torch.meshgrid(*(torch.arange(float(n)) for n in volume.shape), indexing="ij")
    points = torch.rand(200, 3)
    voxel = points * torch.tensor([5, 4, 3]) - 0.5
    voxel = voxel.clamp(min=0).minimum(torch.tensor([4, 3, 2]))
    plane = voxel @ torch.tensor([1.0, 10, 100])
    return max(worst, largest(lookup(x + 10 * y + 100 * z, points), plane))


def main() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    limits = {check_rows: 0.0, check_encoder: 1e-10, check_layers: 1e-10, check_lookup: 1e-12}
    failed = False
    for check, limit in limits.items():
        found = check()
        failed |= not found <= limit
        print(f"{check.__name__}: {found:.2e}, allowed {limit:.0e}")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
