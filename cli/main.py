"""`crosscoop-tf`: the command group, error handling and exit codes."""

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
from crosscoop_tf.plan import plan
from crosscoop_tf.predict import predict
from crosscoop_tf.report import report
from crosscoop_tf.summary import summary
from crosscoop_tf.terminal import survive_closed_terminal


@click.group(
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(version("keras-crosscoop"), prog_name="crosscoop-tf")
@click.pass_context
def commands(context: click.Context) -> None:
    """Semantic segmentation with two networks that read each other's features.

    \b
    crosscoop-tf fit                                          train on the built-in data set, in minutes
    crosscoop-tf fit --data-dir MY_DATA                       train on your own images
    crosscoop-tf fit --data-dir MY_DATA --time 30min          the best network that fits into the time
    crosscoop-tf evaluate saved_models/street_scenes-1        measure accuracy
    crosscoop-tf predict saved_models/street_scenes-1 *.jpg --output pictures
    crosscoop-tf report saved_models/street_scenes-1          write one HTML page with all results
    crosscoop-tf export saved_models/street_scenes-1 --format tflite     (also savedmodel, onnx)
    crosscoop-tf benchmark saved_models/street_scenes-1       compare speed and size of all formats
    crosscoop-tf ablate --data-dir MY_DATA                    measure what cooperation adds
    crosscoop-tf summary --config voc2012                     parameters, FLOPs and memory of each part
    crosscoop-tf data check cityscapes --data-dir DIR         check every file before a long training

    The exit code is 0 for success, 1 if the command completed and listed failures, and 2 for bad input. It is 129, 130
    or 143 after a closed terminal (SIGHUP), Ctrl-C or SIGTERM; training saves a checkpoint first.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (fit, plan, evaluate, predict, report, export, benchmark, ablate, summary, data, info):
    commands.add_command(command)


def main() -> None:
    """Runs the command line. Errors that a user can fix take one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid Unicode
    with survive_closed_terminal():
        _run()


def _run() -> None:
    try:
        commands(prog_name="crosscoop-tf", standalone_mode=False)
    except click.UsageError as error:
        help_command = f"{error.ctx.command_path} --help" if error.ctx else "crosscoop-tf --help"
        sys.exit(_print_error(f"{error.format_message()} Try: {help_command}"))
    except click.Abort:
        click.echo("crosscoop-tf: interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name not in ("jax", "torch"):
            raise
        sys.exit(_print_error(f"The Keras backend is not installed. Unset KERAS_BACKEND. Received: {error.name!r}"))
    except Exception as error:
        from keras_crosscoop.errors import InputError, Interrupted  # already loaded if one was raised

        match error:
            case Interrupted():
                click.echo(f"crosscoop-tf: {error}", err=True)
                sys.exit(128 + error.signal)
            case InputError():
                sys.exit(_print_error(str(error)))
            case OSError(errno=errno.ENAMETOOLONG):
                sys.exit(_print_error(f"The path is too long for this file system. Received: {error.filename}"))
            case OSError(errno=errno.ENOSPC):
                sys.exit(_print_error(f"The disk is full. Free some space and try again. Received: {error.filename}"))
            case OSError(filename=str() | Path() as file) if error.strerror:  # deleted meanwhile, or no permission
                sys.exit(_print_error(f"A file or folder cannot be used ({error.strerror}). Received: {file}"))
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
            text = " ".join(str(error).split())[:200]
            sys.exit(_print_error(f"Out of memory. Use smaller crops, batches or windows. Received: {text}"))
        raise


def _print_error(message: str) -> int:
    click.echo(f"crosscoop-tf: {' '.join(message.split())}", err=True)
    return BAD_INPUT
