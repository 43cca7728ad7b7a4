"""The files of a study on their way through Ray to workers that do not see its folder, and back."""

import collections
import hashlib
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from spnas.errors import IntegrityError
from spnas.runs import files
from spnas.runs.executors import FileRef, files_of

_FILES_KEPT = 16
Parcel = tuple[str, str, Any]  # name, SHA-256, Ray's reference to the bytes


class Parcels:
    """The driver's end: what was sent lately is kept in Ray, for the next worker that needs it."""

    def __init__(self, ray: ModuleType, folder: Path) -> None:
        self._ray, self._folder = ray, folder
        self._references: collections.OrderedDict[FileRef, Any] = collections.OrderedDict()
        self._changing = threading.Lock()

    def for_job(self, job: bytes) -> list[Parcel]:
        """Return the settings of the study and the files that the job needs, each put into Ray once.

        Raises: IntegrityError when a file is not what the job says.
        """
        refs, study = list(files_of(job)), self._folder / "study.json"
        if study.exists():
            refs.append(FileRef(study.name, files.sha256(study)))
        return [(ref.name, ref.sha256, self._reference(ref)) for ref in refs]

    def keep(self, refs: tuple[FileRef, ...], data: list[bytes]) -> None:
        """Write files that came from a worker.

        Raises: IntegrityError when one was damaged on its way, ResourceError when the disk is full.
        """
        for ref, content in zip(refs, data, strict=True):
            check(ref, content)
            path = files.resolve_inside(self._folder, ref.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomic(path, content)

    def _reference(self, ref: FileRef) -> Any:
        with self._changing:
            if ref not in self._references:
                path = files.resolve_inside(self._folder, ref.name)
                self._references[ref] = self._ray.put(files.read_checked(path, ref.sha256))
            self._references.move_to_end(ref)
            reference = self._references[ref]
            while len(self._references) > _FILES_KEPT:
                self._references.popitem(last=False)
            return reference


def check(ref: FileRef, data: bytes) -> None:
    """Refuse what is not the file that was sent.

    Raises: IntegrityError.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != ref.sha256:
        raise IntegrityError(
            f"{ref.name}: its SHA-256 after sending is {found[:12]}..., {ref.sha256[:12]}... was expected; "
            "run the same command again"
        )
