"""TLS records that no library would send: sealed here, by the keys that Python's TLS tells when its
handshake is done. What comes in goes to Python's TLS, or is counted by record."""

import hmac
import socket
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HANDSHAKE, APPLICATION_DATA = 22, 23
KEY_UPDATE_REQUESTED = bytes([24, 0, 0, 1, 1])  # RFC 8446 section 4.6.3
CLIENT_HELLO = bytes([1, 0, 0, 41]) + b"\x03\x03" + bytes(32) + b"\x00\x00\x02\xc0\x2b\x01\x00"


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _prf(secret: bytes, seed: bytes, n: int) -> bytes:
    """RFC 5246 section 5"""
    out, a = b"", seed
    while len(out) < n:
        a = _hmac(secret, a)
        out += _hmac(secret, a + seed)
    return out[:n]


def _expand(secret: bytes, label: bytes, n: int) -> bytes:
    """RFC 8446 section 7.1, without a context and for 32 bytes at most"""
    label = b"tls13 " + label
    info = n.to_bytes(2) + bytes([len(label)]) + label + b"\x00"
    return _hmac(secret, info + b"\x01")[:n]


class Records:
    """A TLS connection by AES-128-GCM, after its handshake.

    @param sock     connected to the host
    @param context  a client's; set to the version and a cipher
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, version: ssl.TLSVersion):
        self.version = version
        self.socket = sock
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "keys"
            context.minimum_version = context.maximum_version = version
            context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")  # 1.3: the host's choice, likewise
            context.keylog_filename = str(log)
            heard = self._shake_hands(context)
            lines = (line.split() for line in log.read_text().splitlines() if line[0] != "#")
            secrets = {name: (bytes.fromhex(r), bytes.fromhex(s)) for name, r, s in lines}
        self.sequence = 0
        if version == ssl.TLSVersion.TLSv1_3:
            _, self.secret = secrets["CLIENT_TRAFFIC_SECRET_0"]
            self._take_secret()
        else:
            random, master = secrets["CLIENT_RANDOM"]
            # Behind a record's header, a message's, and the version: the host's random.
            keys = _prf(master, b"key expansion" + heard[11:43] + random, 40)
            self.key, self.iv = AESGCM(keys[:16]), keys[32:36]
            self.sequence = 1  # Finished was 0

    def _shake_hands(self, context: ssl.SSLContext) -> bytes:
        """@return what the host has said in it"""
        self.incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, outgoing, server_hostname="localhost")
        heard = b""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(outgoing.read())
                data = self.socket.recv(65536)
                heard += data
                self.incoming.write(data)
        self.socket.sendall(outgoing.read())
        return heard

    def _take_secret(self) -> None:
        self.key = AESGCM(_expand(self.secret, b"key", 16))
        self.iv = _expand(self.secret, b"iv", 12)
        self.sequence = 0

    def seal(self, payload: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """One record."""
        number = self.sequence.to_bytes(8)
        self.sequence += 1
        if self.version == ssl.TLSVersion.TLSv1_3:
            head = bytes([APPLICATION_DATA, 3, 3]) + (len(payload) + 17).to_bytes(2)
            nonce = (int.from_bytes(number) ^ int.from_bytes(self.iv)).to_bytes(12)
            return head + self.key.encrypt(nonce, payload + bytes([kind]), head)
        head = bytes([kind, 3, 3])
        sealed = self.key.encrypt(
            self.iv + number, payload, number + head + len(payload).to_bytes(2)
        )
        return head + (len(sealed) + 8).to_bytes(2) + number + sealed

    def key_update(self) -> bytes:
        """Asks the host for one too."""
        record = self.seal(KEY_UPDATE_REQUESTED, HANDSHAKE)
        self.secret = _expand(self.secret, b"traffic upd", 32)
        self._take_secret()
        return record

    def hear(self) -> bytes:
        """What comes next of the host's data; b"" at its end."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                data = self.socket.recv(65536)
            except ssl.SSLError:
                return b""
            if data:
                self.incoming.write(data)
            else:
                self.incoming.write_eof()
