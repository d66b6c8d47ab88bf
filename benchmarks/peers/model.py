"""The neural field that kanbench trains, in plain PyTorch: hash grid, then an MLP or a FastKAN."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HashGrid(nn.Module):
    """Multi-resolution hash encoding of points [n, 3] in [0, 1]."""

    def __init__(
        self,
        n_levels: int,
        n_features_per_level: int,
        log2_hashmap_size: int,
        base_resolution: int,
        per_level_scale: float,
    ) -> None:
        super().__init__()
        self.scales: list[float] = []
        self.resolutions: list[int] = []
        self.dense: list[bool] = []
        self.levels = nn.ParameterList()
        self.width = n_levels * n_features_per_level
        limit = 2**log2_hashmap_size
        scale = float(base_resolution)
        for _ in range(n_levels):
            resolution = math.ceil(scale - 1) + 1
            entries = min(-(-(resolution**3) // 8) * 8, limit)
            self.scales.append(float(np.float32(scale - 1)))
            self.resolutions.append(resolution)
            self.dense.append(resolution**3 <= limit)
            table = torch.empty(entries, n_features_per_level).uniform_(-1e-4, 1e-4)
            self.levels.append(nn.Parameter(table))
            scale *= per_level_scale

    def corners(self, level: int, points: Tensor) -> tuple[Tensor, Tensor]:
        """Table rows and weights [2, 2, 2, n] of the corners around points, z outermost."""
        position = points.T * self.scales[level] + 0.5
        cell = position.floor()
        offset = position - cell
        x, y, z = torch.stack((cell, cell + 1), 1).long()
        wx, wy, wz = torch.stack((1 - offset, offset), 1)
        weight = wz[:, None, None] * wy[:, None] * wx
        entries = len(self.levels[level])
        if self.dense[level]:
            resolution = self.resolutions[level]
            row = z[:, None, None] * resolution**2 + y[:, None] * resolution + x
            return row % entries, weight
        row = (z * 805459861)[:, None, None] ^ (y * 2654435761)[:, None] ^ x
        return row & (entries - 1), weight

    def forward(self, points: Tensor) -> Tensor:
        features = []
        for level, table in enumerate(self.levels):
            row, weight = self.corners(level, points)
            features.append((weight[..., None] * F.embedding(row, table)).sum((0, 1, 2)))
        return torch.cat(features, -1)


class MLP(nn.Module):
    """Linear maps without bias, ReLU between them."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class FastKANLayer(nn.Module):
    """Gaussians on a uniform grid of each input, plus a linear branch on silu(x)."""

    grid: Tensor

    def __init__(
        self,
        n_in: int,
        n_out: int,
        num_grids: int = 8,
        grid_radius: float = 1.0,
        base: bool = True,
        layernorm: bool = True,
    ) -> None:
        super().__init__()
        self.spacing = 2 * grid_radius / (num_grids - 1)
        grid = torch.linspace(-grid_radius, grid_radius, num_grids)
        self.register_buffer("grid", grid, persistent=False)
        self.layernorm = nn.LayerNorm(n_in) if layernorm else nn.Identity()
        self.spline_linear = nn.Linear(n_in * num_grids, n_out, bias=False)
        self.base_linear = nn.Linear(n_in, n_out) if base else None
        nn.init.normal_(self.spline_linear.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.layernorm(x)
        basis = torch.exp(-(((z[..., None] - self.grid) / self.spacing) ** 2))
        y = self.spline_linear(basis.flatten(-2))
        return y if self.base_linear is None else y + self.base_linear(F.silu(x))


class FastKAN(nn.Module):
    """A chain of FastKAN layers; `layernorm` says for each whether it normalises its input."""

    def __init__(
        self,
        widths: Sequence[int],
        num_grids: int = 8,
        grid_radius: float = 1.0,
        base: bool = True,
        layernorm: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        norms = layernorm or [True] * (len(widths) - 1)
        self.layers = nn.ModuleList(
            FastKANLayer(a, b, num_grids, grid_radius, base, norm)
            for (a, b), norm in zip(pairwise(widths), norms, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


OUTPUTS: dict[str, type[nn.Module]] = {
    "None": nn.Identity,
    "Sigmoid": nn.Sigmoid,
    "ReLU": nn.ReLU,
}


class Field(nn.Module):
    """Points [n, 3] to values [n]: encoder (nn.Identity for none), decoder, output activation."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, output: str = "None") -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.output = OUTPUTS[output]()

    def forward(self, points: Tensor) -> Tensor:
        return self.output(self.decoder(self.encoder(points))).squeeze(-1)
