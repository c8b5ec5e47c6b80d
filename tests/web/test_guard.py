"""Who may ask, and what every response says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from explorer_client import BASE, Explorer

from flowpeer.errors import UsageError
from flowpeer.web.guard import HEADERS, MAX_BODY, MAX_TARGET
from flowpeer.web.settings import ServerSettings, listening

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def plain(explore: Callable[..., Explorer], bare: Path) -> Explorer:
    return explore(config=bare)


@pytest.fixture
def guarded(explore: Callable[..., Explorer], bare: Path) -> Explorer:
    return explore(config=bare, token=TOKEN)


@pytest.mark.parametrize(
    "url",
    ["/", "/nope", "/metro/none", "/static/explorer.css", "/sql?q=x", "/api/openapi.json",
     "/api/nope.json", "/?period=x&period=y"],
)  # fmt: skip
def test_every_response_has_the_headers(plain: Explorer, url: str) -> None:
    response = plain.get(url)
    for name, value in HEADERS.items():
        assert response.headers[name] == value
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_an_internal_error_has_them_too_and_tells_nothing(
    plain: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowpeer.web.http_api.openapi", lambda: 1 / 0)
    response = plain.get("/api/openapi.json")
    assert response.status_code == 500
    assert "division" not in response.text
    assert response.headers["x-frame-options"] == "DENY"


def test_a_foreign_host_name_is_refused(plain: Explorer) -> None:
    for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "", "[::1", "a b"):
        assert plain.get("/", headers={"host": host}).status_code == 421, host
    for host in ("localhost", "127.0.0.1:8080", "[::1]:8080"):
        assert plain.get("/", headers={"host": host}).status_code == 200, host


def test_another_site_is_refused_but_its_link_works(plain: Explorer) -> None:
    cross = {"sec-fetch-site": "cross-site"}
    assert plain.get("/api/openapi.json", headers=cross).status_code == 403
    assert plain.get("/", headers={**cross, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert plain.get("/", headers={**cross, "sec-fetch-mode": "navigate"}).status_code == 200
    for origin in (None, "http://evil.example", "null"):
        headers = {} if origin is None else {"origin": origin}
        posted = plain.ask("POST", "/login", data={"token": "x"}, headers=headers)
        assert posted.status_code == 403, origin


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(plain: Explorer, method: str) -> None:
    assert plain.ask(method, "/").status_code == 405
    assert plain.ask("POST", "/sql", headers={"origin": BASE}).status_code == 405


def test_what_is_too_large_is_refused(plain: Explorer) -> None:
    assert plain.get("/?find=" + "a" * MAX_TARGET).status_code == 414
    posted = plain.ask("POST", "/login", content=b"a" * (MAX_BODY + 1), headers={"origin": BASE})
    assert posted.status_code == 413

    async def pieces() -> AsyncIterator[bytes]:  # a body that announces no length
        for _ in range(40):
            yield b"token=" + b"a" * 4096

    kind = {"origin": BASE, "content-type": "application/x-www-form-urlencoded"}
    assert plain.ask("POST", "/login", content=pieces(), headers=kind).status_code >= 400


def test_paths_lead_nowhere_else(plain: Explorer) -> None:
    for path in (
        "/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/vendor/../../view.py",
        "/static/..\\settings.py", "/static/%00", "/api/..%2f..%2fflowpeer.toml",
    ):  # fmt: skip
        response = plain.get(path)
        assert response.status_code in (400, 404, 405), path
        assert "import" not in response.text


def test_a_token_is_asked_of_everything_but_the_way_in(guarded: Explorer) -> None:
    for url in ("/", "/sql", "/search", "/metro/ams", "/api/openapi.json", "/api/sql.json?q=x"):
        assert guarded.get(url).status_code == 401, url
        wrong = {"authorization": f"Bearer {TOKEN[:-1]}x"}
        assert guarded.get(url, headers=wrong).status_code == 401, url
        for odd in (b"Bearer", b"Basic abc", "Bearer \u00e9".encode()):
            assert guarded.get(url, headers={"authorization": odd}).status_code == 401, url
    assert guarded.get("/", headers={"accept": "text/html"}).headers["location"] == "/login"
    right = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", headers=right).status_code == 200
    assert guarded.get("/static/explorer.css").status_code == 200


def test_the_cookie_of_the_login_is_not_for_scripts(guarded: Explorer) -> None:
    assert guarded.get("/login").status_code == 200
    wrong = guarded.ask("POST", "/login", data={"token": "no"}, headers={"origin": BASE})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    done = guarded.ask("POST", "/login", data={"token": TOKEN}, headers={"origin": BASE})
    assert done.status_code == 303
    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    sent = {"cookie": cookie.partition(";")[0]}
    assert guarded.get("/", headers=sent).status_code == 200


def test_without_a_token_nobody_logs_in(plain: Explorer) -> None:
    posted = plain.ask("POST", "/login", data={"token": ""}, headers={"origin": BASE})
    assert posted.status_code == 401


def test_a_proxy_names_the_reader(explore: Callable[..., Explorer], bare: Path) -> None:
    behind = explore(config=bare, host="0.0.0.0", public=True, user_header="X-Remote-User")
    assert behind.get("/").status_code == 401
    assert behind.get("/", headers={"x-remote-user": " "}).status_code == 401
    assert behind.get("/", headers={"x-remote-user": "ada"}).status_code == 200


def test_other_addresses_need_public_and_a_way_to_know_readers(bare: Path) -> None:
    with pytest.raises(UsageError, match="no loopback"):
        ServerSettings(config=bare, host="0.0.0.0")
    with pytest.raises(UsageError, match="who may read"):
        ServerSettings(config=bare, host="::", public=True)
    with pytest.raises(UsageError, match="shorter"):
        ServerSettings(config=bare, token="short")
    ServerSettings(config=bare, host="::1")
    ServerSettings(config=bare, host="0.0.0.0", public=True, token=TOKEN)


@pytest.mark.parametrize("text", ["8080", ":8080", "a:b", "a:99999", "a:-1", "a:²", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        listening(text)


def test_addresses() -> None:
    assert listening("127.0.0.1:0") == ("127.0.0.1", 0)
    assert listening("[::1]:8080") == ("::1", 8080)
