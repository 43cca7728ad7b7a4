"""One study is one folder; every path inside it is named here and nowhere else."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from spnas.errors import IntegrityError, UsageError
from spnas.runs import files
from spnas.runs.ledger import Ledger
from spnas.runs.lock import hold

KIND = "spnas study"
SCHEMA = 1
_BEFORE_SETTINGS = {"lock", "ledger.sqlite", "ledger.sqlite-journal", "start.safetensors"}


class _Label(msgspec.Struct, frozen=True):
    kind: str
    schema: int


class _StudyFile(msgspec.Struct, frozen=True):
    kind: str
    schema: int
    sha256: str
    settings: msgspec.Raw


class RunFolder:
    """The folder of one study; making one touches nothing.

    Raises: UsageError when `root` is a file, or a folder of something else, or of a newer spnas; IntegrityError
    when it is a study whose `study.json` is damaged or gone.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self._refuse_what_is_not_ours()

    @property
    def study(self) -> Path:
        """The settings of the study, written once."""
        return self.root / "study.json"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def best(self) -> Path:
        """The bundle that a user takes away."""
        return self.root / "best"

    @property
    def start(self) -> Path:
        """The weights that roots begin with, where a study begins with any."""
        return self.root / "start.safetensors"

    def weights(self, number: int) -> Path:
        """The weights a candidate ended with."""
        return self.root / "weights" / f"{number:05d}.safetensors"

    def checkpoint(self, number: int) -> Path:
        """The folder from which the training of a candidate goes on after an interruption."""
        return self.root / "checkpoints" / f"{number:05d}"

    def path_of(self, name: str) -> Path:
        """Return the path of a file that a record speaks of.

        Raises: IntegrityError when it leads outside of the study.
        """
        return files.resolve_inside(self.root, name)

    @property
    def begun(self) -> bool:
        """Whether the settings of a study are written here."""
        return self.study.exists()

    def begin(self, settings: bytes) -> None:
        """Write the settings, a JSON value; the same again changes nothing.

        Raises: UsageError when the study was begun with others.
        """
        if self.begun:
            if self.settings() != settings:
                raise UsageError(f"{self.study}: the study was begun with other settings; use another folder")
            return
        study = _StudyFile(KIND, SCHEMA, _checksum(SCHEMA, settings), msgspec.Raw(settings))
        files.write_atomic(self.study, msgspec.json.encode(study) + b"\n")

    def settings(self) -> bytes:
        """Return the settings of the study as they were written.

        Raises: UsageError when there is no study here, IntegrityError when the file was changed.
        """
        try:
            study = msgspec.json.decode(self.study.read_bytes(), type=_StudyFile)
        except FileNotFoundError:
            raise UsageError(f"{self.root}: there is no study; name a folder that 'spnas search' wrote") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise self._damaged(str(fault)) from None
        settings = bytes(study.settings)
        if _checksum(study.schema, settings) != study.sha256:
            raise self._damaged("its settings are not those that were written")
        return settings

    def open_ledger(self, *, read_only: bool = False) -> Ledger:
        """Open the ledger; a new one is made only where nothing has been learned yet.

        Raises: IntegrityError when it is gone or damaged.
        """
        if not self.ledger.exists() and any(self.root.glob("weights/*.safetensors")):
            raise IntegrityError(f"{self.ledger}: is missing; restore it from a backup, or begin a new study")
        return Ledger.open(self.ledger, read_only=read_only)

    def publish_best(self, write: Callable[[Path], None]) -> None:
        """Replace `best` by the folder that `write` fills, which nobody sees before it is complete."""
        files.publish_folder(self.best, write)

    @contextlib.contextmanager
    def lock(self) -> Iterator[list[str]]:
        """Be the only writer, making the folder if need be; the lock of a dead owner is taken over.

        What the block is given are the names of files that a writer left half written, which are removed.

        Raises: StudyInUseError naming the live owner, within two seconds.
        """
        self._refuse_what_is_not_ours()
        with files.faults_named(self.root):
            (self.root / "weights").mkdir(parents=True, exist_ok=True)
        with hold(self.root / "lock"):
            yield self._tidy()

    def _tidy(self) -> list[str]:
        """Remove what a writer that died left half written, and return the names of it."""
        with files.faults_named(self.root):
            removed = files.mend_folder(self.best)
            for rest in sorted(self.root.rglob(files.TEMPORARY)):
                rest.unlink(missing_ok=True)
                removed.append(rest)
        return [path.relative_to(self.root).as_posix() for path in removed]

    def _refuse_what_is_not_ours(self) -> None:
        with files.faults_named(self.root):
            if not self.root.exists():
                return
        if not self.root.is_dir():
            raise UsageError(f"{self.root}: is not a folder; name a new or empty folder for the study")
        if not self.study.exists():
            others = [
                entry.name
                for entry in sorted(self.root.iterdir())
                if entry.name not in _BEFORE_SETTINGS and not entry.match(files.TEMPORARY) and not _is_empty(entry)
            ]
            if others and self.ledger.exists():
                raise IntegrityError(f"{self.study}: is missing; restore it, or begin a new study")
            if others:
                raise UsageError(f"{self.root}: is no study and holds {others[0]!r}; give a study, or a new folder")
            return
        try:
            label = msgspec.json.decode(self.study.read_bytes(), type=_Label)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            if self.ledger.exists():
                raise self._damaged(str(fault)) from None
            label = _Label("", 0)
        if label.kind != KIND and self.ledger.exists():
            raise self._damaged(f"its kind is {label.kind!r}, not {KIND!r}")
        if label.kind != KIND:
            raise UsageError(f"{self.study}: is no study of spnas; name a new or empty folder")
        if label.schema > SCHEMA:
            raise UsageError(
                f"{self.study}: its schema {label.schema} is newer than {SCHEMA}; install the spnas that wrote it"
            )

    def _damaged(self, reason: str) -> IntegrityError:
        return IntegrityError(f"{self.study}: was changed or damaged ({reason}); restore it, or begin a new study")


def _is_empty(entry: Path) -> bool:
    return entry.is_dir() and not any(entry.iterdir())


def _checksum(schema: int, settings: bytes) -> str:
    return hashlib.sha256(b"%d %b" % (schema, settings)).hexdigest()


def model_in(path: Path) -> Path:
    """Return where the model of `path` lies: the best one of a study, else `path` itself.

    Raises: UsageError where a study has none yet.
    """
    if not (path / "study.json").is_file():
        return path
    best = RunFolder(path).best
    if not best.is_dir():
        raise UsageError(f"{path}: a study that has no best model yet; run its command again to finish it")
    return best
