"""Golden values and slopes of SiLU, LayerNorm rows and one FastKAN layer, in double precision.

Run: python3 layers.py > layers.json (needs torch). Slopes are torch's autograd of the value.
Every input is exact in float32.
"""

import json
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

INPUTS = [-6.0, -2.5, -1.25, -1.0, -0.75, -0.2890625, -0.0078125, 0.0]
INPUTS += [0.0078125, 0.125, 0.3359375, 0.5, 0.984375, 1.0, 1.5, 3.25, 8.0]


def exact(*shape: int, seed: int, low: float = -1, high: float = 1) -> Tensor:
    """Multiples of 2^-10 from a linear congruential generator."""
    count, state, numbers = torch.Size(shape).numel(), seed, []
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        numbers.append(round((low + (high - low) * state / 2**32) * 1024) / 1024)
    return torch.tensor(numbers, dtype=torch.float64).reshape(shape)


def rbf(x: Tensor, num_grids: int, grid_radius: float) -> Tensor:
    centres = torch.linspace(-grid_radius, grid_radius, num_grids, dtype=torch.float64)
    spacing = 2 * grid_radius / (num_grids - 1)
    return torch.exp(-(((x[..., None] - centres) / spacing) ** 2))


def table(function: Callable[[Tensor], Tensor]) -> dict:
    """values[i][k] and slopes[i][k] of a function from [n] to [n, size]."""
    x = torch.tensor(INPUTS, dtype=torch.float64, requires_grad=True)
    values = function(x)
    slopes = [torch.autograd.grad(v.sum(), x, retain_graph=True)[0] for v in values.unbind(-1)]
    return {"values": values.tolist(), "slopes": torch.stack(slopes, -1).tolist()}


def norm_rows() -> dict:
    x = exact(6, 7, seed=1, low=-3, high=3)
    x[1] *= 2.0**-8
    x[2] = 0.75
    weight, bias = exact(7, seed=2), exact(7, seed=3)
    y = F.layer_norm(x, (7,), weight, bias, 1e-5)
    return {
        "x": x.tolist(),
        "weight": weight.tolist(),
        "bias": bias.tolist(),
        "y": y.tolist(),
    }


def fastkan_layer(norm: bool, base: bool) -> dict:
    n_in, n_out, num_grids, grid_radius = 5, 4, 8, 1.0
    x = exact(10, n_in, seed=4, low=-2, high=2)
    case = {
        "in": n_in,
        "out": n_out,
        "num_grids": num_grids,
        "grid_radius": grid_radius,
        "x": x.tolist(),
    }
    z = x
    if norm:
        norm_weight, norm_bias = exact(n_in, seed=5, low=0.5, high=1.5), exact(n_in, seed=6)
        case |= {"layernorm.weight": norm_weight.tolist(), "layernorm.bias": norm_bias.tolist()}
        z = F.layer_norm(x, (n_in,), norm_weight, norm_bias, 1e-5)
    weight = exact(n_out, n_in * num_grids, seed=7)
    y = rbf(z, num_grids, grid_radius).flatten(1) @ weight.T
    case["spline_weight"] = weight.tolist()
    if base:
        base_weight, base_bias = exact(n_out, n_in, seed=8), exact(n_out, seed=9)
        case |= {"base_weight": base_weight.tolist(), "base_bias": base_bias.tolist()}
        y = y + F.silu(x) @ base_weight.T + base_bias
    return case | {"y": y.tolist()}


def rounded(value: object) -> object:
    """Twelve significant digits, enough for every test and short to read."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return value


def main() -> None:
    golden = {
        "x": INPUTS,
        "silu": table(lambda x: F.silu(x)[:, None]),
        "layer_norm": norm_rows(),
        "fastkan_layers": [fastkan_layer(*c) for c in ((True, True), (False, True), (True, False))],
    }
    parts = [f'"{key}": {json.dumps(rounded(value))}' for key, value in golden.items()]
    print("{" + ",\n".join(parts).replace('}, {"', '},\n {"') + "}")


if __name__ == "__main__":
    main()
