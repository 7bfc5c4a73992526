"""A server that talks to PostgreSQL's clients as far as the password, and refuses it."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

ENCRYPTION = (80877103, 80877104)
"""Codes by which a client asks for TLS, and for encryption by GSSAPI."""


@dataclass
class AskingPostgres:
    """What clients sent to the server.

    Attributes:
        port: Port of the server on this machine.
        passwords: Passwords of clients, in order.
        asked_tls: Number of clients that asked for TLS, which the server has not.
    """

    port: int
    passwords: list[str] = field(default_factory=list)
    asked_tls: int = 0


@contextmanager
def asking_postgres() -> Iterator[AskingPostgres]:
    """Runs the server while the context lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = AskingPostgres(listening.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client, suppress(OSError, struct.error):
                    _talk(client, found)

        threading.Thread(target=serve, daemon=True).start()
        yield found
        listening.shutdown(socket.SHUT_RDWR)


def _talk(client: socket.socket, found: AskingPostgres) -> None:
    while True:
        size, code = struct.unpack("!II", _read(client, 8))
        if code not in ENCRYPTION:
            break
        found.asked_tls += code == ENCRYPTION[0]
        client.sendall(b"N")
    _read(client, size - 8)
    client.sendall(struct.pack("!cII", b"R", 8, 3))
    _, size = struct.unpack("!cI", _read(client, 5))
    found.passwords.append(_read(client, size - 4).rstrip(b"\0").decode())
    fields = b"SFATAL\0C28P01\0Mthe password is wrong\0\0"
    client.sendall(struct.pack("!cI", b"E", 4 + len(fields)) + fields)


def _read(client: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = client.recv(size - len(content))
        if not part:
            raise OSError("the client is gone")
        content += part
    return content
