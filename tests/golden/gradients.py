"""Golden gradients of two small whole models (hash grid + FastKAN, hash grid + MLP), by torch.

Run: python3 gradients.py > gradients.json (needs torch and safetensors).
The model is benchmarks/peers/model.py.
Parameters, points and targets are exact in float32 and named as in model files. `loss` is the sum
of |value - target| over the points and `gradients` its derivative, all in double precision.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "peers"))

from bases import exact, rounded  # noqa: E402
from load import file_name  # noqa: E402
from model import MLP, FastKAN, Field, HashGrid  # noqa: E402

ENCODER = {
    "n_levels": 3,
    "n_features_per_level": 2,
    "log2_hashmap_size": 6,
    "base_resolution": 4,
    "per_level_scale": 1.7,
}
WIDTHS = [6, 5, 5, 1]
NUM_GRIDS = 4
GRID_RADIUS = 1.5  # a spacing of 1, exact in float32
POINTS = 12


def case(network_type: str) -> dict:
    decoder = MLP(WIDTHS) if network_type == "mlp" else FastKAN(WIDTHS, NUM_GRIDS, GRID_RADIUS)
    model = Field(HashGrid(**ENCODER), decoder)
    with torch.no_grad():
        for seed, (name, p) in enumerate(model.named_parameters(), 100):
            p.copy_(exact(*p.shape, seed=seed))
            if name.endswith("layernorm.weight"):
                p.copy_(1 + p / 4)
    points = exact(POINTS, 3, seed=50, low=0)
    targets = exact(POINTS, seed=51, low=0)
    values = model(points)
    loss = (values - targets).abs().sum()
    loss.backward()
    named = [(file_name(name), p) for name, p in model.named_parameters()]
    return {
        "network_type": network_type,
        "encoder": ENCODER,
        "widths": WIDTHS,
        "num_grids": NUM_GRIDS,
        "grid_radius": GRID_RADIUS,
        "points": points.tolist(),
        "targets": targets.tolist(),
        "values": values.tolist(),
        "loss": loss.item(),
        "parameters": {name: p.tolist() for name, p in named},
        "gradients": {name: p.grad.tolist() for name, p in named},
    }


def main() -> None:
    torch.set_default_dtype(torch.float64)
    cases = (json.dumps(rounded(case(name))) for name in ("fastkan", "mlp"))
    print("[" + ",\n".join(cases) + "]")


if __name__ == "__main__":
    main()
