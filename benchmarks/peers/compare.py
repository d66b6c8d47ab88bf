"""Times kanbench and the plain PyTorch program in turn on the same cores and prints the ratios.

The runs are those of params.json. PyTorch is timed twice: as it comes, and with glibc told to keep
freed memory, which spares it the page faults of its large temporaries. Both programs report the
best of five turns; the table shows medians of several rounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
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
)
Rates = dict[str, float]


def list_runs(params: Path) -> list[dict]:
    """The parameter file's runs, in the order of their indices."""
    entries = [e for group in json.loads(params.read_text()).values() for e in group]
    return [{**e, "network_type": t} for e in entries for t in e["network_types"]]


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}exit {done.returncode}")
    return done.stdout


def rates(result: dict) -> Rates:
    return {phase: result[f"{phase}_samples_per_second"] for phase in PHASES}


def time_kanbench(index: int, args: argparse.Namespace) -> Rates:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "perf.json")
        command = [args.program, "perf", "--params", str(args.params), "--dataset", "nucleon"]
        command += ["--run-index", str(index), "--batch-size", str(args.batch_size)]
        command += ["--data-dir", str(args.volume.parent), "--threads", str(args.threads)]
        command += ["--seconds", str(args.seconds), *(["--faithful"] if args.faithful else [])]
        run([*command, "--device", "cpu", "--json", str(report)])
        return rates(json.loads(report.read_text())["results"][0])


def time_torch(entry: dict, args: argparse.Namespace, environment: dict[str, str]) -> Rates:
    command = [sys.executable, str(HERE / "train.py"), str(args.volume), "--json"]
    command += ["--network-type", entry["network_type"], "--batch-size", str(args.batch_size)]
    command += ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    if not args.faithful:
        command.append("--no-first-layernorm")
    for key in SHAPE_KEYS:
        command += [f"--{key.replace('_', '-')}", str(entry[key])]
    return rates(json.loads(run(command, environment)))


def title(entry: dict) -> str:
    return (
        f"{entry['network_type']:<8}{entry['n_levels']} x {entry['n_features_per_level']}, "
        f"2^{entry['log2_hashmap_size']}, {entry['n_hidden_layers']} x {entry['n_neurons']}"
    )


def compare(index: int, entry: dict, args: argparse.Namespace) -> dict:
    """Medians over the rounds, and every round's figures."""
    rounds: dict[str, list[Rates]] = {"kanbench": [], "torch": [], "torch_kept_memory": []}
    for _ in range(args.rounds):
        rounds["kanbench"].append(time_kanbench(index, args))
        rounds["torch"].append(time_torch(entry, args, {}))
        rounds["torch_kept_memory"].append(time_torch(entry, args, KEPT_MEMORY))
    result: dict = {"run_index": index, "title": title(entry), "rounds": rounds}
    for phase in PHASES:
        middle = {name: median(r[phase] for r in found) for name, found in rounds.items()}
        result[phase] = middle
        ours = middle["kanbench"]
        plain, kept = middle["torch"], middle["torch_kept_memory"]
        print(
            f"{title(entry):<30}{phase:<10}{ours:>14,.0f}{plain:>14,.0f}{ours / plain:>8.1f}"
            f"{kept:>14,.0f}{ours / kept:>8.1f}",
            flush=True,
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--program", required=True, help="the kanbench executable")
    add("--params", type=Path, default=HERE / "params.json")
    demo = HERE.parents[1] / "demo_data" / "nucleon_41x41x41_uint8.raw"
    add("--volume", type=Path, default=demo, help="the raw volume named nucleon")
    add("--batch-size", type=int, default=65536)
    add("--threads", type=int, default=2)
    add("--seconds", type=float, default=5, help="of each timing")
    add("--rounds", type=int, default=3, help="alternations")
    add(
        "--faithful",
        action="store_true",
        help="kanbench with --faithful: dense Adam and LayerNorm on all layers, as in PyTorch",
    )
    add("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: args.threads]
    os.sched_setaffinity(0, cores)
    print(
        f"samples/s at batch {args.batch_size:,}, {args.threads} threads on cores {cores}, "
        f"medians of {args.rounds} rounds{', --faithful' if args.faithful else ''}\n"
        f"{'':<40}{'kanbench':>14}{'PyTorch':>14}{'ratio':>8}{'kept memory':>14}{'ratio':>8}"
    )
    results = [compare(i, entry, args) for i, entry in enumerate(list_runs(args.params))]
    if args.json:
        report = {"batch_size": args.batch_size, "threads": args.threads, "faithful": args.faithful}
        report["results"] = results
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
