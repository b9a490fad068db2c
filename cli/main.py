"""`crosscoop-tf`: the group of commands, and what all of them do about errors and start-up."""

import errno
import io
import sys
from importlib.metadata import version
from pathlib import Path

import click
from crosscoop_tf.ablate import ablate
from crosscoop_tf.benchmark import benchmark
from crosscoop_tf.data import data
from crosscoop_tf.evaluate import evaluate
from crosscoop_tf.exit_codes import BAD_INPUT, INTERRUPTED
from crosscoop_tf.export import export
from crosscoop_tf.fit import fit
from crosscoop_tf.info import info
from crosscoop_tf.predict import predict
from crosscoop_tf.report import report
from crosscoop_tf.summary import summary
from crosscoop_tf.terminal import lasting_streams


@click.group(
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(version("keras-crosscoop"), prog_name="crosscoop-tf")
@click.pass_context
def commands(context: click.Context) -> None:
    """Semantic segmentation by two different networks that read each other's features.

    \b
    crosscoop-tf fit                                          train on the embedded data set, in minutes
    crosscoop-tf fit --dataset folder --data-dir MY_DATA      train on your own images
    crosscoop-tf evaluate saved_models/street_scenes-1        measure it
    crosscoop-tf predict saved_models/street_scenes-1 *.jpg --output pictures
    crosscoop-tf report saved_models/street_scenes-1          one page with all of it, to look into
    crosscoop-tf export saved_models/street_scenes-1 --format tflite   for phones; also savedmodel, onnx
    crosscoop-tf benchmark saved_models/street_scenes-1       which format is the fastest and smallest here
    crosscoop-tf ablate --dataset folder --data-dir MY_DATA   does cooperation help, and which part of it?
    crosscoop-tf summary --config voc2012                     parameters, operations and memory, by parts
    crosscoop-tf data check cityscapes --data-dir DIR         find out now what would end a night of training

    Exit codes: 0 done; 1 the work found failures, and lists them; 2 bad input, explained in one line; 129, 130
    or 143 stopped by a closed terminal (SIGHUP), Ctrl-C or SIGTERM, training saved.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (fit, evaluate, predict, report, export, benchmark, ablate, summary, data, info):
    commands.add_command(command)


def main() -> None:
    """Runs the command line; what the user can mend is told in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be Unicode
    with lasting_streams():
        _run()


def _run() -> None:
    try:
        commands(prog_name="crosscoop-tf", standalone_mode=False)
    except click.UsageError as error:
        help_command = f"{error.ctx.command_path} --help" if error.ctx else "crosscoop-tf --help"
        sys.exit(_complain(f"{error.format_message()} Try: {help_command}"))
    except click.Abort:
        click.echo("crosscoop-tf: interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name not in ("jax", "torch"):
            raise
        sys.exit(_complain(f"Keras's backend is not installed. Unset KERAS_BACKEND. Received: {error.name!r}"))
    except Exception as error:
        from keras_crosscoop.errors import InputError, Interrupted  # loaded already, if they were raised

        match error:
            case Interrupted():
                click.echo(f"crosscoop-tf: {error}", err=True)
                sys.exit(128 + error.signal)
            case InputError():
                sys.exit(_complain(str(error)))
            case OSError(errno=errno.ENAMETOOLONG):
                sys.exit(_complain(f"A path is longer than it may be. Name another. Received: {error.filename}"))
            case OSError(errno=errno.ENOSPC):
                sys.exit(_complain(f"The disk is full. Make room, then try again. Received: {error.filename}"))
            case OSError(filename=str() | Path() as file) if error.strerror:  # it went, or may not be used
                sys.exit(_complain(f"A file or folder cannot be used ({error.strerror}). Received: {file}"))
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
            told = " ".join(str(error).split())[:200]
            sys.exit(_complain(f"The memory is not enough: take smaller crops, batches or windows. Received: {told}"))
        raise


def _complain(message: str) -> int:
    click.echo(f"crosscoop-tf: {' '.join(message.split())}", err=True)
    return BAD_INPUT
