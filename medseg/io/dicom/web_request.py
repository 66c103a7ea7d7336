"""One HTTP request to a DICOMweb service; every way in which it can fail is a code.

Python's own client is used: it follows no redirect, so that credentials go to the named server alone.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import urljoin, urlsplit

from medseg.errors import Code, MedsegError
from medseg.io.dicom.addresses import WebServer
from medseg.io.dicom.credentials import Credentials

TIMEOUT_S = 60.0
"""Seconds without a byte after which a server counts as unreachable."""

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREDENTIALS = "give --credentials FILE or MEDSEG_DICOMWEB_… variables that the server accepts"
_ASK = "look into the server's log, or ask who runs it"
_REFUSALS = {
    204: ("the server has no file of it", "check the UID of the address"),
    206: ("the server gives a part of the study alone", _ASK),
    401: ("user name, password or token are missing or wrong", _CREDENTIALS),
    403: ("the user has no right to this", _CREDENTIALS),
    404: ("no such study or service", "check the path and the UID of the address"),
    405: ("the server does not do this", "check the path of the address"),
    406: ("the server cannot give DICOM files", _ASK),
    413: ("the file is too large for the server", _ASK),
    415: ("the server does not take DICOM files", _ASK),
}


@contextmanager
def answer(
    server: WebServer,
    path: str,
    headers: Mapping[str, str],
    credentials: Credentials | None,
    where: str,
    *,
    body: Iterable[bytes] | None = None,
    accepted: Collection[int] = (200,),
) -> Iterator[http.client.HTTPResponse]:
    """Give the answer to a GET request, or to a POST request with a ``body``, while the block reads it.

    Raises SERVER_UNREACHABLE (no connection, TLS, silence), SERVER_REFUSED (an HTTP status that is not
    ``accepted``, a redirect to another server) and ANSWER_INVALID (an answer that breaks off). No message
    names the server: ``where`` stands for it.
    """
    sent = {**headers, **({"Authorization": credentials.authorization} if credentials else {})}
    connection = _connection(server)
    try:
        _connect(connection, where)
        with _coded(where), _ask(connection, server, path, sent, body) as response:
            _require(response, accepted, where)
            yield response
    finally:
        connection.close()


def _connection(server: WebServer) -> http.client.HTTPConnection:
    if server.tls:
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(server.host, server.port, timeout=TIMEOUT_S, context=context)
    return http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT_S)


def _connect(connection: http.client.HTTPConnection, where: str) -> None:
    try:
        connection.connect()
    except ssl.SSLCertVerificationError:
        how_to_fix = "set SSL_CERT_FILE to the certificate of the authority that signed it"
        raise _unreachable(where, "its certificate is not trusted", how_to_fix) from None
    except ssl.SSLError:
        raise _unreachable(where, "TLS cannot be agreed on", "check scheme and port") from None
    except TimeoutError:
        raise _silent(where) from None
    except socket.gaierror:
        raise _unreachable(where, "its name is not known", "check the host's name") from None
    except ConnectionRefusedError:
        raise _unreachable(where, "the connection is refused", "check host and port, start it") from None
    except (OSError, UnicodeError) as error:  # no route, network down; a name that cannot be looked up
        details = getattr(error, "strerror", None) or "no connection"
        raise _unreachable(where, details, "check host and network") from None


def _ask(
    connection: http.client.HTTPConnection,
    server: WebServer,
    path: str,
    headers: dict[str, str],
    body: Iterable[bytes] | None,
) -> http.client.HTTPResponse:
    """Send the request; follow redirects that stay on the server, except of a POST request."""
    if body is not None:
        with suppress(BrokenPipeError, ConnectionResetError):  # a server may refuse before it has read all
            connection.request("POST", path, body=body, headers=headers)
        return connection.getresponse()
    left = _MOST_REDIRECTS
    while True:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        onward = _same_server(response, server, path) if response.status in _REDIRECTS else None
        if onward is None or not left:
            return response
        response.close()
        connection.close()
        path, left = onward, left - 1


def _same_server(response: http.client.HTTPResponse, server: WebServer, path: str) -> str | None:
    """The path that a redirect leads to, if scheme, host and port stay the same."""
    origin = server.address.removesuffix(server.root)
    try:
        target = urlsplit(urljoin(origin + path, response.getheader("Location", "")))
        port = target.port or {"http": 80, "https": 443}.get(target.scheme)
    except ValueError:
        return None
    same = (target.scheme == "https", target.hostname, port) == (server.tls, server.host, server.port)
    if not same or "@" in target.netloc or target.scheme not in ("http", "https"):
        return None
    return target.path + (f"?{target.query}" if target.query else "")


def _require(response: http.client.HTTPResponse, accepted: Collection[int], where: str) -> None:
    status = response.status
    if status in accepted:
        if response.getheader("Content-Encoding", "identity") != "identity":
            details = "the answer is compressed, which was not asked for"
            raise MedsegError(Code.ANSWER_INVALID, where, details, _ASK)
        return
    if status in _REDIRECTS:
        details = f"HTTP {status}: it redirects to another address, where no request is sent"
        raise MedsegError(Code.SERVER_REFUSED, where, details, "name the address that it redirects to")
    details, how_to_fix = _REFUSALS.get(status, ("the server reports an error", _ASK))
    raise MedsegError(Code.SERVER_REFUSED, where, f"HTTP {status}: {details}", how_to_fix)


@contextmanager
def _coded(where: str) -> Iterator[None]:
    """Give a code to what a connection raises while a request is sent and its answer read."""
    try:
        yield
    except TimeoutError:
        raise _silent(where) from None
    except (ConnectionError, ssl.SSLError, http.client.HTTPException):
        details, how_to_fix = "the answer breaks off or is no HTTP", "check scheme and port, and try again"
        raise MedsegError(Code.ANSWER_INVALID, where, details, how_to_fix) from None


def _silent(where: str) -> MedsegError:
    details = f"no answer within {TIMEOUT_S:g} s"
    return _unreachable(where, details, "check that the server runs, and try again")


def _unreachable(where: str, details: str, how_to_fix: str) -> MedsegError:
    return MedsegError(Code.SERVER_UNREACHABLE, where, details, how_to_fix)
