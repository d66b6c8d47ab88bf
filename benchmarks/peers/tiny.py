"""The same field by tiny-cuda-nn's Python package, where a user has it: an MLP on a CUDA device."""

import argparse

from torch import Tensor, nn


class TinyField(nn.Module):
    """Points [n, 3] to values [n], in half precision inside."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__()
        # Not a package that this program needs otherwise.
        import tinycudann

        if args.network_type != "mlp":
            raise SystemExit("tiny-cuda-nn has no FastKAN")
        encoding = {
            "otype": "HashGrid",
            "n_levels": args.n_levels,
            "n_features_per_level": args.n_features_per_level,
            "log2_hashmap_size": args.log2_hashmap_size,
            "base_resolution": args.base_resolution,
            "per_level_scale": args.per_level_scale,
        }
        network = {
            "otype": "FullyFusedMLP",
            "activation": "ReLU",
            "output_activation": args.output_activation,
            "n_neurons": args.n_neurons,
            "n_hidden_layers": args.n_hidden_layers,
        }
        self.field = tinycudann.NetworkWithInputEncoding(3, 1, encoding, network)

    def forward(self, points: Tensor) -> Tensor:
        return self.field(points).float().squeeze(-1)
