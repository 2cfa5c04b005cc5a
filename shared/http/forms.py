"""Forms with one file, read as they arrive: the file's bytes go straight to where they are wanted, never all into memory (H8, T16).

The route reads the form itself, after the caller is known, so a stranger's bytes are never stored. It names itself by
`openapi_extra=form_of(...)`; the outermost layer lets multipart bodies through to such routes only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from shared.es.errors import Fault
from shared.http.problems import Problem

MULTIPART = "multipart/form-data"
MOST_PARTS = 20
LONGEST_TEXT = 16 * 1024
SECONDS = 300.0
"""For a whole form to arrive."""

Sink = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Form:
    """`texts`: the other parts by name. `filename` as it was sent."""

    texts: Mapping[str, str]
    filename: str


def form_of(fields: type[BaseModel], file: str) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a form: a file in the part `file`, and `fields` as text."""
    schema = fields.model_json_schema()
    schema["properties"] = {file: {"type": "string", "contentMediaType": "application/octet-stream"}, **schema["properties"]}
    schema["required"] = [file, *schema.get("required", ())]
    return {"requestBody": {"required": True, "content": {MULTIPART: {"schema": schema}}}}


def takes_forms(openapi_extra: Mapping[str, Any] | None) -> bool:
    return MULTIPART in (openapi_extra or {}).get("requestBody", {}).get("content", {})


async def read_form(request: Request, *, file: str, sink: Sink, most: int, names: frozenset[str]) -> Form:
    """Reads the form to its end. `sink` gets the bytes of the part `file`, at most `most` of them, in a thread.

    Raises Problem: unsupported-media-type when it is no form, malformed-request when it cannot be read, too-large,
    request-timeout, and validation-failed for parts that are missing, doubled, unknown or no UTF-8. Whatever `sink` raises
    passes through."""
    reading = _Reading(_parser_of(request), file, names, most)
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                if data := reading.take(chunk):
                    await asyncio.to_thread(sink, data)
    except TimeoutError:
        raise Problem("request-timeout", f"The form did not arrive within {SECONDS:.0f} s.") from None
    except ClientDisconnect:
        raise Problem("request-timeout", "The client went away.") from None
    return reading.form()


def _parser_of(request: Request) -> MultipartParser:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != MULTIPART.encode():
        raise Problem("unsupported-media-type", f"Send the file as {MULTIPART}.")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise _unreadable("the boundary has 1 to 70 characters (RFC 2046)")
    return MultipartParser(boundary, max_header_count=8, max_header_size=4096)


@dataclass(slots=True)
class _Part:
    name: str = ""
    filename: str | None = None
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    headers: dict[str, str] = field(default_factory=dict)
    text: bytearray = field(default_factory=bytearray)


class _Reading:
    """What the parser tells, kept until it is asked for. A fault ends the reading at once."""

    def __init__(self, parser: MultipartParser, file: str, names: frozenset[str], most: int) -> None:
        self._parser, self._file, self._names, self._most = parser, file, names, most
        self._part = _Part()
        self._texts: dict[str, str] = {}
        self._filename: str | None = None
        self._data: list[bytes] = []
        self._size = 0
        self._parts = 0
        self._ended = False
        parser.callbacks = {
            "on_part_begin": self._begun,
            "on_header_field": lambda data, start, end: self._part.header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._part.value.extend(data[start:end]),
            "on_header_end": self._header_read,
            "on_headers_finished": self._headers_read,
            "on_part_data": self._data_read,
            "on_part_end": self._part_read,
            "on_end": self._all_read,
        }

    def take(self, chunk: bytes) -> bytes:
        """Bytes of the file that were in the chunk."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _unreadable(str(error)) from None
        data, self._data = b"".join(self._data), []
        return data

    def form(self) -> Form:
        if not self._ended:
            raise _unreadable("it ends before its last boundary")
        if self._filename is None:
            raise _faulty(self._file, "required", "The form has no such file.")
        return Form(self._texts, self._filename)

    def _begun(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise _unreadable(f"it has more than {MOST_PARTS} parts")
        self._part = _Part()

    def _header_read(self) -> None:
        part = self._part
        part.headers[part.header.decode("latin-1").lower()] = part.value.decode("latin-1")
        part.header, part.value = bytearray(), bytearray()

    def _headers_read(self) -> None:
        part = self._part
        disposition, options = parse_options_header(part.headers.get("content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise _unreadable("a part says no name in its Content-Disposition")
        part.name = _utf8(options[b"name"], "a part's name")
        if part.name != self._file and part.name not in self._names:
            raise _faulty(part.name[:80], "unknown_field", "The form has no such field.")
        if part.name in self._texts or (part.name == self._file and self._filename is not None):
            raise _faulty(part.name, "too_many", "This stands in the form twice.")
        if part.name == self._file:
            if b"filename" not in options:
                raise _faulty(self._file, "wrong_type", "This part must be a file, with a filename.")
            self._filename = _utf8(options[b"filename"], "a file's name")

    def _data_read(self, data: bytes, start: int, end: int) -> None:
        if self._part.name != self._file:
            if len(self._part.text) + end - start > LONGEST_TEXT:
                raise _faulty(self._part.name, "too_long", f"At most {LONGEST_TEXT} bytes.")
            self._part.text.extend(data[start:end])
            return
        self._size += end - start
        if self._size > self._most:
            raise Problem("too-large", f"A file has at most {self._most} bytes.", headers=(("Connection", "close"),))
        self._data.append(data[start:end])

    def _part_read(self) -> None:
        if self._part.name != self._file:
            self._texts[self._part.name] = _utf8(bytes(self._part.text), self._part.name)

    def _all_read(self) -> None:
        self._ended = True


def _utf8(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _unreadable(f"{what} is no UTF-8") from None


def _unreadable(why: str) -> Problem:
    return Problem("malformed-request", f"The form cannot be read: {why.rstrip('.')}.")


def _faulty(name: str, code: str, detail: str) -> Problem:
    return Problem("validation-failed", "One fault was found; `errors` names it.", errors=[Fault(f"#/{name}", code, detail)])
