"""Trains the plain PyTorch model on a raw volume, or times its training and inference."""

import argparse
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import MLP, FastKAN, Field, HashGrid
from tiny import TinyField


def read_volume(path: Path) -> Tensor:
    """A name_XxYxZ_dtype.raw file as float32 [z, y, x], scaled to [0, 1]."""
    match = re.fullmatch(r".+_(\d+)x(\d+)x(\d+)_([a-z]+\d+)", path.stem)
    if not match:
        raise SystemExit(f"{path}: the name is not name_XxYxZ_dtype.raw")
    x, y, z = (int(n) for n in match.groups()[:3])
    voxels = np.fromfile(path, np.dtype(match[4]).newbyteorder("<")).astype(np.float64)
    if voxels.size != x * y * z:
        raise SystemExit(f"{path}: {voxels.size} voxels, {x * y * z} expected")
    voxels = (voxels - voxels.min()) / (voxels.max() - voxels.min())
    return torch.from_numpy(voxels.astype(np.float32).reshape(z, y, x))


def lookup(volume: Tensor, points: Tensor) -> Tensor:
    """Trilinear values at points [n, 3] in [0, 1], voxels centred in their cells."""
    grid = (points * 2 - 1)[None, None, None]
    values = F.grid_sample(volume[None, None], grid, padding_mode="border", align_corners=False)
    return values.flatten()


def synchronize(device: str) -> None:
    """Waits until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def voxel_centres(shape: torch.Size) -> Tensor:
    """Points [n, 3] of a volume [z, y, x], x fastest."""
    z, y, x = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in shape), indexing="ij")
    return torch.stack((x, y, z), -1).reshape(-1, 3)


def build_torch(args: argparse.Namespace) -> Field:
    encoder: nn.Module = nn.Identity()
    width = 3
    if args.log2_hashmap_size > 0:
        grid = HashGrid(
            args.n_levels,
            args.n_features_per_level,
            args.log2_hashmap_size,
            args.base_resolution,
            args.per_level_scale,
        )
        encoder, width = grid, grid.width
    widths = [width] + [args.n_neurons] * args.n_hidden_layers + [1]
    if args.network_type == "mlp":
        return Field(encoder, MLP(widths), args.output_activation)
    norms = [i > 0 or not args.no_first_layernorm for i in range(len(widths) - 1)]
    decoder = FastKAN(widths, args.num_grids, args.grid_radius, layernorm=norms)
    return Field(encoder, decoder, args.output_activation)


def build(args: argparse.Namespace) -> nn.Module:
    """The model on its device, as `--implementation` says."""
    if args.implementation == "tiny":
        return TinyField(args)
    model = build_torch(args).to(args.device)
    return torch.compile(model) if args.implementation == "compiled" else model


class Trainer:
    """Adam on the mean L1 error of uniformly drawn points."""

    def __init__(self, model: nn.Module, volume: Tensor, batch_size: int, lrate: float) -> None:
        self.model, self.volume, self.batch_size = model, volume, batch_size
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=lrate, betas=(0.9, 0.999), eps=1e-9
        )

    def step(self) -> Tensor:
        """The batch's mean squared error, before the step."""
        points = torch.rand(self.batch_size, 3, device=self.volume.device)
        error = self.model(points) - lookup(self.volume, points)
        self.optimizer.zero_grad()
        error.abs().mean().backward()
        self.optimizer.step()
        return error.detach().square().mean()


@torch.no_grad()
def predict(model: nn.Module, points: Tensor, batch_size: int) -> Tensor:
    return torch.cat([model(part) for part in points.split(batch_size)])


def psnr(model: nn.Module, volume: Tensor, batch_size: int) -> float:
    points = voxel_centres(volume.shape).to(volume.device)
    values = predict(model, points, batch_size).clamp(0, 1)
    return -10 * math.log10(F.mse_loss(values.double(), volume.flatten().double()).item())


def rate(step: Callable[[], object], args: argparse.Namespace) -> float:
    """Samples a second: the best of --turns turns, after --warmup untimed steps. Steps are handed
    over without waiting for each, as many as one step's time lets expect to fill the turn."""
    for _ in range(args.warmup):
        step()
    synchronize(args.device)
    start = time.perf_counter()
    step()
    synchronize(args.device)
    one = time.perf_counter() - start
    steps = max(args.steps, math.ceil(args.seconds / args.turns / one))
    best = 0.0
    for _ in range(args.turns):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(args.device)
        best = max(best, args.batch_size * steps / (time.perf_counter() - start))
    return best


def measure(volume: Tensor, args: argparse.Namespace) -> dict[str, float]:
    model = build(args)
    trainer = Trainer(model, volume, args.batch_size, args.lrate)
    points = torch.rand(args.batch_size, 3, device=args.device)
    training = rate(trainer.step, args)
    inference = rate(lambda: predict(model, points, args.batch_size), args)
    return {
        "training_samples_per_second": training,
        "inference_samples_per_second": inference,
    }


def fit(volume: Tensor, args: argparse.Namespace) -> dict[str, float]:
    """Trains for --epochs, or until the batches of one reach --psnr."""
    model = build(args)
    size = args.fit_batch_size or args.batch_size
    trainer = Trainer(model, volume, size, args.lrate)
    schedule = torch.optim.lr_scheduler.StepLR(trainer.optimizer, args.lrate_decay, gamma=0.5)
    if args.implementation == "compiled":
        # Compiling is no part of training; the steps that it takes are, a little, in its favour.
        trainer.step()
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    steps = math.ceil(volume.numel() / size)
    result: dict[str, float] = {}
    synchronize(args.device)
    start = time.perf_counter()
    for epoch in range(1, args.epochs + 1):
        reached = -10 * math.log10(float(sum(trainer.step() for _ in range(steps)) / steps))
        schedule.step()
        if not args.json:
            print(f"epoch {epoch}/{args.epochs} batches' PSNR {reached:.2f}")
        if args.psnr and reached >= args.psnr:
            result["seconds_to_psnr"] = time.perf_counter() - start
            break
    result["train_seconds"] = time.perf_counter() - start
    result["psnr"] = psnr(model, volume, size)
    if args.device == "cuda":
        result["peak_bytes"] = torch.cuda.max_memory_allocated()
    return result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("volume", type=Path, help="name_XxYxZ_dtype.raw")
    add("--network-type", choices=("mlp", "fastkan"), default="mlp")
    add("--n-levels", type=int, default=16)
    add("--n-features-per-level", type=int, default=2)
    add("--log2-hashmap-size", type=int, default=19, help="0: no encoder")
    add("--base-resolution", type=int, default=16)
    add("--per-level-scale", type=float, default=1.38)
    add("--n-neurons", type=int, default=64)
    add("--n-hidden-layers", type=int, default=2)
    add("--num-grids", type=int, default=8)
    add("--grid-radius", type=float, default=1.0)
    add("--no-first-layernorm", action="store_true", help="no LayerNorm before the first layer")
    add("--output-activation", choices=("None", "Sigmoid", "ReLU"), default="None")
    add("--lrate", type=float, default=0.001)
    add("--lrate-decay", type=int, default=16, help="epochs after which the step is halved")
    add("--epochs", type=int, default=0, help="train that long; 0: only measure speed")
    add("--psnr", type=float, default=0, help="stop when an epoch's batches reach it; 0: never")
    add("--fit-batch-size", type=int, default=0, help="of --epochs; 0: that of the speed")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--implementation", choices=("torch", "compiled", "tiny"), default="torch")
    add("--batch-size", type=int, default=65536)
    add("--warmup", type=int, default=1, help="untimed steps")
    add("--turns", type=int, default=5, help="timed turns, of which the best counts")
    add("--steps", type=int, default=1, help="steps in a turn, at least")
    add("--seconds", type=float, default=0, help="seconds that the turns share, at least; with --epochs, 0: measure no speed")
    add("--threads", type=int, default=2)
    add("--seed", type=int, default=0)
    add("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    volume = read_volume(args.volume).to(args.device)
    result = measure(volume, args) if args.seconds or not args.epochs else {}
    if args.epochs:
        result |= fit(volume, args)
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key}: {value:,.2f}" for key, value in result.items()))


if __name__ == "__main__":
    main()
