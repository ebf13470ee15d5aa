"""The web base without a server."""

import pytest
from jinja2 import UndefinedError

from agent_image.runner.chat.markdown import to_html
from appliance.core.settings import load
from appliance.web.protection import cookie_name
from appliance.web.rendering import environment, milliseconds, static_url
from appliance.web.tokens import digest_of, form_token, new_token


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "[click](javascript:alert(1))",
        "![x](http://tracker.example/x.png)",
        "<iframe src=//evil.example></iframe>",
        "[x](data:text/html;base64,AAAA)",
    ],
)
def test_nothing_in_model_text_can_run_or_load(text: str) -> None:
    html = to_html(f"before {text} after")
    for danger in ("<script", "<img", "<iframe", 'href="javascript', 'href="data'):
        assert danger not in html


def test_markdown_people_use_is_shown() -> None:
    html = to_html("**b** `c`\n\n```py\nx = 1\n```\n\n| a |\n|---|\n| 1 |\n\n[l](https://example.org)")
    for piece in ("<strong>b</strong>", "<code>c</code>", "<pre>", "<td>1</td>", 'href="https://example.org"'):
        assert piece in html


def test_a_form_token_belongs_to_one_login_and_one_secret() -> None:
    assert form_token("s", "login") == form_token("s", "login")
    assert len({form_token("s", "a"), form_token("s", "b"), form_token("t", "a")}) == 3


def test_tokens_are_long_and_only_their_digest_is_kept() -> None:
    token = new_token()
    assert len(token) >= 43
    assert token.encode() not in digest_of(token)


def test_appliances_on_one_host_have_cookies_of_their_own() -> None:
    names = {cookie_name(load(public_url=f"http://127.0.0.1:{port}")) for port in (8080, 8090)}
    assert names == {"nexus_8080", "nexus_8090"}


@pytest.mark.parametrize(("value", "said"), [(0, "0 ms"), (180, "180 ms"), (999, "999 ms"), (2400, "2.4 s")])
def test_durations_are_written_as_people_read_them(value: float, said: str) -> None:
    assert milliseconds(value) == said


def test_a_template_that_names_nothing_is_an_error_not_a_blank() -> None:
    with pytest.raises(UndefinedError):
        environment([]).from_string("{{ missing }}").render()


def test_a_static_file_that_is_not_there_is_noticed_when_the_page_is_made() -> None:
    assert static_url("app.css").endswith("/app.css")
    with pytest.raises(FileNotFoundError):
        static_url("missing.css")
