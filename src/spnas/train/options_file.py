"""Options of a training in a file: flat YAML, read by the safe loader, each value with the line it stands on."""

from pathlib import Path
from typing import Any

import yaml

from spnas.errors import UsageError
from spnas.shelf import nearest
from spnas.train.options import OPTIONS

LARGEST_BYTES = 1 << 20


def read_options(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the file sets, and for each of it the file and line.

    Raises: UsageError naming the line that is no option, has no plain value, or is said twice.
    """
    text = _read(path)
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{place}: is not YAML ({getattr(fault, 'problem', None) or fault})") from None
    except RecursionError:
        raise UsageError(f"{path}: is nested without end; it should be lines of 'option: value'") from None
    if root is None:
        return {}, {}
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{path}: should be lines of 'option: value'")
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for key, value in root.value:
        name, place = str(key.value) if isinstance(key, yaml.ScalarNode) else "", f"{path}:{key.start_mark.line + 1}"
        if name not in OPTIONS:
            raise UsageError(f"{place}: there is no option {name!r}; {nearest(name, list(OPTIONS))}")
        if name in values:
            raise UsageError(f"{place}: {name} is set again, after {places[name]}; keep one of the two")
        plain = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if not all(isinstance(part, yaml.ScalarNode) for part in plain):
            raise UsageError(f"{place}: {name} should have a plain value, or a list of them")
        try:
            values[name] = loader.construct_object(value, deep=True)
        except (yaml.YAMLError, ValueError) as fault:
            raise UsageError(f"{place}: {name} has no plain value ({str(fault).splitlines()[0]})") from None
        places[name] = f"{place}: {name}"
    return values, places


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UsageError(f"--config {path}: larger than {LARGEST_BYTES >> 20} MiB; give a file of options")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageError(f"--config {path}: cannot be read ({fault}); give a YAML file of options") from None
