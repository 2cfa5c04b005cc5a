"""Simple markdown as HTML: paragraphs, lists, bold, italic, links. Everything else is text and escaped. (S27, T14)

Only http, https and mailto links become links, so nothing a template brings along can run in a reader's mail program."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

_TOKENS = re.compile(
    r"\[(?P<label>[^\[\]\n]{1,500})\]\((?P<target>(?:https?://|mailto:)[^\s()<>\"]{1,2000})\)"
    r"|(?P<url>https?://[^\s<>\"']{1,2000})"
    r"|\*\*(?P<bold>[^*\n]{1,2000})\*\*"
    r"|\*(?P<italic>[^*\n]{1,2000})\*"
)
_AFTER_A_LINK = ".,;:!?)"
_STYLE = "font:16px/1.5 sans-serif"


def html_of(text: str) -> str:
    """A whole HTML document of a text."""
    blocks = "\n".join(_block(block) for block in re.split(r"\n[ \t]*\n", text.strip()) if block.strip())
    return f'<!doctype html>\n<html><body style="{_STYLE}">\n{blocks}\n</body></html>\n'


def _block(block: str) -> str:
    parts = []
    for is_list, lines in groupby(block.split("\n"), key=lambda line: line.lstrip().startswith("- ")):
        if is_list:
            parts.append("<ul>" + "".join(f"<li>{_inline(line.lstrip()[2:])}</li>" for line in lines) + "</ul>")
        else:
            parts.append("<p>" + "<br>\n".join(_inline(line) for line in lines) + "</p>")
    return "\n".join(parts)


def _inline(line: str) -> str:
    shown, at = [], 0
    for token in _TOKENS.finditer(line):
        shown.append(escape(line[at : token.start()]))
        shown.append(_shown(token))
        at = token.end()
    return "".join([*shown, escape(line[at:])])


def _shown(token: re.Match[str]) -> str:
    if token["label"]:
        return _link(token["target"], token["label"])
    if token["url"]:
        url = token["url"].rstrip(_AFTER_A_LINK)
        return _link(url, url) + escape(token["url"][len(url) :])
    if token["bold"]:
        return f"<strong>{_inline(token['bold'])}</strong>"
    return f"<em>{_inline(token['italic'])}</em>"


def _link(target: str, label: str) -> str:
    return f'<a href="{escape(target)}">{escape(label)}</a>'
