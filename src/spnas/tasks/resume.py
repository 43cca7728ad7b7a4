"""Going on with what a folder holds, or beginning it: the same settings and the same data, or a refusal by name."""

from typing import TypeVar

import msgspec

from spnas.data.choice import DataChoice
from spnas.errors import IntegrityError, UsageError
from spnas.runs.folder import RunFolder

BUDGET = "--budget"
NAMED = 4  # differences named in a refusal
# options of a search by the settings that they decide; a budget that nobody gave follows from the others
OPTIONS = {
    "recipe_name": "--recipe",
    "recipe.resize": "--image-size",
    "recipe.detector": "--detector",
    "recipe.train_settings.batch_size": "--batch-size",
    "search.root": "--root",
    "search.preset": "--preset",
    "search.rules": "--without",
    "search.phases": "--phases",
    "search.objective.metric": "--objective",
    "search.objective.against": "--against",
    "search.seed": "--seed",
    "search.lag": "--lag",
    "search.budget": BUDGET,
}
S = TypeVar("S", bound=msgspec.Struct)


class _Schema(msgspec.Struct, frozen=True):
    schema: int | None = None


def stored_settings(folder: RunFolder, kind: type[S]) -> S | None:
    """Return the settings that `folder` began with, None where nothing was begun.

    Raises: UsageError when it holds something of another kind, or of an older or newer spnas.
    """
    if not folder.begun:
        return None
    stored = folder.settings()
    _refuse_other_schema(folder, stored, kind)
    try:
        return msgspec.json.decode(stored, type=kind)
    except msgspec.ValidationError:
        raise UsageError(
            f"{folder.root} holds something else than what this command makes; give another --out"
        ) from None


def _refuse_other_schema(folder: RunFolder, stored: bytes, kind: type[msgspec.Struct]) -> None:
    """Raise UsageError for settings that an older or newer spnas wrote, where `kind` counts its schemas."""
    ours = {field.name: field.default for field in msgspec.structs.fields(kind)}.get("schema")
    try:
        theirs = msgspec.json.decode(stored, type=_Schema).schema
    except msgspec.ValidationError:
        return
    if ours is None or theirs is None or theirs == ours:
        return
    if theirs > ours:
        raise UsageError(
            f"{folder.study}: its settings are of schema {theirs}, newer than {ours}; install the spnas that wrote it"
        )
    raise UsageError(
        f"{folder.study}: was begun by an earlier spnas (settings of schema {theirs}, this one goes on with {ours}); "
        "'spnas ledger dump' still reads it; go on with the spnas that wrote it, or begin anew with another --out"
    )


def refuse_undecodable(folder: RunFolder, data: DataChoice | None, **others: str | None) -> None:
    """Refuse paths and names that are no text, which could be written neither into settings nor for other programs.

    others: by the option they were given with.

    Raises: UsageError naming the option.
    """
    said = {"data": data.path, "train": data.train, "val": data.val} if data else {}
    outside = data.allow_outside if data else None
    for option, text in (said | {"allow-outside": outside} | others | {"out": str(folder.root)}).items():
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise UsageError(f"--{option} {text}: is not valid UTF-8; rename it, or give another") from None


def begin_or_go_on(folder: RunFolder, asked: msgspec.Struct, stored: msgspec.Struct | None) -> None:
    """Write `asked` down as the settings of `folder`, or make sure that they are those it began with.

    Raises: IntegrityError when the data changed; UsageError naming what else differs, or cannot be written down.
    """
    refuse_undecodable(folder, _data(asked))
    if stored is None:
        folder.begin(msgspec.json.encode(asked))
        return
    if asked == stored:
        return
    if _data(asked) == _data(stored) and _fingerprint(asked) != _fingerprint(stored):
        raise IntegrityError(
            f"{folder.root}: the data are not those it began with (pictures or annotations changed); "
            "restore them, or begin anew with another --out"
        )
    fields = _differences(msgspec.to_builtins(asked), msgspec.to_builtins(stored), "")
    raise UsageError(
        f"{folder.root} was begun with other settings ({'; '.join(_in_words(fields)[:NAMED])}); "
        "give the same options to go on with it, or another --out"
    )


def _data(settings: msgspec.Struct) -> DataChoice | None:
    return getattr(settings, "data", None)


def _fingerprint(settings: msgspec.Struct) -> str | None:
    return getattr(settings, "fingerprint", None)


def _differences(asked: object, stored: object, where: str) -> list[tuple[str, str]]:
    """Return where settings differ, and how."""
    if isinstance(asked, dict) and isinstance(stored, dict):
        return [
            line
            for key in sorted(asked.keys() | stored.keys())
            for line in _differences(asked.get(key), stored.get(key), f"{where}.{key}".strip("."))
        ]
    return [] if asked == stored else [(where, f"{where} is {stored!r}, not {asked!r}")]


def _in_words(differences: list[tuple[str, str]]) -> list[str]:
    """Return the differences by the options that make them, where these are known; what follows is left out."""
    named = dict[str, str]()
    for where, how in differences:
        option = next((option for field, option in OPTIONS.items() if where.startswith(field)), None)
        if option is not None:
            named.setdefault(option, f"{option}: {how}")
    if len(named) > 1:
        named.pop(BUDGET, None)
    return list(named.values()) or [how for _, how in differences]
