"""Loads a kanbench model file into the plain PyTorch model and predicts values with it.

With --check PROGRAM, holds them against what that kanbench decodes from the same file.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from model import MLP, FastKAN, Field, HashGrid

TOLERANCE = 1e-5
LATTICE = (37, 41, 43)
NAMES = {
    "spline_linear.weight": "spline_weight",
    "base_linear.weight": "base_weight",
    "base_linear.bias": "base_bias",
}


def file_name(parameter: str) -> str:
    """The name in a model file of a parameter of model.py."""
    for ours, theirs in NAMES.items():
        if parameter.endswith(ours):
            return parameter.removesuffix(ours) + theirs
    return parameter


def build(spec: dict) -> Field:
    """The model of an architecture as a model file's metadata tells it."""
    settings = dict(spec["encoder"])
    name = settings.pop("name")
    if name not in ("hash_grid", "identity"):
        raise SystemExit(f"encoder '{name}' is not in model.py")
    encoder = HashGrid(**settings) if name == "hash_grid" else nn.Identity()
    layers = spec["layers"]
    widths = [layers[0]["in"]] + [layer["out"] for layer in layers]
    bases = [layer["basis"]["name"] for layer in layers]
    decoder: nn.Module
    if bases == ["identity"] + ["relu"] * (len(layers) - 1):
        decoder = MLP(widths)
    elif set(bases) == {"rbf"}:
        first = layers[0]
        decoder = FastKAN(
            widths,
            first["basis"]["num_grids"],
            first["basis"]["grid_radius"],
            first["base"],
            [layer["norm"] for layer in layers],
        )
    else:
        raise SystemExit(f"layers of {', '.join(bases)} are not in model.py")
    return Field(encoder, decoder, spec["output_activation"])


def load(path: Path) -> tuple[Field, dict[str, str]]:
    """The model and the file's metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise SystemExit(f"{path}: {error}")
    if metadata.get("format") != "kanbench":
        raise SystemExit(f"{path}: not a kanbench model: its metadata does not say so")
    packed = [name for name, tensor in tensors.items() if tensor.dtype == torch.uint8]
    if packed:
        raise SystemExit(
            f"{path}: {packed[0]} is a ZFP stream, which this program does not read: "
            "store the model with zfp_enc and zfp_mlp 0"
        )
    model = build(json.loads(metadata["model"]))
    model.load_state_dict({name: tensors.pop(file_name(name)) for name in model.state_dict()})
    if tensors:
        raise SystemExit(f"{path}: tensors that the architecture does not have: {list(tensors)}")
    return model.eval(), metadata


def draw_voxels(count: int, seed: int) -> Tensor:
    """Different voxels [count, 3] of the lattice, as x, y, z."""
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randperm(math.prod(LATTICE), generator=generator)[:count]
    x, y, _ = LATTICE
    return torch.stack((flat % x, flat // x % y, flat // (x * y)), -1)


def decode(program: str, path: Path, metadata: dict[str, str]) -> np.ndarray:
    """kanbench's own values [z, y, x] on the lattice, in 0..1."""
    size = "x".join(str(n) for n in LATTICE)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "lattice.raw")
        command = [program, "reconstruct", str(path), "-o", str(raw), "--size", size]
        subprocess.run([*command, "--dtype", "float32"], check=True, stdout=subprocess.DEVNULL)
        values = np.fromfile(raw, "<f4").astype(np.float64).reshape(LATTICE[::-1])
    low, high = float(metadata["low"]), float(metadata["high"])
    return (values - low) / (high - low)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a .safetensors file that kanbench wrote")
    parser.add_argument("--points", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", metavar="PROGRAM", help="the kanbench executable")
    args = parser.parse_args()
    model, metadata = load(args.model)
    voxels = draw_voxels(args.points, args.seed)
    points = ((voxels.double() + 0.5) / torch.tensor(LATTICE)).float()
    with torch.no_grad():
        values = model(points)
    if not args.check:
        for point, value in zip(points.tolist(), values.tolist()):
            print(*(f"{number:.8f}" for number in (*point, value)))
        return
    x, y, z = voxels.T.numpy()
    theirs = decode(args.check, args.model, metadata)[z, y, x]
    ours = values.clamp(0, 1).double().numpy()
    worst = float(np.abs(ours - theirs).max())
    clamped = int(((values < 0) | (values > 1)).sum())
    print(
        f"{len(points)} points: largest difference {worst:.2e} (allowed {TOLERANCE:.0e}); "
        f"values {ours.min():.4f} to {ours.max():.4f}, {clamped} clamped"
    )
    if not worst <= TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
