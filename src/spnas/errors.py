"""What can go wrong, and the exit code it leads to.

Every message is one line: where and which value, what was expected, what to do.
The command prints it as `spnas: error: ...` without a traceback and exits with `exit_code`;
any other exception is a bug of ours and keeps its traceback (exit code 1).
"""

from pathlib import Path


class DataError(Exception):
    """The user's data cannot be used as it is; `code` is listed in docs/data-errors.md."""

    exit_code = 2

    def __init__(self, file: Path | str, where: str, code: str, reason: str, hint: str) -> None:
        self.file, self.where, self.code, self.reason, self.hint = str(file), where, code, reason, hint
        place = f"{self.file}: {where}" if where else self.file
        super().__init__(f"{place}: {reason}; {hint} [{code}]")


class UsageError(Exception):
    """An option, an architecture or a command line that cannot be meant."""

    exit_code = 2


class StudyInUseError(Exception):
    """Another process is writing to this study."""

    exit_code = 3


class ResourceError(Exception):
    """Disk or memory ran out; what was committed before is intact."""

    exit_code = 4


class IntegrityError(Exception):
    """A file of ours, or the data of a running study, is not what its hash says."""

    exit_code = 5


EXIT_BUDGET = 6  # the hours ended the study before its plan was done; partial results are there


class OutOfTimeError(Exception):
    """The hours were used up before there was anything to show; what was done is kept."""

    exit_code = EXIT_BUDGET


USER_FAULTS = (DataError, UsageError, StudyInUseError, ResourceError, IntegrityError, OutOfTimeError)
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def escape(text: str) -> str:
    """Make `text` safe for a terminal: control, bidi and lone surrogate characters are shown as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def utf8(text: str) -> str:
    """Make `text` fit for JSON: lone surrogates, which stand for bytes of a path that are not UTF-8, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
