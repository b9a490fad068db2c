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
    Size,
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
    help="Formats to compare: keras, savedmodel, tflite, tflite-float16, tflite-dynamic, tflite-int8, onnx. Default: "
    "all that the installed packages support.",
)
@click.option(
    "--size",
    type=Size(),
    metavar="HxW",
    help="Input size of every format. Default: the size of the data set's first image.",
)
@output_head_option
@click.option(
    "--images",
    type=IMAGES,
    default=20,
    show_default=True,
    help="Number of validation images, spread evenly over the split.",
)
@calibration_option
@click.option(
    "--rounds",
    type=click.IntRange(1, 10**7),
    help="Number of timed predictions per format; may exceed the number of images. Default: as many as take a minute, "
    "but 10 to 200.",
)
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def benchmark(
    run: Path,
    formats: str | None,
    size: tuple[int, int] | None,
    output_head: str | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare the export formats of a run on this machine: time, memory, file size and agreement.

    Each format runs in its own process and uses all CPU threads. The formats take turns, one image each. Times are
    measured from an image in memory to its class ids in memory. The exported files are removed at the end. If a format
    fails, the others are still measured, and the exit code is 1.

    \b
    crosscoop-tf benchmark saved_models/street_scenes-1
    crosscoop-tf benchmark saved_models/street_scenes-1 --size 257x257 --output-head top
    crosscoop-tf benchmark saved_models/street_scenes-1 --formats keras,tflite,tflite-int8 --rounds 50
    crosscoop-tf benchmark saved_models/street_scenes-1 --json > formats.json
    """
    context = click.get_current_context()
    if formats is not None and "tflite-int8" not in formats.split(","):
        check_calibration_unused(context, f"--formats {formats}")
    from crosscoop_tf.progress import stage_progress

    from keras_crosscoop.errors import group_by_cause, join_names
    from keras_crosscoop.export.benchmark import benchmark as benchmark_run
    from keras_crosscoop.runs import Run

    trained = Run.open(run)
    data = trained.open_dataset(data_dir=data_dir)
    names = None if formats is None else formats.split(",")
    with stage_progress("Loading") as progress:
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
    for column in ("ms", "x Keras", "p90 ms", "images/s", "memory", "file size", "agreement", "mIoU"):
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
        "ms: median time. x Keras: speed relative to Keras. p90 ms: 90th percentile of times. memory: peak of the "
        "process, without imported modules. agreement: share of pixels with the live model's class, on "
        f"{figures['images']} images"
    )
    if len(figures["together"]) > 1:
        groups = "; ".join(", ".join(group) for group in figures["together"])
        table.caption += f". All formats together did not fit into memory, so they were timed in these groups: {groups}"
    Console(width=max(110, Console().width)).print(table)
