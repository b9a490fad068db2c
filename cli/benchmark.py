"""`crosscoop-tf benchmark`: a run's network in every format, side by side on this machine."""

import json
import sys
from pathlib import Path

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
    help="Of keras, savedmodel, tflite, tflite-float16, tflite-dynamic, tflite-int8, onnx; by default all that are "
    "possible with what is installed.",
)
@click.option(
    "--size",
    type=SIZE,
    metavar="HxW",
    help="Input size of every format; that of the data set's first image by default.",
)
@output_head_option
@click.option(
    "--images",
    type=IMAGES,
    default=20,
    show_default=True,
    help="Validation images, evenly spread.",
)
@calibration_option
@click.option(
    "--rounds",
    type=click.IntRange(1, 10**7),
    help="Images that each format is timed on, the same again if need be; by default a minute's worth, 10 to 200.",
)
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def benchmark(
    run: Path,
    formats: str | None,
    size: tuple[int, int] | str | None,
    output_head: str | None,
    images: int,
    calibration: int,
    rounds: int | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Compare the formats that export writes, on this machine: time, memory, size, and what they still see.

    Each has a process of its own and all of the machine's threads, and they take turns, one image each. Times are from
    an image in memory to its class ids in memory, one image at a time. Nothing stays on disk. A format that fails is
    named, the others go on; it exits with 1 then.

    \b
    crosscoop-tf benchmark saved_models/street_scenes-1
    crosscoop-tf benchmark saved_models/street_scenes-1 --size 257x257 --output-head top
    crosscoop-tf benchmark saved_models/street_scenes-1 --formats keras,tflite,tflite-int8 --rounds 50
    crosscoop-tf benchmark saved_models/street_scenes-1 --json > formats.json
    """
    context = click.get_current_context()
    if size == "dynamic":
        raise click.UsageError("All formats see images of one size. Name it, as --size 360x480.", context)
    if formats is not None and "tflite-int8" not in formats.split(","):
        check_calibration_unused(context, f"--formats {formats}")
    from crosscoop_tf.benchmark_table import print_benchmark
    from crosscoop_tf.progress import StageProgress

    from keras_crosscoop.data import dataset
    from keras_crosscoop.errors import group_by_cause, join_names
    from keras_crosscoop.export.benchmark import benchmark as benchmark_run
    from keras_crosscoop.runs import Run

    opened = Run.open(run)
    data = dataset(opened.settings.data.name, data_dir or opened.settings.data.dir)
    with StageProgress("Loading") as progress:
        found = benchmark_run(
            opened,
            data,
            formats.split(",") if formats is not None else None,
            output=output_head,
            size=size,
            images=images,
            calibration=calibration,
            rounds=rounds,
            watch=progress,
        )
    if as_json:
        click.echo(json.dumps(found))
    elif found["formats"]:
        print_benchmark(found)
    for names, reason in group_by_cause(found["left_out"].items()):
        verb = "is" if len(names) == 1 else "are"
        click.echo(f"crosscoop-tf: {join_names(names)} {verb} left out. {reason}", err=True)
    for names, reason in group_by_cause(found["failed"].items()):
        click.echo(f"crosscoop-tf: {join_names(names)} failed. {reason}", err=True)
    if found["failed"]:
        sys.exit(FOUND_FAILURES)
