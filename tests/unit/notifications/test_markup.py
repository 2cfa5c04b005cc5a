from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from services.notifications.domain.markup import html_of


def body(text: str) -> str:
    return html_of(text).partition("\n<html")[2].partition(">\n")[2].partition("\n</body>")[0]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Hello", "<p>Hello</p>"),
        ("Hello\nPetra", "<p>Hello<br>\nPetra</p>"),
        ("One\n\nTwo", "<p>One</p>\n<p>Two</p>"),
        ("Tools:\n- hammer\n- nail", "<p>Tools:</p>\n<ul><li>hammer</li><li>nail</li></ul>"),
        ("**now** or *later*", "<p><strong>now</strong> or <em>later</em></p>"),
        ("[Pay](https://pay.test/a?b=1&c=2)", '<p><a href="https://pay.test/a?b=1&amp;c=2">Pay</a></p>'),
        ("See https://pay.test/abc.", '<p>See <a href="https://pay.test/abc">https://pay.test/abc</a>.</p>'),
        ("2 * 3 * 4 < 5 & 6", "<p>2 <em> 3 </em> 4 &lt; 5 &amp; 6</p>"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("[click](javascript:alert(1))", "<p>[click](javascript:alert(1))</p>"),
        ('[x](https://a.test/"onclick=1)', '<p>[x](<a href="https://a.test/">https://a.test/</a>&quot;onclick=1)</p>'),
        ("", ""),
    ],
)
def test_simple_markdown(text: str, html: str) -> None:
    assert body(text) == html


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@for_all(st.text(alphabet=st.sampled_from("abc <>&\"'*[]()-\n:/.htps")))
def test_whatever_the_text_only_our_own_tags_come_out(text: str) -> None:
    tags = Tags()
    tags.feed(body(text))
    allowed = {"p", "br", "ul", "li", "strong", "em", "a"}
    assert {tag for tag, _ in tags.seen} <= allowed
    for tag, attributes in tags.seen:
        assert [name for name, _ in attributes] == (["href"] if tag == "a" else [])
        assert all(str(value).startswith(("http://", "https://", "mailto:")) for _, value in attributes)


def test_a_long_line_is_no_feast_for_the_pattern() -> None:
    assert "<p>" in html_of("*" * 50_000 + "[" * 50_000)
