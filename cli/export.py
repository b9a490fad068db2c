"""`crosscoop-tf export`: a run's network for other programs, proven equal to it."""

import json
import sys
from pathlib import Path

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.options import (
    IMAGES,
    SIZE,
    Fraction,
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
    help="For TensorFlow Serving, for phones (LiteRT), or for onnxruntime.",
)
@output_head_option
@click.option(
    "--size",
    type=SIZE,
    metavar="HxW|dynamic",
    help="Input size of the network; any size (dynamic) by default, for tflite that of the data set's first image.",
)
@click.option(
    "--quantize",
    type=click.Choice(["none", "float16", "dynamic", "int8"]),
    default="none",
    show_default=True,
    help="Of tflite: small weights (float16, dynamic), or computing with 8 bits (int8).",
)
@calibration_option
@click.option(
    "--images",
    type=IMAGES,
    default=20,
    show_default=True,
    help="Validation images that are compared with the live model.",
)
@click.option(
    "--min-agreement",
    type=Fraction(),
    help="The least share of equal pixels; 0.999 by default, float16 0.99, dynamic and int8 0.95.",
)
@data_dir_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where exports go; RUN/serving, RUN/tflite or RUN/onnx by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def export(
    run: Path,
    name: str,
    output_head: str | None,
    size: tuple[int, int] | str | None,
    quantize: str,
    calibration: int,
    images: int,
    min_agreement: float | None,
    data_dir: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write a run's network for programs without this package: uint8 pixels in, class ids and confidence out.

    Everything that evaluate does is inside. The file is run on images of the run's data set and compared with the live
    model, see its parity.json; where they disagree nothing is left, and it exits with 1.

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

    from keras_crosscoop.data import dataset
    from keras_crosscoop.export import DisagreementError
    from keras_crosscoop.export import export as export_run
    from keras_crosscoop.runs import Run

    opened = Run.open(run)
    data = dataset(opened.settings.data.name, data_dir or opened.settings.data.dir)
    with transient_bar() as bar:
        task = bar.add_task("Converting", total=None)
        try:
            path, found = export_run(
                opened,
                data,
                name,
                output=output_head,
                size=size,
                quantize=quantize,
                folder=output,
                calibration=calibration,
                images=images,
                min_agreement=min_agreement,
                watch=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
            )
        except DisagreementError as error:
            bar.stop()
            click.echo(f"crosscoop-tf: {error}", err=True)
            sys.exit(FOUND_FAILURES)
    if as_json:
        click.echo(json.dumps({"path": str(path), **found}))
    else:
        print_parity(found)
        click.echo(f"Exported: {path}")
