"""Small XML files from strangers: no declarations, bounded size and depth, every value with its line."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast
from xml.sax import SAXParseException

import defusedxml.sax
import msgspec
from defusedxml import DefusedXmlException

from spnas.data.source import read_source
from spnas.errors import DataError, escape

MOST_BYTES = 16 << 20
DEEPEST = 64
DECLARED = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']([^\"']+)[\"']")


class Element(msgspec.Struct):
    """A tag with its text, its line, and what is inside."""

    tag: str
    line: int
    text: str = ""
    children: list["Element"] = []

    def child(self, tag: str) -> "Element | None":
        """Return the first child of this tag."""
        return next((c for c in self.children if c.tag == tag), None)

    def value(self, tag: str) -> str | None:
        """Return the text of the first child of this tag, without blanks around it."""
        found = self.child(tag)
        return None if found is None else found.text.strip()


class _Builder:
    """Receives the parser's events; its methods carry the names that SAX asks for."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.root: Element | None = None
        self.stack: list[Element] = []
        self.texts: list[str] = []
        self.locator: Any = None

    def setDocumentLocator(self, locator: Any) -> None:  # noqa: N802
        self.locator = locator

    def startElement(self, tag: str, _: Any) -> None:  # noqa: N802
        if len(self.stack) >= DEEPEST:
            raise DataError(
                self.shown,
                f"line {self.locator.getLineNumber()}",
                "xml-too-deep",
                f"elements nest deeper than {DEEPEST}",
                "restore the file from its source",
            )
        element = Element(tag, self.locator.getLineNumber())
        if self.stack:
            self.stack[-1].children.append(element)
        else:
            self.root = element
        self.stack.append(element)
        self.texts.clear()

    def characters(self, text: str) -> None:
        self.texts.append(text)

    def endElement(self, _: str) -> None:  # noqa: N802
        element = self.stack.pop()
        if not element.children:
            element.text = "".join(self.texts)
        self.texts.clear()

    def startDocument(self) -> None:  # noqa: N802
        pass

    def endDocument(self) -> None:  # noqa: N802
        pass

    def processingInstruction(self, target: str, data: str) -> None:  # noqa: N802
        pass

    def ignorableWhitespace(self, text: str) -> None:  # noqa: N802
        pass


def read_xml(path: Path) -> Element:
    """Parse one file.

    Raises: DataError with the line when it is not well-formed, declares a DTD or entities, is not UTF-8,
      or is too large or too deep.
    """
    shown = escape(str(path))
    source = read_source(path, most_bytes=MOST_BYTES)
    declared = DECLARED.match(source.data)
    if declared and declared[1].lower() not in (b"utf-8", b"utf8", b"us-ascii", b"ascii"):
        name = escape(declared[1].decode("ascii", "replace"))
        raise DataError(shown, "line 1", "file-encoding", f"declares {name}", "save it as UTF-8")
    builder = _Builder(shown)
    try:
        defusedxml.sax.parseString(source.data, cast(Any, builder), forbid_dtd=True)
    except DefusedXmlException:
        raise DataError(
            shown,
            f"line {builder.locator.getLineNumber()}",
            "xml-declaration",
            "declares a DTD or an entity, which annotations never need",
            "remove the declaration",
        ) from None
    except SAXParseException as error:
        raise DataError(
            shown,
            f"line {error.getLineNumber()}:{(error.getColumnNumber() or 0) + 1}",
            "xml-syntax",
            f"is not well-formed XML: {escape(error.getMessage())}",
            "mend it, or restore it from its source",
        ) from None
    assert builder.root is not None
    return builder.root


def numbers(element: Element | None, tags: Iterable[str]) -> list[float] | None:
    """Return the children of these tags as numbers, None when one is missing or is no number."""
    found = []
    for tag in tags:
        text = None if element is None else element.value(tag)
        try:
            found.append(float(text or "") if "_" not in (text or "") else float("x"))
        except ValueError:
            return None
    return found
