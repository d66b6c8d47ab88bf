#!/usr/bin/env python3
"""Trains params/zoo.json, every network of the same size, and writes docs/comparison.md
and its figures once more, docs/comparison.csv.

    scripts/comparison.py [PROGRAM] [RESULTS]

PROGRAM is build/cpu/kanbench, RESULTS a directory for its files (a rerun goes on there)."""

import csv
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARAMETERS = 20000
REPEATS = 3


COLUMNS = ("network_type", "encoder", "n_parameters", "num_neurons", "num_repeats", "avg_psnr",
           "std_dev_psnr", "avg_ssim", "std_dev_ssim", "device")


def number(row, key, digits):
    return f"{float(row[key]):.{digits}f}" if row[key] else ""


def line(row):
    cells = [
        row["network_type"],
        row["encoder"],
        row["n_parameters"],
        row["num_neurons"],
        f"{number(row, 'avg_psnr', 2)} ± {number(row, 'std_dev_psnr', 2)}",
        f"{number(row, 'avg_ssim', 4)} ± {number(row, 'std_dev_ssim', 4)}",
    ]
    return "| " + " | ".join(cells) + " |"


def table(rows):
    head = ["decoder", "encoder", "parameters", "neurons", "PSNR dB", "SSIM"]
    best = sorted(rows, key=lambda row: -float(row["avg_psnr"] or 0))
    return "\n".join(
        ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + [line(row) for row in best])


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build" / "cpu" / "kanbench")
    results = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "results" / "zoo")
    subprocess.run(
        [program, "--params", str(ROOT / "params" / "zoo.json"), "--data-dir",
         str(ROOT / "demo_data"), "--match-parameters", str(PARAMETERS), "--repeats", str(REPEATS),
         "--device", "cpu", "--save-mode", "none", "--output-dir", str(results)], check=True)
    with open(results / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    decoders = [row for row in rows if row["encoder"] == "hash_grid"]
    pairs = {"mlp", "fastkan"}
    encoders = [row for row in rows if row["network_type"] in pairs]
    device = rows[0]["device"]
    text = f"""# All networks at one size

Written by `scripts/comparison.py`: `params/zoo.json` with `--match-parameters {PARAMETERS}` on the
demo volume (41 x 41 x 41 voxels of one byte), each network's width, or its encoder's tables, chosen
for {PARAMETERS} parameters to 2%. Mean and standard deviation of {REPEATS} seeds;
{rows[0]['epoch_count']} epochs, one learning rate for all ({rows[0]['lrate']}), each decoder by its
own [recipe](recipes.md); on `{device}`.

The volume is small and smooth: the table says which networks learn well at this size, not which will
on yours. `scripts/comparison.py` takes a few minutes; put your volume and your rates into a copy of
`params/zoo.json`.

## Decoders behind the hash grid

{table(decoders)}

## Encoders before an MLP and a FastKAN

{table(encoders)}
"""
    (ROOT / "docs" / "comparison.md").write_text(text)
    with open(ROOT / "docs" / "comparison.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(ROOT / "docs" / "comparison.md")


if __name__ == "__main__":
    main()
