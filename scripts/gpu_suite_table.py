"""Gathers what the parts of gpu_suite.sh wrote into summary.json, and prints a short table of it."""

import argparse
import csv
import json
import os
import subprocess
from pathlib import Path

Row = dict[str, str]


def load(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def rows(work: Path, name: str) -> list[Row]:
    path = work / name / "results.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def commit() -> str:
    """Of KANBENCH_COMMIT, else of this checkout."""
    if os.environ.get("KANBENCH_COMMIT"):
        return os.environ["KANBENCH_COMMIT"]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def verdict(holds: bool | None) -> str:
    return {None: "", True: "holds", False: "MISSED"}[holds]


def number(value: float) -> str:
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.3g} "


def print_parts(parts: list[list[str]]) -> None:
    for name, status, seconds in parts:
        print(f"{name:<11}{status:<14}{seconds:>5} s")


def print_ceilings(perf: dict) -> None:
    for top in perf["machine"]["ceilings"]:
        print(f"  {top['name']:<24}{number(top['per_second']):>9}{top['unit']}/s")


def binding(result: dict) -> str:
    """The stage that takes longest, and how near it is to its ceiling."""
    if not result["stages"]:
        return ""
    stage = max(result["stages"], key=lambda s: s["seconds"])
    return f"{stage['name']}, {100 * stage['fraction_of_ceiling']:.0f} % of {stage['ceiling']}"


def judge_speed(perf: dict, targets: list[dict], judged: bool) -> list[dict]:
    found = []
    for result, target in zip(perf["results"], targets):
        training = result["training_samples_per_second"]
        decoding = result["decoded_voxels_per_second"]
        row = {"run_index": result["run_index"], "network_type": result["network_type"]}
        row |= {"precision": result["precision"], "training": training, "decoding": decoding}
        row |= {"wanted": target, "of_floor": training / target["floor"]}
        row["binds"] = binding(result)
        if judged:
            row["training_holds"] = training >= target["training"]
            if "decoding" in target:
                row["decoding_holds"] = decoding >= target["decoding"]
        found.append(row)
    return found


def print_speed(speed: list[dict]) -> None:
    print(
        f"{'run':<12}{'':<6}{'training/s':>11}{'wanted':>9}{'':>8}{'decoding/s':>12}{'wanted':>9}"
    )
    for row in speed:
        wanted = row["wanted"]
        decoding = number(wanted["decoding"]) if "decoding" in wanted else ""
        print(
            f"{row['run_index']:>2} {row['network_type']:<9}{row['precision']:<6}"
            f"{number(row['training']):>11}{number(wanted['training']):>9}"
            f"{verdict(row.get('training_holds')):>8}{number(row['decoding']):>12}{decoding:>9}"
            f"{verdict(row.get('decoding_holds')):>8}  {100 * row['of_floor']:.0f} % of floor; "
            f"{row['binds']}"
        )


def judge_quality(work: Path, most: dict[str, float]) -> list[dict]:
    """PSNR on the device against the CPU's, run by run."""
    cpu = {row["run_index"]: row for row in rows(work, "cpu")}
    found = []
    for setting, allowed in most.items():
        for row in rows(work, f"quality_{setting}"):
            if row["run_index"] not in cpu:
                continue
            ours, theirs = (float(r["avg_psnr"] or "nan") for r in (row, cpu[row["run_index"]]))
            entry = {"dataset": row["dataset_name"], "network_type": row["network_type"]}
            entry |= {"setting": setting, "precision": row["precision"]}
            entry |= {"psnr": ours, "psnr_cpu": theirs, "holds": ours >= theirs - allowed}
            found.append(entry)
    return found


def judge_zoo(work: Path, comparison: Path) -> list[dict]:
    """Mean PSNR of every network on the device against the CPU's, as far as seeds scatter."""
    if not comparison.exists():
        return []
    with comparison.open() as file:
        cpu = {(row["network_type"], row["encoder"]): row for row in csv.DictReader(file)}
    found = []
    for row in rows(work, "zoo"):
        other = cpu.get((row["network_type"], row["encoder"]))
        if other is None or row["num_repeats"] != other["num_repeats"]:
            continue
        ours, theirs = (float(r["avg_psnr"] or "nan") for r in (row, other))
        spread = sum(float(r["std_dev_psnr"] or 0) ** 2 for r in (row, other))
        allowed = 0.2 + 2 * (spread / float(row["num_repeats"])) ** 0.5
        entry = {"network_type": row["network_type"], "encoder": row["encoder"]}
        entry |= {"precision": row["precision"], "seconds": float(row["train_seconds"])}
        entry |= {"psnr": ours, "psnr_cpu": theirs, "holds": ours >= theirs - allowed}
        found.append(entry)
    return found


def print_zoo(zoo: list[dict]) -> None:
    if zoo:
        print(f"zoo: {sum(r['holds'] for r in zoo)} of {len(zoo)} networks as good as on the CPU")
    for row in zoo:
        if not row["holds"]:
            print(
                f"  {row['network_type']:<16}{row['encoder']:<20}{row['precision']:<6}"
                f"{row['psnr']:.2f} dB, on the CPU {row['psnr_cpu']:.2f} dB"
            )


def gradient_seconds(result: dict) -> float:
    """Encode, decoder and scatter together: what fused and general decoders both have."""
    return sum(s["seconds"] for s in result["stages"] if s["name"] == "gradient")


def compare_bases(default: dict, general: dict) -> list[dict]:
    """A gradient by default and in tf32, where few decoders are fused."""
    other = {r["network_type"]: r for r in general.get("results", [])}
    found = []
    for result in default.get("results", []):
        kind = result["network_type"]
        entry = {"network_type": kind, "precision": result["precision"]}
        entry |= {"training": result["training_samples_per_second"]}
        entry |= {"decoding": result["decoded_voxels_per_second"]}
        entry |= {"gradient_ms": 1e3 * gradient_seconds(result)}
        if kind in other:
            entry["tf32_training"] = other[kind]["training_samples_per_second"]
            entry["tf32_gradient_ms"] = 1e3 * gradient_seconds(other[kind])
        found.append(entry)
    return found


def print_bases(bases: list[dict]) -> None:
    if bases:
        print("a gradient, 2 x 64: ms by default, in tf32; training/s, decoding/s")
    for row in bases:
        print(
            f"  {row['network_type']:<16}{row['precision']:<6}{row['gradient_ms']:>8.3f}"
            f"{row.get('tf32_gradient_ms', float('nan')):>9.3f}{number(row['training']):>10}"
            f"{number(row['decoding']):>10}"
        )


def judge_large(work: Path, targets: dict, judged: bool) -> list[dict]:
    streamed = {row["network_type"]: row for row in rows(work, "streamed")}
    found = []
    for row in rows(work, "resident"):
        kind = row["network_type"]
        seconds, peak = float(row["train_seconds"]), int(row["peak_device_bytes"])
        room = int(row["data_size"]) + targets["bytes_beyond_voxels"]
        room += targets["bytes_per_parameter"] * int(row["n_parameters"])
        entry = {"network_type": kind, "seconds": seconds, "peak_bytes": peak, "room_bytes": room}
        if kind in streamed:
            entry["streamed_seconds"] = float(streamed[kind]["train_seconds"])
            entry["streamed_peak_bytes"] = int(streamed[kind]["peak_device_bytes"])
            entry["streamed_device"] = streamed[kind]["device"]
        if judged:
            entry["holds"] = seconds <= targets["epoch_seconds"][kind] and peak <= room
            if "streamed_seconds" in entry:
                ratio = entry["streamed_seconds"] / seconds
                entry["streamed_holds"] = ratio <= targets["streamed_over_resident"]
        found.append(entry)
    return found


def print_large(large: list[dict]) -> None:
    for row in large:
        streamed = row.get("streamed_seconds")
        print(
            f"{row['network_type']:<9}epoch {row['seconds']:.2f} s, peak "
            f"{row['peak_bytes'] / 1e6:.0f} of {row['room_bytes'] / 1e6:.0f} MB "
            f"{verdict(row.get('holds'))}"
            + (
                f"; limited {streamed:.2f} s {verdict(row.get('streamed_holds'))}"
                if streamed
                else ""
            )
            + (f" ({row['streamed_device']})" if streamed else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--work", type=Path, required=True, help="what the parts wrote")
    add("--out", type=Path, required=True)
    add("--targets", type=Path, required=True, help="what must hold")
    add("--comparison", type=Path, required=True, help="the CPU's figures of params/zoo.json")
    add("--emulated", type=int, default=0, help="1: speeds say nothing and are not judged")
    args = parser.parse_args()
    targets = json.loads(args.targets.read_text())
    parts = [line.split("\t") for line in (args.work / "parts.tsv").read_text().splitlines()]
    perf, peers = load(args.out / "perf.json"), load(args.out / "peers.json")
    judged = not args.emulated
    summary: dict = {"commit": commit(), "emulated": bool(args.emulated)}
    summary["parts"] = [dict(zip(("name", "status", "seconds"), part)) for part in parts]
    print(f"kanbench {summary['commit']}{', emulated' if args.emulated else ''}")
    if perf:
        summary |= perf["machine"]
        summary["speed"] = judge_speed(perf, targets["speed"], judged)
        print(perf["machine"]["device"])
        print_ceilings(perf)
        print_speed(summary["speed"])
    summary["quality"] = judge_quality(args.work, targets["psnr_below_cpu"])
    for row in summary["quality"]:
        print(
            f"{row['dataset']:<12}{row['network_type']:<9}{row['setting']:<6}{row['precision']:<6}"
            f"{row['psnr']:.2f} dB, on the CPU {row['psnr_cpu']:.2f} dB {verdict(row['holds'])}"
        )
    summary["zoo"] = judge_zoo(args.work, args.comparison)
    print_zoo(summary["zoo"])
    summary["bases"] = compare_bases(
        load(args.out / "bases_auto.json"), load(args.out / "bases_tf32.json")
    )
    print_bases(summary["bases"])
    summary["large"] = judge_large(args.work, targets, judged)
    print_large(summary["large"])
    if peers:
        summary["peers"] = peers["results"]
        for row in peers["results"]:
            for line in row["lines"]:
                print(line)
    print_parts(parts)
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
