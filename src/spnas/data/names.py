"""The names in a source: classes have one each, and every picture is listed once."""

from spnas.data.raw import RawData, Spot
from spnas.data.tally import record
from spnas.errors import DataError, escape


def check_classes(raw: RawData) -> tuple[str, ...]:
    """Return the class names without blanks around them; refuse empty and repeated ones."""
    names = tuple(name.strip() for name in raw.classes)
    source = escape(str(raw.source))
    if not names:
        raise DataError(source, "", "no-classes", "has no class at all", "annotate objects, or add categories")
    seen: dict[str, int] = {}
    caseless: dict[str, str] = {}
    for index, (name, written) in enumerate(zip(names, raw.classes, strict=True)):
        if not name:
            raise DataError(source, f"class {index}", "class-empty", "has no name", "name it")
        if name in seen:
            reason = f"is called {escape(name)!r} like class {seen[name]}"
            raise DataError(source, f"class {index}", "class-repeated", reason, "give every class its own name")
        seen[name] = index
        other = caseless.setdefault(name.casefold(), name)
        spot = Spot(str(raw.source), f"class {index}")
        if other != name:
            reason = f"{name!r} differs from {other!r} by case only"
            record(
                raw.report, spot, outcome="noted", code="class-case", reason=reason, hint="merge them if they are one"
            )
        if name != written:
            reason = f"{written!r} has blanks around it"
            record(
                raw.report, spot, outcome="noted", code="class-blanks", reason=reason, hint="nothing needs to be done"
            )
    return names


def check_listed_once(raw: RawData) -> None:
    """Refuse a source without pictures, or one that lists the same picture twice."""
    if not raw.files:
        source = escape(str(raw.source))
        raise DataError(source, "", "no-pictures", "lists no pictures", "check that it is the right file")
    if len(set(raw.files)) == len(raw.files):
        return
    first: dict[str, int] = {}
    for index, name in enumerate(raw.files):
        if name in first:
            spot, other = raw.picture_spot(index), raw.picture_spot(first[name])
            raise DataError(
                escape(spot.file),
                escape(spot.where),
                "picture-listed-twice",
                f"is the same file as {escape(other.where)}",
                "give every picture one record",
            )
        first[name] = index
