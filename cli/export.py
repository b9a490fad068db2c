"""`crosscoop-tf export`: a run's network for programs without this package."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.options import (
    IMAGES,
    Fraction,
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
    "--format",
    "name",
    type=click.Choice(["savedmodel", "tflite", "onnx"]),
    required=True,
    help="savedmodel: for TensorFlow Serving; tflite: for LiteRT on phones; onnx: for onnxruntime.",
)
@output_head_option
@click.option(
    "--size",
    type=Size(dynamic=True),
    metavar="HxW|dynamic",
    help="Input size of the network; dynamic: any size. Default: dynamic, but for tflite the size of the data set's "
    "first image.",
)
@click.option(
    "--quantize",
    type=click.Choice(["none", "float16", "dynamic", "int8"]),
    default="none",
    show_default=True,
    help="For tflite: store smaller weights (float16, dynamic), or also compute with 8-bit integers (int8).",
)
@calibration_option
@click.option(
    "--images",
    type=IMAGES,
    default=20,
    show_default=True,
    help="Number of validation images to compare with the live model.",
)
@click.option(
    "--min-agreement",
    type=Fraction(),
    help="Minimum fraction of pixels for which the export predicts the live model's class. Default: 0.999; for float16 "
    "0.99; for dynamic and int8 0.95.",
)
@data_dir_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for exports. Default: RUN/serving, RUN/tflite or RUN/onnx.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def export(
    run: Path,
    name: str,
    output_head: str | None,
    size: tuple[int, int] | str | None,
    quantize: str,
    data_dir: Path | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Export the network of a run for programs without this package.

    The export maps uint8 pixels to class ids and confidence. It contains the whole model that was evaluated, from
    preprocessing to argmax. It is compared with the live
    model on validation images of the run's data set, and parity.json contains the result. If too many pixels differ,
    nothing is written and the exit code is 1.

    \b
    crosscoop-tf export saved_models/street_scenes-1 --format savedmodel        # pip install "keras-crosscoop[serving]"
    crosscoop-tf export saved_models/street_scenes-1 --format tflite --quantize int8
    crosscoop-tf export saved_models/street_scenes-1 --format tflite --size 257x257 --output-head top
    crosscoop-tf export saved_models/street_scenes-1 --format onnx              # pip install "keras-crosscoop[onnx]"
    """
    from keras_crosscoop.export.formats import check_options

    check_options(name, quantize, size)
    if quantize != "int8":
        check_calibration_unused(click.get_current_context(), f"--quantize {quantize}")
    from crosscoop_tf.progress import transient_bar
    from crosscoop_tf.tables import print_parity

    from keras_crosscoop import export as library
    from keras_crosscoop.runs import Run

    trained = Run.open(run)
    data = trained.open_dataset(data_dir=data_dir)
    options |= {"output": output_head, "size": size, "quantize": quantize, "folder": output}
    with transient_bar() as bar:
        task = bar.add_task("Converting", total=None)

        def progress(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        try:
            path, figures = library.export(trained, data, name, progress=progress, **options)
        except library.DisagreementError as error:
            bar.stop()
            click.echo(f"crosscoop-tf: {error}", err=True)
            sys.exit(FOUND_FAILURES)
    if as_json:
        click.echo(json.dumps({"path": str(path), **figures}))
    else:
        print_parity(figures)
        click.echo(f"Exported: {path}")
