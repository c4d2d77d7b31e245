"""A peer that speaks TLS, down at the records: what it seals goes out when the test says so."""

import ssl
from contextlib import suppress

from wire import Client

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class TlsClient(Client):
    """A TLS connection, the handshake done unless the test does it.

    @param byte_by_byte  the handshake's bytes go one at a time
    """

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        name: str = "localhost",
        *,
        handshake=True,
        byte_by_byte=False,
        session: ssl.SSLSession | None = None,
        **options,
    ):
        super().__init__(port, **options)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=name, session=session
        )
        self.goodbye = False  # the host's close_notify was read
        if handshake:
            self.shake_hands(self.trickle if byte_by_byte else self.socket.sendall)

    def shake_hands(self, send=None, *, hold=False) -> None:
        """@param hold  our last flight goes with what is sealed next"""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush(send)
                self._receive()
            except ssl.SSLError:
                self._flush(send)  # the alert that says why
                raise
        if not hold:
            self._flush(send)

    def _flush(self, send=None) -> None:
        if data := self.outgoing.read():
            (send or self.socket.sendall)(data)

    def _receive(self) -> None:
        """Brings TLS some bytes, or the end."""
        data = self.socket.recv(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def seal(self, *data: bytes) -> bytes:
        """As records, at least one for each."""
        for each in data:
            if each:
                self.tls.write(each)
        return self.outgoing.read()

    def seal_goodbye(self) -> bytes:
        """Our close_notify."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def send(self, *data: bytes) -> None:
        self.socket.sendall(self.seal(b"".join(data)))

    def more(self) -> bool:
        while True:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                self._flush()  # an answer to a key update
                self._receive()
                continue
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                self.goodbye = isinstance(error, ssl.SSLZeroReturnError)
                return False
            self.goodbye = data == b""
            self.buffer += data
            return data != b""


def say(client: Client, text: str) -> None:
    client.text(text)
    assert client.hear_text() == text
