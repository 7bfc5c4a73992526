"""The prose of a Markdown page, of docstrings and of messages in numbers: words a sentence, and code blocks."""

import ast
import inspect
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

_FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[`~]*[ ]*$", re.DOTALL | re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---\n.*?^---$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_INLINE_CODE = re.compile(r"`[^`]+`")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+")
_NO_PROSE = re.compile(r"^\s*(?:\||#|!!!|\?\?\?|:::|-{3,}\s*$|<)")
"""Rows of tables, headings, titles of admonitions, generated references, rules and tags."""
_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+")
_SHORT_FORM = re.compile(r"\b(?:e\.g|i\.e|vs|etc|cf)\.$")
_WORD = re.compile(r"\w")
_SECTION = re.compile(r"^(?:Args|Attributes|Raises|Returns):$", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}\*{0,2}\w+(?:, \*{0,2}\w+)*: ", re.MULTILINE)
_CLAUSE = re.compile(r"[;:]\s")


@dataclass(frozen=True)
class Prose:
    """What was counted.

    Attributes:
        lengths: Words of each sentence, in the order of the page.
        blocks: Fenced code blocks.
    """

    lengths: tuple[int, ...]
    blocks: int

    @property
    def median(self) -> float:
        """Words of the sentence in the middle."""
        return median(self.lengths) if self.lengths else 0.0

    @property
    def ninetieth(self) -> int:
        """Nine sentences of ten have at most so many words (nearest rank)."""
        return sorted(self.lengths)[math.ceil(0.9 * len(self.lengths)) - 1] if self.lengths else 0

    @property
    def blocks_per_1000_words(self) -> float:
        """Code blocks for a thousand words of sentences; words of tables, headings and code do not count."""
        words = sum(self.lengths)
        return 1000 * self.blocks / words if words else math.inf


def prose_of(markdown: str) -> Prose:
    """Counts a page."""
    return Prose(tuple(len(_words(one)) for one in sentences(markdown)), len(_FENCE.findall(markdown)))


def together(pages: Iterable[Prose]) -> Prose:
    """Several pages as one."""
    every = list(pages)
    return Prose(tuple(length for page in every for length in page.lengths), sum(page.blocks for page in every))


def sentences(markdown: str) -> list[str]:
    """The sentences of a page.

    A list item and a paragraph end a sentence, with or without a full stop. Code blocks, tables, headings, images and
    the targets of links are left out. Inline code is one word.
    """
    text = _FENCE.sub("\n", _COMMENT.sub("", _FRONT_MATTER.sub("", markdown)))
    text = _INLINE_CODE.sub("code", _IMAGE.sub("", text))
    text = _LINK.sub(r"\1", text)
    return [sentence for paragraph in _paragraphs(text) for sentence in _split(paragraph) if _words(sentence)]


def docstrings(source: str) -> list[str]:
    """The docstrings of a module: those of the module, its classes and functions, and its attributes."""
    bodies = [getattr(node, "body", None) for node in ast.walk(ast.parse(source))]
    values = [
        statement.value
        for body in bodies
        if isinstance(body, list)
        for statement in body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    ]
    return [inspect.cleandoc(value.value) for value in values if isinstance(value.value, str)]


def prose_of_docstring(docstring: str) -> Prose:
    """Counts a docstring; each entry of its sections is a list item."""
    return prose_of(_ENTRY.sub("- ", _SECTION.sub("", docstring)))


def messages(source: str) -> list[str]:
    """The texts of the errors that a module raises; a placeholder is one word."""
    raised = [node.exc for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise)]
    texts = [_text(call.args[0]) for call in raised if isinstance(call, ast.Call) and call.args]
    return [text for text in texts if " " in text]


def clauses(message: str) -> Prose:
    """Counts the clauses of a message: the rule, the value, the way out."""
    return prose_of("\n\n".join(_CLAUSE.split(message)))


def _text(value: ast.expr) -> str:
    if isinstance(value, ast.JoinedStr):
        return "".join(_text(part) for part in value.values)
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) else ""
    return "value" if isinstance(value, ast.FormattedValue) else ""


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs and list items, each as one line."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        starts, prose = _ITEM.match(line), bool(line.strip()) and not _NO_PROSE.match(line)
        if lines and (starts or not prose):
            yield " ".join(lines)
            lines = []
        if prose:
            lines.append(_ITEM.sub("", line).strip())


def _split(paragraph: str) -> Iterator[str]:
    begun = ""
    for part in _END.split(paragraph):
        begun = f"{begun} {part}".strip()
        if not _SHORT_FORM.search(begun):
            yield begun
            begun = ""
    if begun:
        yield begun


def _words(sentence: str) -> list[str]:
    return [word for word in sentence.split() if _WORD.search(word)]
