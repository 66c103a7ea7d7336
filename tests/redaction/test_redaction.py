"""Addresses without secrets: by hand, and no secret left whatever surrounds it."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.console import Reporter
from medseg.redaction import has_credentials, redact_text, redacted


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://anna:S3cret@host:5000/a", "http://host:5000/a"),
        ("https://token@host", "https://host"),
        ("http://a:p@ss@host/x", "http://host/x"),
        ("HTTP://anna:S3cret@[::1]:5000", "http://[::1]:5000"),
        ("postgresql+psycopg://u:p@host/db", "postgresql+psycopg://host/db"),
        ("https://host/a?x=1&token=abc&y=", "https://host/a?x=1&token=***&y="),
        ("https://host/a?X-Amz-Signature=abc", "https://host/a?X-Amz-Signature=***"),
        ("http://[::1", "http://***"),
        ("http://anna:S3/cret@host:5000/a", "http://host:5000/a"),
        ("http://anna:S3?cret@host", "http://host"),
        ("http://anna:S3#cret@host", "http://host"),
        ("anna:S3cret@host:5000", "host:5000"),
        ("http:/anna:S3cret@host", "http:/host"),
        ("http://host/a;password=S3cret;x=1", "http://host/a;password=***;x=1"),
        ("http://host/a#access_token=S3cret", "http://host/a#access_token=***"),
        ("mysql://host/db?pw=S3cret&p%61ssword=S3cret", "mysql://host/db?pw=***&p%61ssword=***"),
        ("http://host:5000/a@b", None),
        ("http://[::1]:5000/a@b", None),
        ("sqlite:////tmp/a:b@c/mlflow.db", None),
        ("http://host:5000", None),
        ("sqlite:////tmp/mlflow.db", None),
        ("file:///a/b?c", None),
        ("/a/folder", None),
        ("C:\\work", None),
        ("anna@host", None),
        ("", None),
    ],
)
def test_by_hand(address: str, shown: str | None) -> None:
    assert redacted(address) == (shown or address)
    assert has_credentials(address) is (shown is not None)
    assert redacted(redacted(address)) == redacted(address)


def test_a_password_behind_a_second_scheme_is_seen() -> None:
    assert has_credentials("jdbc:postgresql://anna:S3cret@host/db")


def test_within_a_text() -> None:
    text = "cannot reach 'http://anna:S3cret@host:5000/x', nor \"https://b:S3cret@h\"; (mysql://c:S3cret@d)"
    assert redact_text(text) == "cannot reach 'http://host:5000/x', nor \"https://h\"; (mysql://d)"
    assert redact_text("no address: a@b.org, 3:4, x://") == "no address: a@b.org, 3:4, x://"


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="/?#[]@\\ '\"<>`|\t\n\r\f\v", categories=["L", "N", "P"]),
    min_size=1,
)


@given(
    st.sampled_from(["http", "https", "ftp", "mysql+pymysql"]),
    WORDS,
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_no_password_is_left(scheme: str, user: str, before: str, after: str) -> None:
    text = redact_text(f"{before} {scheme}://{user}:S3cret@host:80/path {after}")
    assert "S3cret" not in text
    assert "host:80/path" in text


def test_neither_screen_nor_log_holds_a_password(tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("log") / "medseg.log"
    screen, results = io.StringIO(), io.StringIO()
    reporter = Reporter(verbose=True, stream=screen, results=results, log=log)
    for say in (reporter.line, reporter.result, reporter.detail, reporter.to_log):
        say("http://anna:S3cret@host")
    everything = screen.getvalue() + results.getvalue() + log.read_text(encoding="utf-8")
    assert "S3cret" not in everything
    assert everything.count("http://host") == 7
