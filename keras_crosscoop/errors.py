"""The one kind of error that a user can mend: the command line prints it as a single line and exits with 2."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

_RECEIVED = " Received: "
_SHOWN = 3  # names of those that have one cause

# Line breaks, what a terminal would obey, and halves of surrogates: names of files may hold all of these.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class InputError(ValueError):
    """Something given from outside cannot be used: a name, a setting, a file.

    The message is one line: subject, constraint, remedy, "Received: ...". Control characters in it are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], message))


class AbsentError(InputError):
    """What is asked for is not there at all, no file of a split, say: nobody wanted it, rather than lost a part."""


class Interrupted(Exception):  # noqa: N818 - it is no error
    """A signal, such as SIGTERM, ended the work in order.

    Args:
        message: what was saved, and how to go on.
        signal: its number.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message, signal)
        self.signal = signal

    def __str__(self) -> str:
        return self.args[0]


def describe(error: Exception) -> str:
    """Tells any error in one line: an `InputError` by its message, others by their type and first line."""
    text = str(error).strip()
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def reason(error: BaseException) -> str:
    """Returns why an operation failed, for an error message: the system's words or the first line of the error."""
    return getattr(error, "strerror", None) or str(error).strip().split("\n")[0] or type(error).__name__


def group_by_cause(told: Iterable[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Groups names and messages by cause.

    Messages have one cause if they differ in nothing but numbers, paths, names of files and what was received.

    Args:
        told: names, as of files, and what is wrong with each.

    Returns:
        Of each cause the names and the first message, in the order of these.
    """
    groups: dict[str, tuple[list[str], str]] = {}
    for name, message in told:
        groups.setdefault(_cause(message), ([], message))[0].append(name)
    return list(groups.values())


def summarize(messages: Iterable[str]) -> list[str]:
    """Tells messages of one cause in one line: how many there are, the first, and what three of them received."""
    lines = []
    for received, message in group_by_cause((message.rpartition(_RECEIVED)[2], message) for message in messages):
        subject, separator, _ = message.rpartition(_RECEIVED)
        if len(received) == 1:
            lines.append(message)
        elif separator:
            lines.append(f"{len(received)} times: {subject}{separator}{join_names(received)}")
        else:
            lines.append(f"{len(received)} times: {message}")
    return lines


def join_names(names: Sequence[str], separator: str = ", ") -> str:
    """The first three names, and how many more there are."""
    more = len(names) - _SHOWN
    return separator.join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _cause(message: str) -> str:
    subject, separator, received = message.rpartition(_RECEIVED)
    if not separator:
        return message
    stem = re.escape(PurePath(received).stem)
    without_name = re.sub(rf"(?<!\w){stem}(?!\w)", "…", subject)
    return re.sub(r"\d+", "0", re.sub(r"\S*[/\\]\S*", "…", without_name))


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> InputError:
    """The error for a name that is none of `valid`, with the nearest valid one if any comes close.

    Of dotted names, such as "train.epochs", the last parts are compared.
    """
    names = list(map(str, valid))
    of_last_part = {name.rpartition(".")[2]: name for name in names}
    near = difflib.get_close_matches(str(name).rpartition(".")[2], of_last_part, n=1)
    hint = f'Did you mean "{of_last_part[near[0]]}"?' if near else f"Valid: {', '.join(names)}."
    return InputError(f"There is no {kind} of that name. {hint} Received: {name!r}.")


def shorten(value: object, longest: int = 200) -> str:
    """The `repr` of what was received, cut where it would fill the screen."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"
