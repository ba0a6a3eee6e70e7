"""CORS_ORIGINS: every origin that browsers send is accepted. One that can never match is refused in a sentence."""

import pytest

from groundwork.serve.settings import Settings

URL = "postgresql://localhost/none"
FORM = "scheme://host or scheme://host:port"


@pytest.mark.parametrize(
    "origin",
    ["https://app.example.com", "http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:3000",
     "https://xn--bcher-kva.example", "https://a_b.example", "http://app.example.com:443", "https://app.example.com:80",
     "capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://-", "app://.", "app://obsidian.md",
     "chrome-extension://abcdefghijklmnop", "com.example.app://localhost", "*"],
)  # fmt: skip
def test_an_origin_that_browsers_send_can_be_named(origin: str) -> None:
    assert Settings.model_validate({"database_url": URL, "cors_origins": origin}).cors_origins == (origin,)


@pytest.mark.parametrize(
    ("origin", "sentence"),
    [
        ("https://hunter2.example/", "without a / at its end"),
        ("https://hunter2.example/app", "without a path"),
        ("https://hunter2.example?a", "without a path"),
        ("https://hunter2.example#a", "without a path"),
        ("capacitor://localhost/", "without a / at its end"),
        ("https://Hunter2.example", "lower case"),
        ("HTTPS://hunter2.example", "lower case"),
        ("https://hunter2.example:443", ":443 after https"),
        ("http://hunter2.example:80", ":80 after http"),
        ("https://a.example https://b.example", "separate them with commas"),
        ("https://a.example\nhttps://b.example", "separate them with commas"),
        ("https:// hunter2.example", "white space"),
        ("null", "null and file:"),
        ("file://", "null and file:"),
        ("hunter2.example", "no scheme"),
        ("localhost:3000", "no scheme"),
        ("//hunter2.example", "no scheme"),
        ("https:hunter2.example", "no scheme"),
        ("https://*.example.com", "name each one"),
        ("https://hunter2.example:*", "name each one"),
        ("*://hunter2.example", FORM),
        ("https://user:pass@hunter2.example", "before the @"),
        ("https://bücher.example", "as browsers send it"),
        ("https://", FORM),
        ("://hunter2.example", FORM),
        ("https://hunter2.example:", FORM),
        ("https://hunter2.example:0", FORM),
        ("https://hunter2.example:65536", FORM),
        ("https://hunter2.example:08080", FORM),
        ("https://hunter2.example:" + "9" * 5000, FORM),
        ("http://[0:0:0:0:0:0:0:1]", FORM),
        ("http://[::g]", FORM),
        ("https://a%62.example", FORM),
    ],
)
def test_one_that_can_never_match_is_refused_in_a_sentence(origin: str, sentence: str) -> None:
    for text in (origin, f"https://good.example,{origin}"):
        with pytest.raises(ValueError, match="must be origins such as") as refused:
            Settings.model_validate({"database_url": URL, "cors_origins": text})
        assert sentence in str(refused.value)
        assert "hunter2" not in str(refused.value)


def test_all_origins_are_named_alone() -> None:
    with pytest.raises(ValueError, match=r"must be \* alone"):
        Settings.model_validate({"database_url": URL, "cors_origins": "https://a.example,*"})
