"""The plots of report.py: each is drawn once, for the page and as PNG and PDF files."""

import base64
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

MARKERS = "osDv^<>PX*"
# Compressors that are no networks: in grey, and broken.
BASELINES = ("zfp", "zstd", "sz3", "mgard", "tthresh", "sperr")
GREYS = ("#000000", "#555555", "#8a8a8a")


@dataclass
class Slices:
    """A dataset's middle slice and what became of it: label and slice of each picture."""

    dataset: str
    truth: np.ndarray
    pictures: list[tuple[str, np.ndarray]]


@dataclass
class Axis:
    """A column that plots have along an axis; `best` is 1 where more is better, -1 where less."""

    column: str
    title: str
    best: int
    logarithmic: bool = False


METRICS = (
    Axis("avg_psnr", "PSNR, dB", 1),
    Axis("avg_ssim", "SSIM", 1),
    Axis("avg_mse", "mean squared error", -1, True),
)
COSTS = (
    Axis("compression_ratio", "compression ratio", 1, True),
    Axis("train_seconds", "training, seconds", -1, True),
)


@dataclass
class Plot:
    name: str
    title: str
    note: str
    png: str


def find_front(x: np.ndarray, y: np.ndarray, best_x: int, best_y: int) -> np.ndarray:
    """Indices of the points than which none is better in both, in the order of x."""
    order = sorted(range(len(x)), key=lambda i: (-best_x * x[i], -best_y * y[i]))
    front, highest = [], -np.inf
    for i in order:
        if best_y * y[i] > highest:
            front.append(i)
            highest = best_y * y[i]
    return np.array(sorted(front, key=lambda i: x[i]), dtype=int)


def make_styles(rows: pd.DataFrame) -> dict[str, dict]:
    """The same colour and marker for a network in every plot."""
    colours = plt.get_cmap("tab10").colors
    names = sorted(set(rows["network"]) - set(BASELINES))
    styles: dict[str, dict] = {
        name: {"color": colours[i % 10], "marker": MARKERS[(i + i // 10) % len(MARKERS)]}
        for i, name in enumerate(names)
    }
    for i, name in enumerate(BASELINES):
        styles[name] = {"color": GREYS[i % 3], "marker": "+x1234"[i], "ls": (0, (4, 1 + i % 3))}
    return styles


def is_lossless(rows: pd.DataFrame) -> pd.Series:
    """Whether a row has no error, which no axis of errors can show."""
    return rows["network"].isin(BASELINES) & rows["avg_psnr"].eq(np.inf)


def best_lossless(rows: pd.DataFrame, cost: Axis) -> pd.DataFrame:
    """The lossless row of each baseline that costs least: it is better than its others."""
    return rows.sort_values(cost.column, ascending=cost.best < 0).drop_duplicates("network")


def panels(count: int) -> tuple[plt.Figure, list[plt.Axes]]:
    """A figure of so many panels, at most three in a row."""
    columns = min(count, 3)
    lines = -(-count // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4.6 * columns + 1.8, 3.6 * lines))
    every = list(np.atleast_1d(axes).flat)
    for unused in every[count:]:
        unused.set_axis_off()
    return figure, every[:count]


def add_legend(figure: plt.Figure, axes: list[plt.Axes]) -> None:
    handles: dict[str, object] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.tight_layout(rect=(0, 0, 1 - 1.8 / figure.get_figwidth(), 1))
    place = (1 - 1.75 / figure.get_figwidth(), 0.5)
    figure.legend(handles.values(), handles, loc="center left", bbox_to_anchor=place, fontsize=7)


def keep(figure: plt.Figure, folder: Path, name: str, title: str, note: str) -> Plot:
    for suffix in ("png", "pdf"):
        figure.savefig(folder / f"{name}.{suffix}", dpi=120)
    plt.close(figure)
    picture = (folder / f"{name}.png").read_bytes()
    return Plot(name, title, note, base64.b64encode(picture).decode())


def choose_scale(axis: Axis, values: np.ndarray) -> str:
    """A logarithm's ticks need a decade."""
    return "log" if axis.logarithmic and values.max() > 10 * values.min() else "linear"


def draw_tradeoff(
    rows: pd.DataFrame, styles: dict[str, dict], metric: Axis, cost: Axis, folder: Path
) -> Plot | None:
    rows = rows.dropna(subset=[metric.column, cost.column])
    exact, rows = rows[is_lossless(rows)], rows[~is_lossless(rows)]
    rows = rows[np.isfinite(rows[metric.column])]
    for axis in (metric, cost):
        if axis.logarithmic:
            rows = rows[rows[axis.column] > 0]
    if rows.empty:
        return None
    groups = list(rows.groupby("dataset_name"))
    figure, axes = panels(len(groups))
    for panel, (dataset, group) in zip(axes, groups):
        for network, line in group.sort_values(cost.column).groupby("network"):
            panel.plot(
                line[cost.column], line[metric.column], label=network, lw=1, ms=5, **styles[network]
            )
        lossless = best_lossless(exact[exact["dataset_name"] == dataset], cost)
        for row in lossless.itertuples():
            style = {key: styles[row.network][key] for key in ("color", "ls")}
            label = f"{row.network}, lossless"
            panel.axvline(getattr(row, cost.column), label=label, lw=1, **style)
        x, y = group[cost.column].to_numpy(), group[metric.column].to_numpy()
        front = find_front(x, y, cost.best, metric.best)
        if not lossless.empty:
            front = front[cost.best * x[front] > (cost.best * lossless[cost.column]).max()]
        panel.plot(x[front], y[front], "k--", lw=1, alpha=0.6, label="Pareto front", zorder=0)
        panel.scatter(x[front], y[front], s=90, facecolors="none", edgecolors="k", lw=0.8)
        every = [*x, *lossless[cost.column]]
        panel.set_xscale(choose_scale(cost, np.array(every)))
        panel.set_yscale(choose_scale(metric, y))
        panel.set(title=dataset, xlabel=cost.title, ylabel=metric.title)
        panel.grid(alpha=0.3)
    add_legend(figure, axes)
    name = f"{metric.column.removeprefix('avg_')}_by_{cost.column}"
    note = (
        "Rings and the broken line: no other run is better in both. Upright lines: a baseline "
        "that loses nothing, at its best."
    )
    return keep(figure, folder, name, f"{metric.title} by {cost.title}", note)


def draw_curves(
    rows: pd.DataFrame, lines: dict[str, dict], styles: dict[str, dict], folder: Path
) -> Plot | None:
    """PSNR of each epoch's batches against the seconds trained, of each run's first seed."""
    curves: dict[str, list] = {}
    for row in rows.itertuples():
        trials = lines.get(row.run_id, {}).get("trials") or [{}]
        epochs = [e for e in trials[0].get("epochs") or [] if e.get("psnr") is not None]
        if epochs:
            seconds = np.cumsum([e["seconds"] for e in epochs])
            curve = (row.network, seconds, [e["psnr"] for e in epochs])
            curves.setdefault(row.dataset_name, []).append(curve)
    if not curves:
        return None
    figure, axes = panels(len(curves))
    for panel, (dataset, group) in zip(axes, sorted(curves.items())):
        for network, seconds, psnr in group:
            style = styles[network] | {"ms": 2.5 if len(seconds) > 1 else 5}
            panel.plot(seconds, psnr, label=network, lw=0.9, **style)
        if max(c[1][-1] for c in group) > 10 * min(c[1][0] for c in group):
            panel.set_xscale("log")
        panel.set(title=dataset, xlabel="seconds trained", ylabel="PSNR of the batches, dB")
        panel.grid(alpha=0.3)
    add_legend(figure, axes)
    return keep(
        figure, folder, "training", "Training", "A point an epoch, of each run's first seed."
    )


def draw_slices(slices: Slices, folder: Path) -> Plot:
    count = len(slices.pictures)
    figure, axes = plt.subplots(2, count + 1, figsize=(3.1 * (count + 1), 6), squeeze=False)
    low, high = float(slices.truth.min()), float(slices.truth.max())
    errors = [np.abs(picture - slices.truth) for _, picture in slices.pictures]
    most = max(float(error.max()) for error in errors) or 1.0
    axes[0][0].imshow(slices.truth, cmap="gray", vmin=low, vmax=high, origin="lower")
    axes[0][0].set_title("volume", fontsize=9)
    for i, (label, picture) in enumerate(slices.pictures):
        axes[0][i + 1].imshow(picture, cmap="gray", vmin=low, vmax=high, origin="lower")
        axes[0][i + 1].set_title(label, fontsize=9)
        shown = axes[1][i + 1].imshow(errors[i], cmap="magma", vmin=0, vmax=most, origin="lower")
        axes[1][i + 1].set_title(f"error, at most {errors[i].max():.4g}", fontsize=9)
    for panel in axes.flat:
        panel.set_axis_off()
    figure.colorbar(shown, ax=axes[1][0], location="left", fraction=0.5)
    figure.tight_layout()
    note = "The middle slice along z, and the absolute error in the volume's own unit."
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in slices.dataset)
    return keep(figure, folder, f"slices_{safe}", f"Slices of {slices.dataset}", note)


def draw_all(
    rows: pd.DataFrame, lines: dict[str, dict], slices: list[Slices], folder: Path
) -> list[Plot]:
    if rows.empty:
        return []
    styles = make_styles(rows)
    drawn = [draw_tradeoff(rows, styles, m, c, folder) for c in COSTS for m in METRICS]
    drawn.append(draw_curves(rows, lines, styles, folder))
    drawn += [draw_slices(s, folder) for s in slices]
    return [plot for plot in drawn if plot is not None]
