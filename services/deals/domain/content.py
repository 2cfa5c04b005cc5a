"""What a file is, told from its first bytes, and what it may be called. The sender's own word for its type counts for little. (T16)"""

from __future__ import annotations

import unicodedata

LOOKED_AT = 4096
"""Bytes at the beginning of a file that tell what it is."""
UNKNOWN = "application/octet-stream"
LONGEST_NAME = 255

_BEGINNINGS = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_OFFICE = "application/vnd.openxmlformats-officedocument."
_ZIPPED = {
    "docx": f"{_OFFICE}wordprocessingml.document",
    "xlsx": f"{_OFFICE}spreadsheetml.sheet",
    "pptx": f"{_OFFICE}presentationml.presentation",
}
_OFFICE_PARTS = (b"[Content_Types].xml", b"_rels/")
_BINARY = frozenset((*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)))
"""No byte of a text in any encoding that keeps ASCII (WHATWG, MIME sniffing, 'binary data byte')."""
_MARKUP = b"<"
_TURNS_TEXT_ROUND = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction marks: with one of them `gpj.exe` is shown as `exe.jpg`."""


def content_type_of(head: bytes, name: str) -> str:
    """By the first LOOKED_AT bytes; the name only tells apart what is built alike. UNKNOWN for everything that is not known.

    Markup is UNKNOWN too: HTML, SVG and XML can hold scripts."""
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    ending = name.rpartition(".")[2].lower()
    if head.startswith(b"PK\x03\x04"):
        office = ending in _ZIPPED and any(part in head for part in _OFFICE_PARTS)
        return _ZIPPED[ending] if office else "application/zip"
    return _text_type_of(head, ending)


def _text_type_of(head: bytes, ending: str) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not _BINARY.isdisjoint(head) or text.startswith(_MARKUP):
        return UNKNOWN
    if text.upper().startswith(b"BEGIN:VCALENDAR"):
        return "text/calendar"
    return "text/csv" if ending == "csv" else "text/plain"


def name_without_folders(name: str) -> str:
    """The last part of a path, of whatever system, in composed form (RFC 7578, 4.2)."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return unicodedata.normalize("NFC", last).strip()


def fault_in_name(name: str) -> tuple[str, str] | None:
    """Code and sentence for a name that is none."""
    if name.strip(".") == "":
        return "required", "A file needs a name."
    if len(name) > LONGEST_NAME:
        return "too_long", f"A name has at most {LONGEST_NAME} characters."
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNS_TEXT_ROUND for c in name):
        return "control_character", "Control characters and direction marks are not allowed in a name."
    return None
