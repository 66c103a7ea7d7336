"""Addresses of DICOM servers, as the command line takes them; none may hold a user name or a password.

    dicomweb://host[:port]/dicom-web/studies/UID[/series/UID]   a study or series to fetch; dicomwebs: for TLS
    http[s]://host[:port]/dicom-web                             a DICOMweb service to send to
    dicom://AET@host:port                                       an application entity to send to by C-STORE

No message repeats an address: it may hold a password, and the UID of a study is an identity.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from medseg.errors import Code, MedsegError

_TLS = {"http": False, "https": True, "dicomweb": False, "dicomwebs": True}
_STUDY = re.compile(
    r"(?P<root>(?:/[^/]+)*)/studies/(?P<study>[0-9.]{1,64})(?:/series/(?P<series>[0-9.]{1,64}))?"
)
_PATH = re.compile(r"(/[A-Za-z0-9._~%+@:-]+)*")
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_TITLE = re.compile(r"[!-\[\]-~]{1,16}")
"""Application entity titles: printable ASCII without spaces and backslashes."""

_STUDY_FORM = "write dicomweb://host[:port]/dicom-web/studies/UID[/series/UID]; dicomwebs:// for TLS"
_TARGET_FORM = "write https://host[:port]/dicom-web, or dicom://AET@host:port for C-STORE"
_NO_SECRET = "give user name and password or a token by --credentials FILE or MEDSEG_DICOMWEB_… variables"


@dataclass(frozen=True)
class WebServer:
    """A DICOMweb service: its host and port, and the path before `/studies`."""

    host: str
    port: int
    tls: bool
    root: str

    @property
    def address(self) -> str:
        """The address in full."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.root}"

    @property
    def is_exposed(self) -> bool:
        """True if data would cross a network unencrypted."""
        return not self.tls and not _is_loopback(self.host)


@dataclass(frozen=True)
class Study:
    """A study, or one series of it, that a DICOMweb service holds."""

    server: WebServer
    study_uid: str
    series_uid: str = ""

    @property
    def path(self) -> str:
        """The path of the WADO-RS request."""
        series = f"/series/{self.series_uid}" if self.series_uid else ""
        return f"{self.server.root}/studies/{self.study_uid}{series}"


@dataclass(frozen=True)
class Node:
    """An application entity that takes C-STORE requests: its title, host and port."""

    title: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """The address in full."""
        return f"dicom://{self.title}@{self.host}:{self.port}"

    @property
    def is_exposed(self) -> bool:
        """True if data would cross a network: C-STORE is not encrypted."""
        return not _is_loopback(self.host)


def parse_study(text: str, where: str) -> Study:
    """Take the address of a study or series apart; raises USAGE without repeating it."""
    parts = _split(text, where, _STUDY_FORM)
    match = _STUDY.fullmatch(parts.path.rstrip("/"))
    if parts.scheme not in ("dicomweb", "dicomwebs") or match is None:
        raise MedsegError(Code.USAGE, where, "it is no address of a study", _STUDY_FORM)
    _refuse_user(parts, where)
    return Study(_web_server(parts, match["root"], where, _STUDY_FORM), match["study"], match["series"] or "")


def parse_target(text: str, where: str) -> WebServer | Node:
    """Take the address of a server that results are sent to apart; raises USAGE without repeating it."""
    parts = _split(text, where, _TARGET_FORM)
    if parts.scheme == "dicom":
        return _node(parts, where)
    if parts.scheme not in _TLS:
        raise MedsegError(Code.USAGE, where, "it is no address of a DICOM server", _TARGET_FORM)
    _refuse_user(parts, where)
    root = parts.path.rstrip("/").removesuffix("/studies")
    return _web_server(parts, root, where, _TARGET_FORM)


def check_title(title: str, where: str) -> str:
    """Give an application entity title back; raises USAGE if it cannot be one."""
    if not _TITLE.fullmatch(title):
        details = "an application entity title has 1 to 16 characters, no space and no backslash"
        raise MedsegError(Code.USAGE, where, details, "give the title that the server knows")
    return title


def _split(text: str, where: str, form: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        broken = parts.port == 0 or not parts.hostname or not _HOST.fullmatch(parts.hostname)
    except ValueError:
        broken = True
    if "@" in text.partition("://")[2] and (broken or not text.startswith("dicom://")):
        raise MedsegError(Code.USAGE, where, "the address holds a user name or password", _NO_SECRET)
    if broken or parts.query or parts.fragment or not text.isprintable():
        raise MedsegError(Code.USAGE, where, "the address has no host, a bad port, or a query", form)
    return parts


def _refuse_user(parts: SplitResult, where: str) -> None:
    if "@" in parts.netloc:
        raise MedsegError(Code.USAGE, where, "the address holds a user name or password", _NO_SECRET)


def _web_server(parts: SplitResult, root: str, where: str, form: str) -> WebServer:
    if not _PATH.fullmatch(root):
        raise MedsegError(Code.USAGE, where, "the address's path has characters that no path has", form)
    tls = _TLS[parts.scheme]
    return WebServer(parts.hostname or "", parts.port or (443 if tls else 80), tls, root)


def _node(parts: SplitResult, where: str) -> Node:
    title, sign, _ = parts.netloc.rpartition("@")
    if ":" in title:
        details = "the address holds a password, and C-STORE knows none"
        raise MedsegError(Code.USAGE, where, details, _TARGET_FORM)
    if not sign or parts.port is None or parts.path not in ("", "/"):
        raise MedsegError(Code.USAGE, where, "the address has no title or port", _TARGET_FORM)
    return Node(check_title(title, where), parts.hostname or "", parts.port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
