#!/usr/bin/env python3
"""Makes one page of the results of sweeps: which network is best, for how many bytes and seconds.

    scripts/report.py RESULTS... [-o report.html] [--data-dir DIR]...

RESULTS are results.csv files, or directories that hold one. Training curves come from the
results.jsonl beside them, slices from reconstructions that were saved (kanbench --save-mode all)
and from the volumes in --data-dir. The page needs no network and no other file; each of its plots
is also written to a directory beside it, as PNG and PDF.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

DEBIAN = "/usr/bin/python3"
try:
    import jinja2
    import numpy as np
    import pandas as pd

    import report_plots as plots
except ImportError as error:
    # Debian's packages are its own Python's, which need not be the first in PATH.
    if os.path.realpath(sys.executable) != os.path.realpath(DEBIAN) and os.path.exists(DEBIAN):
        os.execv(DEBIAN, [DEBIAN, *sys.argv])
    sys.exit(
        f"report.py: {error}: apt-get install python3-pandas python3-matplotlib python3-jinja2"
    )

NEEDED = ("dataset_name", "network_type", "compression_ratio", "avg_psnr", "status", "run_id")
NUMBERS = (
    "data_size inr_size compression_ratio avg_psnr std_dev_psnr avg_ssim avg_ssim_3d avg_mse "
    "n_parameters train_seconds samples_per_second num_repeats"
).split()
TYPES = "(u?int(?:8|16|32|64)|float(?:32|64))"


class UserError(Exception):
    """What is wrong with what was asked for, in one line."""


def find_files(results: list[str]) -> list[Path]:
    found = []
    for name in results:
        path = Path(name)
        if path.is_dir():
            path = path / "results.csv"
        if not path.is_file():
            raise UserError(f"{path}: no such file: give results.csv files or their directories")
        found.append(path)
    return found


def read_rows(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV file of results: {str(error).strip()}") from error
    missing = [column for column in NEEDED if column not in rows]
    if missing:
        raise UserError(f"{path}: not a file of kanbench's results: it has no column {missing[0]}")
    return rows


def read_lines(path: Path) -> dict[str, dict]:
    """What results.jsonl beside `path` says of each run, the last line of a run counting."""
    lines = {}
    beside = path.with_suffix(".jsonl")
    if beside.exists():
        for line in beside.read_text().splitlines():
            try:
                run = json.loads(line)
                lines[run["run_id"]] = run
            except (ValueError, KeyError, TypeError):
                # A line that was being written when the sweep was stopped.
                continue
    return lines


def load(files: list[Path]) -> tuple[pd.DataFrame, dict[str, dict]]:
    """All rows, later files' before earlier ones' of the same run, and all lines by run."""
    lines: dict[str, dict] = {}
    for path in files:
        lines |= read_lines(path)
    rows = pd.concat([read_rows(path) for path in files], ignore_index=True)
    rows = rows.drop_duplicates("run_id", keep="last").reset_index(drop=True)
    if rows.empty:
        raise UserError("no rows in " + ", ".join(str(path) for path in files))
    for column in NUMBERS:
        values = rows[column] if column in rows else pd.Series("", index=rows.index)
        rows[column] = pd.to_numeric(values, errors="coerce")
    for column in ("encoder", "device", "hostname", "kanbench_version", "started_at", "precision"):
        if column not in rows:
            rows[column] = ""
    plain = rows["encoder"].isin(["", "hash_grid"])
    rows["network"] = rows["network_type"].where(
        plain, rows["network_type"] + " + " + rows["encoder"]
    )
    rows["failure"] = [lines.get(run, {}).get("failure", "") for run in rows["run_id"]]
    return rows, lines


def is_finished(rows: pd.DataFrame) -> pd.Series:
    return rows["status"].eq("finished") & rows["avg_psnr"].notna()


def read_slice(path: Path) -> np.ndarray | None:
    """The middle z slice [y][x] of a raw volume named ..._XxYxZ_type.raw."""
    named = re.search(rf"_(\d+)x(\d+)x(\d+)_{TYPES}\.raw$", path.name)
    if not named or not path.is_file():
        return None
    x, y, z = (int(number) for number in named.groups()[:3])
    dtype = np.dtype(named.group(4))
    if path.stat().st_size != x * y * z * dtype.itemsize:
        return None
    voxels = np.memmap(path, dtype=dtype, mode="r", shape=(z, y, x))
    return np.asarray(voxels[z // 2], dtype=np.float64)


def find_volume(dataset: str, directories: list[Path]) -> Path | None:
    pattern = re.compile(rf"{re.escape(dataset)}_\d+x\d+x\d+_{TYPES}\.raw$")
    for directory in directories:
        for path in sorted(directory.glob(f"{dataset}_*.raw")) if directory.is_dir() else []:
            if pattern.match(path.name):
                return path
    return None


def find_reconstruction(run: str, lines: dict[str, dict], files: list[Path]) -> Path | None:
    named = lines.get(run, {}).get("reconstruction_file", "")
    if not named:
        return None
    for path in [
        Path(named),
        *(f.parent / "reconstructions_saved" / Path(named).name for f in files),
    ]:
        if path.is_file():
            return path
    return None


def networks(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of networks; of compressors where there are no others."""
    own = rows[~rows["network_type"].isin(plots.BASELINES)]
    return rows if own.empty else own


def choose(rows: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """The best, the median and the worst of a dataset, each once."""
    order = rows.sort_values("avg_psnr", ascending=False)
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    chosen: dict[int, str] = {}
    for name, place in places.items():
        chosen.setdefault(place, name)
    return [(name, order.iloc[place]) for place, name in chosen.items()]


def collect_slices(
    rows: pd.DataFrame, lines: dict[str, dict], files: list[Path], directories: list[Path]
) -> tuple[list[plots.Slices], list[str]]:
    """Slices of each dataset, and a sentence on each that has none."""
    found, absent = [], []
    for dataset, group in rows.groupby("dataset_name"):
        volume = find_volume(str(dataset), directories)
        truth = read_slice(volume) if volume else None
        if truth is None:
            absent.append(f"{dataset}: its volume is in no --data-dir")
            continue
        kept = group[[find_reconstruction(r, lines, files) is not None for r in group["run_id"]]]
        pictures = []
        for name, row in choose(kept) if len(kept) else []:
            picture = read_slice(find_reconstruction(row["run_id"], lines, files))
            if picture is not None and picture.shape == truth.shape:
                pictures.append((f"{name}: {row['network']}, {row['avg_psnr']:.2f} dB", picture))
        if pictures:
            found.append(plots.Slices(str(dataset), truth, pictures))
        else:
            absent.append(f"{dataset}: no reconstruction was saved; --save-mode all keeps them")
    return found, absent


def list_places(rows: pd.DataFrame) -> list[dict]:
    """What ran where: rows and hours of each machine, device and version."""
    places = []
    for (host, device, version), group in rows.groupby(["hostname", "device", "kanbench_version"]):
        starts = sorted(s for s in group["started_at"] if s)
        hours = (group["train_seconds"] * group["num_repeats"].fillna(1)).sum() / 3600
        places.append(
            {"host": host, "device": device, "version": version, "rows": len(group)}
            | {"hours": f"{hours:.3g}", "first": starts[0] if starts else ""}
            | {"last": starts[-1] if starts else ""}
        )
    return places


def render(context: dict) -> str:
    here = Path(__file__).resolve().parent
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(here), autoescape=True)
    environment.filters["number"] = lambda v, form: "" if pd.isna(v) else format(v, form)
    return environment.get_template("report.html.j2").render(context)


def make_report(args: argparse.Namespace) -> None:
    files = find_files(args.results)
    rows, lines = load(files)
    finished = rows[is_finished(rows)]
    directories = [Path(d) for d in args.data_dir or ["data", "demo_data"]]
    output = Path(args.output)
    if not output.parent.is_dir():
        raise UserError(f"{output}: there is no directory {output.parent}")
    folder = output.with_name(output.stem + "_plots")
    folder.mkdir(exist_ok=True)
    slices, absent = collect_slices(finished, lines, files, directories)
    drawn = plots.draw_all(finished, lines, slices, folder)
    page = render(
        {
            "rows": rows.sort_values(["dataset_name", "avg_psnr"], ascending=[True, False]).to_dict(
                "records"
            ),
            "finished": len(finished),
            "best": [
                choose(networks(group))[0][1] for _, group in finished.groupby("dataset_name")
            ],
            "plots": drawn,
            "absent": absent,
            "places": list_places(rows),
            "sources": [str(path) for path in files],
        }
    )
    partial = output.with_name(output.name + ".part")
    partial.write_text(page)
    os.replace(partial, output)
    print(f"{output}: {len(finished)} of {len(rows)} runs, {len(drawn)} plots, also in {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS")
    parser.add_argument("-o", "--output", default="report.html", metavar="FILE")
    parser.add_argument("--data-dir", action="append", metavar="DIR", help="where volumes lie")
    args = parser.parse_args()
    try:
        make_report(args)
    except UserError as error:
        print(f"report.py: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"report.py: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
