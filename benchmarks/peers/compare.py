"""Times kanbench and other programs in turn on the same processor and prints the ratios.

The runs are those of params.json. On a CPU the other program is plain PyTorch, timed twice: as it
comes, and with glibc told to keep freed memory, which spares it the page faults of its large
temporaries. On a CUDA device the others are plain PyTorch, the same under torch.compile, kanbench's
own general path in float32, and tiny-cuda-nn where its Python package can be imported. Each reports
the best of five turns; the table shows medians of several rounds.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
PHASES = ("training", "inference")
SHAPE_KEYS = (
    "n_neurons",
    "n_hidden_layers",
    "n_levels",
    "n_features_per_level",
    "per_level_scale",
    "log2_hashmap_size",
    "base_resolution",
    "lrate",
    "lrate_decay",
)
Figures = dict[str, float]


def list_runs(params: Path) -> list[dict]:
    """The parameter file's runs, in the order of their indices."""
    entries = [e for group in json.loads(params.read_text()).values() for e in group]
    return [{**e, "network_type": t} for e in entries for t in e["network_types"]]


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}exit {done.returncode}")
    return done.stdout


def time_to_psnr(trial: dict, wanted: float) -> Figures:
    """Seconds to the end of the first epoch whose batches reached it, if one did."""
    seconds = 0.0
    for epoch in trial["epochs"]:
        seconds += epoch["seconds"]
        if epoch["psnr"] is not None and epoch["psnr"] >= wanted:
            return {"seconds_to_psnr": seconds}
    return {}


def run_kanbench(index: int, args: argparse.Namespace, precision: str) -> Figures:
    common = ["--params", str(args.params), "--dataset", "nucleon", "--run-index", str(index)]
    common += ["--data-dir", str(args.volume.parent), "--precision", precision]
    common += ["--device", args.device, "--threads", str(args.threads)]
    common += ["--faithful"] if args.faithful else []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "perf.json")
        command = [args.program, "perf", *common, "--batch-size", str(args.batch_size)]
        run([*command, "--seconds", str(args.seconds), "--json", str(report)])
        result = json.loads(report.read_text())["results"][0]
        figures = {phase: result[f"{phase}_samples_per_second"] for phase in PHASES}
        if args.psnr:
            command = [args.program, "bench", *common, "--batch-size", str(args.fit_batch_size)]
            command += ["--epochs", str(args.epochs), "--save-mode", "none", "--output-dir", folder]
            run([*command, "--no-resume"])
            line = json.loads(Path(folder, "results.jsonl").read_text().splitlines()[0])
            figures |= time_to_psnr(line["trials"][0], args.psnr)
            figures["peak_bytes"] = line["row"]["peak_device_bytes"]
        return figures


def run_torch(
    entry: dict, args: argparse.Namespace, implementation: str, environment: dict[str, str]
) -> Figures:
    command = [args.python, str(HERE / "train.py"), str(args.volume), "--json"]
    command += ["--network-type", entry["network_type"], "--batch-size", str(args.batch_size)]
    command += ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    command += ["--device", args.torch_device or args.device, "--implementation", implementation]
    if not args.faithful:
        command.append("--no-first-layernorm")
    for key in SHAPE_KEYS:
        command += [f"--{key.replace('_', '-')}", str(entry[key])]
    if args.psnr:
        command += ["--psnr", str(args.psnr), "--epochs", str(args.epochs)]
        command += ["--fit-batch-size", str(args.fit_batch_size)]
    # Compilers write what they think, so the last line it is.
    result = json.loads(run(command, environment).splitlines()[-1])
    figures = {phase: result[f"{phase}_samples_per_second"] for phase in PHASES}
    return figures | {k: result[k] for k in ("seconds_to_psnr", "peak_bytes") if k in result}


Contender = Callable[[], Figures]


def contenders(index: int, entry: dict, args: argparse.Namespace) -> dict[str, Contender]:
    """kanbench first, then its peers."""
    ours = {"kanbench": lambda: run_kanbench(index, args, "auto")}
    if args.device == "cpu":
        return ours | {
            "torch": lambda: run_torch(entry, args, "torch", {}),
            "torch_kept_memory": lambda: run_torch(entry, args, "torch", KEPT_MEMORY),
        }
    ours |= {
        "torch": lambda: run_torch(entry, args, "torch", {}),
        "torch_compiled": lambda: run_torch(entry, args, "compiled", {}),
        "kanbench_fp32": lambda: run_kanbench(index, args, "fp32"),
    }
    if entry["network_type"] == "mlp" and importlib.util.find_spec("tinycudann"):
        ours["tiny_cuda_nn"] = lambda: run_torch(entry, args, "tiny", {})
    return ours


def title(entry: dict) -> str:
    return (
        f"{entry['network_type']:<8}{entry['n_levels']} x {entry['n_features_per_level']}, "
        f"2^{entry['log2_hashmap_size']}, {entry['n_hidden_layers']} x {entry['n_neurons']}"
    )


def describe(name: str, found: Figures, ours: Figures) -> str:
    """A contender's line: its figures, and how many times faster kanbench is."""
    line = f"  {name:<20}"
    for phase in PHASES:
        line += f"{found[phase]:>16,.0f}{ours[phase] / found[phase]:>8.1f}"
    seconds = found.get("seconds_to_psnr")
    line += f"{seconds:>10.2f} s" if seconds is not None else f"{'':>12}"
    return line + (f"{found['peak_bytes'] / 1e6:>10,.0f} MB" if "peak_bytes" in found else "")


def compare(index: int, entry: dict, args: argparse.Namespace) -> dict:
    """Medians over the rounds, and every round's figures. Whoever fails is left out, with why."""
    rounds: dict[str, list[Figures]] = {}
    failures: dict[str, str] = {}
    everyone = contenders(index, entry, args)
    for _ in range(args.rounds):
        for name, contender in everyone.items():
            try:
                rounds.setdefault(name, []).append(contender())
            except RuntimeError as error:
                if name == "kanbench":
                    raise SystemExit(str(error)) from error
                failures[name] = str(error)
    result: dict = {"run_index": index, "title": title(entry), "rounds": rounds}
    result |= {"failures": failures, "lines": [title(entry)]}
    middle = {
        name: {key: median(f[key] for f in found if key in f) for key in found[0]}
        for name, found in rounds.items()
        if found
    }
    for phase in PHASES:
        result[phase] = {name: figures[phase] for name, figures in middle.items()}
    for name, figures in middle.items():
        result["lines"].append(describe(name, figures, middle["kanbench"]))
    for name, why in failures.items():
        result["lines"].append(f"  {name:<20}failed: {why.splitlines()[-2][:120]}")
    print("\n".join(result["lines"]), flush=True)
    return result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--program", required=True, help="the kanbench executable")
    add("--params", type=Path, default=HERE / "params.json")
    demo = HERE.parents[1] / "demo_data" / "nucleon_41x41x41_uint8.raw"
    add("--volume", type=Path, default=demo, help="the raw volume named nucleon")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--torch-device", choices=("cpu", "cuda"), help="PyTorch's, if another")
    add("--python", default=sys.executable, help="a Python that has torch and numpy")
    add("--runs", type=int, nargs="*", help="indices of the runs; all if not given")
    add("--batch-size", type=int, default=65536)
    add("--threads", type=int, default=2)
    add("--seconds", type=float, default=5, help="of each timing")
    add("--rounds", type=int, default=3, help="alternations")
    add("--psnr", type=float, default=0, help="also train until an epoch's batches reach it")
    add("--epochs", type=int, default=100, help="at most so many for --psnr")
    add("--fit-batch-size", type=int, default=4096, help="of the training for --psnr")
    add(
        "--faithful",
        action="store_true",
        help="kanbench with --faithful: dense Adam and LayerNorm on all layers, as in PyTorch",
    )
    add("--json", type=Path, help="write all figures there")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    where = f"on {args.device}"
    if args.device == "cpu":
        cores = sorted(os.sched_getaffinity(0))[: args.threads]
        os.sched_setaffinity(0, cores)
        where = f"{args.threads} threads on cores {cores}"
    reach = f"seconds to {args.psnr:g} dB, peak memory" if args.psnr else ""
    print(
        f"samples/s at batch {args.batch_size:,}, {where}, medians of {args.rounds} rounds"
        f"{', --faithful' if args.faithful else ''}; how many times kanbench's\n"
        f"{'':<22}{'training/s':>16}{'':>8}{'inference/s':>16}{'':>12}{reach}"
    )
    results = [
        compare(i, entry, args)
        for i, entry in enumerate(list_runs(args.params))
        if not args.runs or i in args.runs
    ]
    if args.json:
        keys = ("batch_size", "threads", "faithful", "device", "psnr", "fit_batch_size")
        report = {key: getattr(args, key) for key in keys} | {"results": results}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
