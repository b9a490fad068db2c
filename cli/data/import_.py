"""`crosscoop-tf data import`: an export of an annotation tool as a data set."""

import json
from pathlib import Path

import click
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command("import", cls=TensorFlowCommand)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to write; it must not exist.")
@click.option("--format", "format_", metavar="NAME", help="Format of the export. Default: found from its files.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder with the images, if they are elsewhere.")
@click.option("--class", "classes", multiple=True, help="Keep this class; may be repeated. Default: all that occur.")
@click.option(
    "--background/--no-background",
    default=None,
    help='Whether pixels without a class become class 0, "background", or void. Default: void for ade20k, kitti, '
    "mapillary and other formats that name the class of every pixel, else background.",
)
@click.option("--skip-unlabelled", is_flag=True, help="Leave out images without annotations.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def import_(
    source: Path,
    output: Path,
    format_: str | None,
    images: Path | None,
    classes: tuple[str, ...],
    background: bool | None,
    skip_unlabelled: bool,
    as_json: bool,
) -> None:
    """Convert an export of an annotation tool to images, masks and a dataset.yaml.

    SOURCE is the folder of the export, a zip file, or one annotation file. Formats: coco (also of Roboflow and Label
    Studio), cvat, labelme, yolo, supervisely, label_studio_png, ade20k, kitti and mapillary. VOC, Synthia and more need
    Datumaro: pip install "keras-crosscoop[formats]".

    Smaller objects cover larger ones. Crowds and difficult objects become void. Splits are kept; without a validation
    split, a share of the training images becomes one. Images are copied, and SOURCE is not changed.

    \b
    crosscoop-tf data import EXPORT --output MY_DATA
    crosscoop-tf data import instances.json --images PHOTOS --output MY_DATA
    crosscoop-tf data import EXPORT --output MY_DATA --format coco --class car --class road
    crosscoop-tf fit --data-dir MY_DATA
    """
    from crosscoop_tf.data.tables import print_import
    from crosscoop_tf.progress import transient_bar

    from keras_crosscoop.data.importing import import_annotations

    with transient_bar() as bar:
        task = bar.add_task("Reading", total=None)

        def progress(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        report = import_annotations(
            source,
            output,
            format=format_,
            images=images,
            classes=classes,
            background=background,
            skip_unlabelled=skip_unlabelled,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(report.as_dict()))
    else:
        print_import(report)
