from __future__ import annotations

import pytest

from services.notifications.domain.url import Target, must_be_public_address, target_of
from shared.es.errors import Rejected

HERE = frozenset({"127.0.0.1:8080"})


def test_a_public_https_address() -> None:
    assert target_of("https://hooks.example.org/in?x=1") == Target("https", "hooks.example.org", 443, "/in?x=1")
    assert target_of("https://hooks.example.org:8443") == Target("https", "hooks.example.org", 8443, "/")
    assert target_of("https://93.184.216.34/") == Target("https", "93.184.216.34", 443, "/")


def test_what_this_deployment_allows_by_name_is_allowed() -> None:
    assert target_of("http://127.0.0.1:8080/hook", HERE) == Target("http", "127.0.0.1", 8080, "/hook")
    with pytest.raises(Rejected):
        target_of("http://127.0.0.1:8081/hook", HERE)


BAD = [
    "http://hooks.example.org/", "https://hooks.example.org:22/", "ftp://hooks.example.org/", "//hooks.example.org/", "hooks.example.org",
    "https:///path", "https://", "", "javascript:alert(1)", "file:///etc/passwd", "https://user:secret@hooks.example.org/",
    "https://hooks.example.org/#fragment", "https://hooks.example.org/a b", "https://hooks.example.org/\n", "https://hööks.example.org/",
    "https://hooks.example.org:99999/", "https://localhost/", "https://a.localhost/", "https://printer.local/", "https://db.internal/",
    "https://127.0.0.1/", "https://10.0.0.1/", "https://192.168.1.1/", "https://169.254.169.254/", "https://[::1]/", "https://[fe80::1]/",
    "https://[64:ff9b::a9fe:a9fe]/", "https://" + "a" * 2000 + ".example.org/",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(Rejected) as refused:
        target_of(url)
    assert (refused.value.code, refused.value.status) == ("url_not_allowed", 422)


INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:a9fe:a9fe::", "2002:7f00:1::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_found_however_it_is_wrapped(address: str) -> None:
    with pytest.raises(Rejected):
        must_be_public_address(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_a_public_address(address: str) -> None:
    must_be_public_address(address)
