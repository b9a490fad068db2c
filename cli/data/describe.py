"""`crosscoop-tf data describe`: what a folder of images holds, as an editable `dataset.yaml`."""

import json
from pathlib import Path

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command("describe", cls=TensorFlowCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_context
def describe(context: click.Context, folder: Path, as_json: bool) -> None:
    """Find out how your images and masks are laid out and coded, and print it as dataset.yaml.

    FOLDER is a folder of images and masks, or a dataset.yaml. Save the output as dataset.yaml, in the folder or
    anywhere else, and edit it: what it names is not questioned. Plain sentences about it go to stderr. Nothing is
    written. The exit code is 1 if there is a problem.

    \b
    crosscoop-tf data describe MY_DATA
    crosscoop-tf data describe MY_DATA > my.yaml
    crosscoop-tf fit --data-dir my.yaml
    """
    from keras_crosscoop.data import dataset
    from keras_crosscoop.data.own.description import as_json_values, dump
    from keras_crosscoop.errors import InputError, summarize

    data = dataset(folder)
    if data.description is None:
        raise InputError(
            f'The folder holds data set "{data.name}" of the catalogue, which needs no description. '
            f"Train it by: crosscoop-tf fit --data-dir {folder}. Received: {folder}"
        )
    if as_json:
        findings = [vars(finding) for finding in data.findings]
        content = {"description": as_json_values(data.description), "statements": data.statements, "findings": findings}
        click.echo(json.dumps(content))
    else:
        for statement in data.statements:
            click.echo(statement, err=True)
        for severity in ("problem", "warning", "note"):
            for line in summarize(found.message for found in data.findings if found.severity == severity):
                click.echo(f"{severity}: {line}", err=True)
        click.echo(dump(data.description), nl=False)
    if any(finding.severity == "problem" for finding in data.findings):
        context.exit(FOUND_FAILURES)
