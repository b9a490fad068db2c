"""Errors that a user can act on. The command line prints their one-line message and exits with status 2."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

_RECEIVED = " Received: "
_SHOWN = 3  # names in a summary

# Line breaks, terminal control characters and lone surrogates: file names can contain all of them.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class InputError(ValueError):
    """A name, a setting or a file from outside cannot be used.

    The message is one line: subject, constraint, remedy, "Received: ...". Control characters in it are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], message))


class AbsentError(InputError):
    """The requested data does not exist at all, such as a split without any file, as opposed to incomplete data."""


class Interrupted(Exception):  # noqa: N818 - an interruption is not an error
    """A signal such as SIGTERM ended the work after its state was saved.

    Args:
        message: A description of the saved state and of the way to continue.
        signal: The signal's number.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message, signal)
        self.signal = signal

    def __str__(self) -> str:
        return self.args[0]


def describe(error: Exception) -> str:
    """Returns the reason of any error in one line.

    Example:
        >>> describe(FileNotFoundError(2, "No such file or directory", "a.png"))
        'No such file or directory'
        >>> describe(KeyError("epoch"))
        "KeyError: 'epoch'"
    """
    if isinstance(error, ValidationError):
        place, message, _ = first_failure(error)
        return f"{place}: {message}" if place else message
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    name, lines = type(error).__name__, str(error).strip().splitlines()
    return f"{name}: {lines[0]}" if lines else name


def reason(error: BaseException) -> str:
    """Returns the reason of a failed operation: the operating system's message or the first line of the error."""
    return getattr(error, "strerror", None) or str(error).strip().split("\n")[0] or type(error).__name__


def first_failure(error: ValidationError) -> tuple[str, str, Any]:
    """Returns the dotted place, the message and the value of the first failure of a pydantic validation."""
    failure = error.errors(include_url=False)[0]
    names = [str(part) for part in failure["loc"]]
    place = ".".join(name for name in names if name != "str" and "[" not in name)  # leaves out the types of a union
    return place, failure["msg"].removeprefix("Value error, "), failure["input"]


def group_by_cause(messages: Iterable[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Groups error messages by cause.

    Messages have the same cause if they differ only in numbers, paths, file names and the value received.

    Args:
        messages: Pairs of a name, such as a file's, and its error message.

    Returns:
        The names and the first message of each cause, in the order of the messages.
    """
    groups: dict[str, tuple[list[str], str]] = {}
    for name, message in messages:
        groups.setdefault(_cause(message), ([], message))[0].append(name)
    return list(groups.values())


def summarize(messages: Iterable[str]) -> list[str]:
    """Summarizes messages in one line per cause: their number, the first message, and three received values.

    Example:
        >>> summarize(["The file is empty. Received: a.png", "The file is empty. Received: b.png"])
        ['2 times: The file is empty. Received: a.png, b.png']
    """
    lines = []
    for received, message in group_by_cause((message.rpartition(_RECEIVED)[2], message) for message in messages):
        if len(received) > 1:
            subject, separator, _ = message.rpartition(_RECEIVED)
            text = f"{subject}{separator}{join_names(received)}" if separator else message
            message = f"{len(received)} times: {text}"
        lines.append(message)
    return lines


def counted(count: int, noun: str) -> str:
    """Returns a number and a noun, in the plural if needed.

    Example:
        >>> counted(1, "image"), counted(1200, "image")
        ('1 image', '1,200 images')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def join_names(names: Sequence[str], separator: str = ", ") -> str:
    """Joins the first three names, and adds the number of other names."""
    more = len(names) - _SHOWN
    return separator.join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _cause(message: str) -> str:
    subject, separator, received = message.rpartition(_RECEIVED)
    if not separator:
        return message
    stem = PurePath(received).stem
    if not stem.isdecimal():  # numbers are left out anyway, and may mean something else
        subject = re.sub(rf"(?<!\w){re.escape(stem)}(?!\w)", "…", subject)
    return re.sub(r"\d+", "0", re.sub(r"\S*[/\\]\S*", "…", subject))


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> InputError:
    """Returns the error for a name that is not among `valid`, with the nearest valid name if one is similar.

    Dotted names, such as "train.epochs", are compared by their last part.
    """
    names = list(map(str, valid))
    by_last_part = {name.rpartition(".")[2]: name for name in names}
    near = difflib.get_close_matches(str(name).rpartition(".")[2], by_last_part, n=1)
    hint = f'Did you mean "{by_last_part[near[0]]}"?' if near else f"Valid: {', '.join(names)}."
    return InputError(f"There is no {kind} of that name. {hint} Received: {name!r}.")


def shorten(value: object, longest: int = 200) -> str:
    """Returns the `repr` of a received value, cut at `longest` characters."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"
