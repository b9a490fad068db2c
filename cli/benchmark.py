"""`crosscoop-tf benchmark`: a run's network in every format, side by side on this machine."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.options import (
    IMAGES,
    SIZE,
    calibration_option,
    check_calibration_unused,
    data_dir_option,
    output_head_option,
)
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--formats",
    metavar="F,F,...",
    help="Formats from keras, savedmodel, tflite, tflite-float16, tflite-dynamic, tflite-int8, onnx. Default: all that "
    "the installed packages allow.",
)
@click.option(
    "--size",
    type=SIZE,
    metavar="HxW",
    help="Input size of every format. Default: the size of the data set's first image.",
)
@output_head_option
@click.option(
    "--images",
    type=IMAGES,
    default=20,
    show_default=True,
    help="Number of validation images, evenly spread.",
)
@calibration_option
@click.option(
    "--rounds",
    type=click.IntRange(1, 10**7),
    help="Number of images to time each format on; images repeat if need be. Default: as many as take a minute, 10 to "
    "200.",
)
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def benchmark(
    run: Path,
    formats: str | None,
    size: tuple[int, int] | str | None,
    output_head: str | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare the export formats of a run on this machine: time, memory, file size and agreement.

    Each format has a process of its own and all of the machine's threads; the formats take turns, one image each. Times
    are from an image in memory to its class ids in memory, one image at a time. Nothing stays on disk. If a format
    fails, the others are measured, and the exit code is 1.

    \b
    crosscoop-tf benchmark saved_models/street_scenes-1
    crosscoop-tf benchmark saved_models/street_scenes-1 --size 257x257 --output-head top
    crosscoop-tf benchmark saved_models/street_scenes-1 --formats keras,tflite,tflite-int8 --rounds 50
    crosscoop-tf benchmark saved_models/street_scenes-1 --json > formats.json
    """
    context = click.get_current_context()
    if size == "dynamic":
        raise click.UsageError("All formats need the same size. Give it, as in --size 360x480.", context)
    if formats is not None and "tflite-int8" not in formats.split(","):
        check_calibration_unused(context, f"--formats {formats}")
    from crosscoop_tf.progress import StageProgress

    from keras_crosscoop.data import dataset
    from keras_crosscoop.errors import group_by_cause, join_names
    from keras_crosscoop.export.benchmark import benchmark as benchmark_run
    from keras_crosscoop.runs import Run

    trained = Run.open(run)
    data = dataset(trained.settings.data.name, data_dir or trained.settings.data.dir)
    names = None if formats is None else formats.split(",")
    with StageProgress("Loading") as progress:
        figures = benchmark_run(trained, data, names, output=output_head, size=size, progress=progress, **options)
    if as_json:
        click.echo(json.dumps(figures))
    elif figures["formats"]:
        _print(figures)
    for names, reason in group_by_cause(figures["left_out"].items()):
        verb = "is" if len(names) == 1 else "are"
        click.echo(f"crosscoop-tf: {join_names(names)} {verb} left out. {reason}", err=True)
    for names, reason in group_by_cause(figures["failed"].items()):
        click.echo(f"crosscoop-tf: {join_names(names)} failed. {reason}", err=True)
    if figures["failed"]:
        sys.exit(FOUND_FAILURES)


def _print(figures: Mapping[str, Any]) -> None:
    """Prints one line for each format, see `keras_crosscoop.export.benchmark.benchmark`."""
    from rich.console import Console
    from rich.table import Table

    size = "x".join(map(str, figures["size"]))
    where = f"{figures['threads']} threads" + (", keras and savedmodel on a GPU" if figures["gpu"] else "")
    table = Table(title=f"{figures['output']}, {size}, one image at a time, {where}")
    table.add_column("format", no_wrap=True)
    for column in ("ms", "x Keras", "p90", "images/s", "memory", "size", "agreement", "mIoU"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for name, measured in figures["formats"].items():
        latency, speedup, iou = measured["latency"], measured["speedup"], measured["mean_iou"]
        marks = [mark for mark in ("fastest", "smallest") if figures[mark] == name and len(figures["formats"]) > 1]
        table.add_row(
            name,
            f"{1000 * latency['median']:.1f}",
            f"{speedup:.2f}" if speedup else "",
            f"{1000 * latency['p90']:.1f}",
            f"{measured['throughput']:.1f}",
            f"{measured['memory'] / 1e6:.0f} MB",
            f"{measured['bytes'] / 1e6:.1f} MB",
            f"{100 * measured['agreement']:.2f} %",
            f"{100 * iou:.1f}" if iou is not None else "",
            ", ".join(marks if measured["agrees"] else [*marks, "disagrees"]),
            style="bold" if name == figures["fastest"] else None,
        )
    table.caption = (
        "x Keras: speedup over Keras, by medians. memory: peak of the process, without imported modules. "
        f"agreement: pixels with the live model's class, on {figures['images']} images"
    )
    if len(figures["together"]) > 1:
        groups = "; ".join(", ".join(group) for group in figures["together"])
        table.caption += f". The memory did not hold all formats at once, so these groups took turns: {groups}"
    Console(width=max(110, Console().width)).print(table)
