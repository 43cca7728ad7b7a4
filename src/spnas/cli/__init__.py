"""The command `spnas`: argv -> one function of `spnas.tasks`.

stdout carries results (JSON with --json), stderr carries talk. Exit codes: 0 done, 1 a bug of ours, 2 bad input or
usage, 3 study in use, 4 out of disk or memory, 5 integrity, 6 budget reached with partial results, 130 and 143
signals (the same command goes on).
"""

import os
import signal
import sys
from typing import NoReturn

import typer

from spnas.cli.bench import bench
from spnas.cli.classify import classify
from spnas.cli.doctor import doctor
from spnas.cli.estimate import estimate
from spnas.cli.evaluate import evaluate
from spnas.cli.export import export
from spnas.cli.ledger import ledger
from spnas.cli.names import list_, show
from spnas.cli.options import reads_data
from spnas.cli.predict import predict
from spnas.cli.search import search
from spnas.cli.study import study
from spnas.cli.train import train
from spnas.cli.watch import watch
from spnas.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, USER_FAULTS, escape

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Search a detection backbone for your own data and budget, and learn honestly whether it paid.",
)
app.command()(reads_data(search))
app.command()(reads_data(train))
app.command()(reads_data(evaluate))
app.command()(reads_data(estimate))
app.command()(reads_data(predict, path_help="Folder or annotation file, whose val pictures are looked at."))
app.command()(watch)
app.command()(reads_data(bench))
app.command()(reads_data(doctor, argument=True))
app.command(name="list")(list_)
app.command()(show)
app.command()(
    reads_data(export, path_help="Data on whose val an ONNX file is compared; generated shapes if not given.")
)
app.add_typer(classify, name="classify")
app.add_typer(ledger, name="ledger")
app.add_typer(study, name="study")


class Terminated(BaseException):
    """SIGTERM came in; nothing but `main` catches it, so that no work takes it for a failure of its own."""


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise Terminated


_GO_ON = ("search", "train", "classify")  # what keeps its work on disk
_STOPPED = {EXIT_INTERRUPTED: "interrupted", EXIT_TERMINATED: "terminated"}


def main() -> NoReturn:
    """Run the command, and turn every fault into its exit code and one line."""
    signal.signal(signal.SIGTERM, _terminate)
    code = 0
    try:
        code = app(standalone_mode=False) or 0
    except typer.Exit as done:
        code = done.exit_code
    except USER_FAULTS as fault:
        code = fault.exit_code
        _say(f"spnas: error: {' '.join(str(fault).split())}")
    except MemoryError:
        code = 4
        _say("spnas: error: out of memory; give fewer --workers, a smaller --batch-size or --image-size")
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Terminated:
        code = EXIT_TERMINATED
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as fault:
        if not hasattr(fault, "format_message"):  # click's own usage errors have it
            raise
        code = 2
        _say(f"spnas: error: {' '.join(fault.format_message().split()).rstrip('.?')}; see spnas --help")
    if code in _STOPPED:
        where = " to go on where it was" if len(sys.argv) > 1 and sys.argv[1] in _GO_ON else ""
        _say(f"spnas: {_STOPPED[code]}; run the same command again{where}")
        sys.stdout.flush()
        os._exit(code)  # all is on disk and no worker is left; taking libraries down would only keep the user waiting
    sys.exit(code)


def _say(line: str) -> None:
    sys.stderr.write(escape(line) + "\n")
