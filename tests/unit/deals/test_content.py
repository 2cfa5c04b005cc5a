"""What a file is, by its bytes, and which names are none."""

from __future__ import annotations

import pytest

from services.deals.domain.content import UNKNOWN, content_type_of, fault_in_name, name_without_folders
from services.deals.domain.file import ALLOWED_TYPES

OFFICE = "application/vnd.openxmlformats-officedocument."
ZIP = b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + b"[Content_Types].xml" + b"\x00" * 40


@pytest.mark.parametrize(
    ("head", "name", "expected"),
    [
        (b"%PDF-1.7\n", "offer.txt", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n\x00", "a.exe", "image/png"),
        (b"\xff\xd8\xff\xe0\x00", "a", "image/jpeg"),
        (b"GIF89a\x01\x00", "a.gif", "image/gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "a.webp", "image/webp"),
        (ZIP, "offer.DOCX", f"{OFFICE}wordprocessingml.document"),
        (ZIP, "sums.xlsx", f"{OFFICE}spreadsheetml.sheet"),
        (ZIP, "talk.pptx", f"{OFFICE}presentationml.presentation"),
        (ZIP, "all.zip", "application/zip"),
        (b"PK\x03\x04\x14\x00 a.txt", "liar.docx", "application/zip"),
        (b"a;b\r\n1;2\r\n", "sums.csv", "text/csv"),
        ("Müller;1\n".encode("latin-1"), "sums.csv", "text/csv"),
        (b"\xef\xbb\xbf  BEGIN:VCALENDAR\r\n", "x", "text/calendar"),
        (b"just words", "notes.md", "text/plain"),
    ],
)
def test_a_file_is_what_its_bytes_say(head: bytes, name: str, expected: str) -> None:
    assert content_type_of(head, name) == expected
    assert expected in ALLOWED_TYPES


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"MZ\x90\x00\x03\x00", "setup.pdf"),
        (b"\x7fELF\x02\x01", "a.txt"),
        (b"<!doctype html><script>", "page.txt"),
        (b"\xef\xbb\xbf \n<svg onload=x>", "picture.png"),
        (b"<?xml version='1.0'?>", "data.csv"),
        (b"text with a \x00 in it", "a.txt"),
        (b"RIFF\x10\x00\x00\x00WAVE", "a.webp"),
    ],
)
def test_what_runs_or_is_not_known_is_no_type_of_ours(head: bytes, name: str) -> None:
    assert content_type_of(head, name) == UNKNOWN
    assert UNKNOWN not in ALLOWED_TYPES


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\offer.pdf", "offer.pdf"),
        ("/srv/x/..\\..\\y.txt", "y.txt"),
        (" Angebot Mu\u0308ller.pdf ", "Angebot Müller.pdf"),
        ("a\"b;c'.pdf", "a\"b;c'.pdf"),
    ],
)
def test_a_name_is_no_path(sent: str, kept: str) -> None:
    assert name_without_folders(sent) == kept
    assert fault_in_name(kept) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "required"),
        ("..", "required"),
        ("x" * 256, "too_long"),
        ("a\r\nSet-Cookie: x", "control_character"),
        ("a\x00.pdf", "control_character"),
        ("\u202egpj.exe", "control_character"),
        ("a\u2028b", "control_character"),
    ],
)
def test_names_that_are_none(name: str, code: str) -> None:
    fault = fault_in_name(name)
    assert fault is not None and fault[0] == code
