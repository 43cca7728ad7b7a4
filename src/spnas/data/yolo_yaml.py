"""data.yaml of a YOLO folder: plain data, read by the safe loader, with a bound on what aliases may unfold to."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from spnas.data.source import SourceText, read_source
from spnas.errors import DataError, escape

NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
MOST_BYTES = 4 << 20
MOST_NODES = 200_000  # LVIS has 1,203 classes; nothing honest comes near
MOST_CLASSES = 20_000
DEEPEST = 64
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Described(msgspec.Struct, frozen=True):
    """What the file says: classes in order, and under each split's name where its pictures are listed or lie."""

    file: Path
    classes: tuple[str, ...]
    base: str
    splits: dict[str, tuple[str, ...]]
    source: SourceText


def find_yaml(path: Path) -> Path | None:
    """Return the description that `path` is or holds."""
    if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
        return path
    if not path.is_dir():
        return None
    return next((path / name for name in NAMES if (path / name).is_file()), None)


def read_description(file: Path) -> Described:
    """Read and check the whole of it.

    Raises: DataError with the line where it is no YAML, or with the key that cannot be meant.
    """
    source = read_source(file, most_bytes=MOST_BYTES)
    content = _load(source)
    if not isinstance(content, dict):
        raise _refusal(file, "", "yolo-yaml", "holds no keys", "expected names, train and val")
    classes = _classes(file, content)
    count = content.get("nc")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count != len(classes)):
        reason = f"nc is {escape(str(count))[:40]}, there are {len(classes)} names"
        raise _refusal(file, "nc", "yolo-class-count", reason, "make them agree")
    splits: dict[str, tuple[str, ...]] = {}
    for split, keys in SPLITS.items():
        value = next((content[key] for key in keys if content.get(key)), None)
        places = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(place, str) for place in places):
            raise _refusal(file, split, "yolo-yaml", "names no folder or list", "name a folder below this file")
        if places:
            splits[split] = tuple(places)
    base = content.get("path") or "."
    if not isinstance(base, str):
        raise _refusal(file, "path", "yolo-yaml", "is no folder", 'write "path: ."')
    return Described(file, classes, base, splits, source)


def _load(source: SourceText) -> Any:
    """Load the text after a look at its events: how much it would become is known before it becomes that."""
    file = source.path
    try:
        _measure(file, source.data)
        return yaml.load(source.data, Loader=Loader)  # safe: Loader knows plain data only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}:{mark.column + 1}"
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        hint = "mend it; only plain values, lists and keys are read"
        raise _refusal(file, where, "yaml-syntax", f"is not plain YAML: {escape(str(reason))[:200]}", hint) from None
    except RecursionError:
        raise _refusal(file, "", "yaml-too-large", "nests too deeply", "restore the file") from None
    except ValueError as error:  # a date or a number that cannot be
        reason = f"holds a value that cannot be: {escape(str(error))[:80]}"
        raise _refusal(file, "", "yaml-syntax", reason, "mend it") from None


def _measure(file: Path, data: bytes) -> None:
    """Refuse what nests too deeply, repeats a key of the outermost mapping, or whose aliases unfold to too much."""
    weights: dict[str | None, int] = {}
    unclosed: list[tuple[str | None, int]] = [(None, 0)]  # anchor and number of values so far
    keys: set[str] = set()
    position = 0  # in the outermost mapping, where keys and values take turns

    def refuse(event: yaml.events.Event, code: str, reason: str, hint: str) -> DataError:
        where = f"line {event.start_mark.line + 1}" if event.start_mark is not None else ""
        return _refusal(file, where, code, reason, hint)

    for event in yaml.parse(data, Loader=Loader):
        position += len(unclosed) == 2 and not isinstance(event, yaml.events.CollectionEndEvent)
        if isinstance(event, yaml.events.CollectionStartEvent):
            unclosed.append((event.anchor, 1))
            if len(unclosed) > DEEPEST:
                raise refuse(event, "yaml-too-large", "nests too deeply", "restore the file")
            continue
        if isinstance(event, yaml.events.CollectionEndEvent):
            anchor, weight = unclosed.pop()
        elif isinstance(event, yaml.events.ScalarEvent):
            anchor, weight = event.anchor, 1
            if len(unclosed) == 2 and position % 2:
                if event.value in keys:
                    reason = f"the key {escape(event.value)[:40]!r} stands twice"
                    raise refuse(event, "yaml-repeated-key", reason, "keep one of the two")
                keys.add(event.value)
        elif isinstance(event, yaml.events.AliasEvent):
            anchor, weight = None, weights.get(event.anchor, MOST_NODES + 1)  # inside itself: endless
        else:
            continue
        if anchor:
            weights[anchor] = weight
        above, count = unclosed[-1]
        unclosed[-1] = (above, count + weight)
        if count + weight > MOST_NODES:
            reason = f"aliases unfold to more than {MOST_NODES:,} values"
            raise refuse(event, "yaml-too-large", reason, "write it out")


def _classes(file: Path, content: dict[Any, Any]) -> tuple[str, ...]:
    """Return the class names, from a list or from keys 0, 1, 2 and so on."""
    names = content.get("names")
    if isinstance(names, dict):
        if not all(isinstance(key, int) and not isinstance(key, bool) for key in names):
            raise _refusal(file, "names", "yolo-names", "has keys that are no numbers", "number them from 0")
        if sorted(names) != list(range(len(names))):
            gap = next((i for i in range(len(names)) if i not in names), 0)
            raise _refusal(file, "names", "yolo-names", f"has no class {gap}", "number them from 0 without gaps")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise _refusal(file, "names", "yolo-names", "is missing or no list", "list the class names")
    if len(names) > MOST_CLASSES:
        raise _refusal(file, "names", "yolo-names", f"has {len(names):,} names", f"at most {MOST_CLASSES:,} are read")
    for index, name in enumerate(names):
        if not isinstance(name, str | int | float):  # `no` and `on` are truth values in YAML: quote them
            hint = "quote it" if name is None else "write a name"
            raise _refusal(file, f"names[{index}]", "yolo-names", "is no name", hint)
        if isinstance(name, bool):
            raise _refusal(file, f"names[{index}]", "yolo-names", "is a truth value in YAML", "quote the name")
    return tuple(str(name) for name in names)


def _refusal(file: Path, where: str, code: str, reason: str, hint: str) -> DataError:
    return DataError(escape(str(file)), where, code, reason, hint)
