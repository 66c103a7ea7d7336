"""C-STORE: DICOM files sent to an application entity over one association."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from medseg.errors import Code, MedsegError
from medseg.io.dicom.addresses import Node
from medseg.io.dicom.outgoing import Ending, Instance, ending_of

TIMEOUT_S = 60.0
"""Seconds without an answer after which a server counts as unreachable."""

Send = Callable[[Instance], Ending]


@contextmanager
def association(node: Node, calling: str, instances: Sequence[Instance], where: str) -> Iterator[Send]:
    """Give a function that sends one of ``instances``, while the association lasts.

    ``calling`` is the title of this side. Raises EXTRA_MISSING, SERVER_UNREACHABLE and SERVER_REFUSED; the
    function raises NOT_STORED and SERVER_UNREACHABLE.
    """
    if importlib.util.find_spec("pynetdicom") is None:
        details = "C-STORE needs pynetdicom"
        raise MedsegError(Code.EXTRA_MISSING, "medseg", details, "pip install 'medseg[dicom]'")
    from pynetdicom import AE

    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
    entity.connection_timeout = TIMEOUT_S
    for sop_class, syntax in dict.fromkeys((i.sop_class_uid, i.transfer_syntax_uid) for i in instances):
        entity.add_requested_context(sop_class, syntax)
    for address in _addresses(node, where):
        link = entity.associate(address, node.port, ae_title=node.title)
        if link.is_established or link.is_rejected:
            break
    if not link.is_established:
        raise _no_association(link, where)
    try:
        yield lambda instance: _send(link, instance, where)
    finally:
        if link.is_established:
            link.release()


def _addresses(node: Node, where: str) -> list[str]:
    """The host's addresses, of which the server may listen at one alone."""
    try:
        known = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        details, how_to_fix = "its name is not known", "check the host's name"
        raise MedsegError(Code.SERVER_UNREACHABLE, where, details, how_to_fix) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in known))


def _no_association(link: Any, where: str) -> MedsegError:
    if link.is_rejected:
        details = "the server rejects the association"
        how_to_fix = "check both titles: AET of the address, and --calling-aet, which the server must know"
        return MedsegError(Code.SERVER_REFUSED, where, details, how_to_fix)
    if link.rejected_contexts:
        details = "the server takes no such kinds of object"
        return MedsegError(Code.SERVER_REFUSED, where, details, "ask who runs the server")
    details, how_to_fix = "no DICOM server answers there", "check host and port, start the server"
    return MedsegError(Code.SERVER_UNREACHABLE, where, details, how_to_fix)


def _send(link: Any, instance: Instance, where: str) -> Ending:
    if not link.is_established:
        raise _broken(where)
    try:
        status = link.send_c_store(instance.path)
    except ValueError:  # no context was accepted for this kind of object
        details = "the server does not take this kind of object or its transfer syntax"
        raise MedsegError(Code.NOT_STORED, instance.path.name, details, "ask who runs the server") from None
    except RuntimeError:
        raise _broken(where) from None
    if "Status" not in status:
        raise _broken(where)
    return ending_of(int(status.Status), instance.path.name)


def _broken(where: str) -> MedsegError:
    details = f"the connection broke off, or no answer within {TIMEOUT_S:g} s"
    return MedsegError(Code.SERVER_UNREACHABLE, where, details, "run the command again")
