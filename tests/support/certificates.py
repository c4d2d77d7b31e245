"""Certificates for tests: signed by an authority that lives as long as the test does."""

import datetime
import ipaddress
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
NOTHING = serialization.NoEncryption()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(text: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(text))
    return x509.DNSName(text)


def _pem(key, passphrase: bytes = b"") -> bytes:
    sealed = serialization.BestAvailableEncryption(passphrase) if passphrase else NOTHING
    pkcs8 = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, sealed)


@dataclass
class Pair:
    """The paths of a certificate and its key."""

    cert: Path
    key: Path

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))


class Authority:
    """Signs certificates, which it writes into a folder. `context` is a client's that trusts it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("perigee's tests")
        basic = x509.BasicConstraints(ca=True, path_length=0)
        self.serial = x509.random_serial_number() >> 8  # room to count
        self.cert = self._sign(self.name, self.key.public_key(), DAY, [(basic, True)])
        self.path = folder / "authority.pem"
        self.path.write_bytes(self.cert.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject, public_key, lasts: datetime.timedelta, extensions):
        now = datetime.datetime.now(datetime.UTC)
        begins = now - DAY if lasts > datetime.timedelta() else now + 2 * lasts
        self.serial += 1
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(self.serial)
            .not_valid_before(begins)
            .not_valid_after(now + lasts)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(
        self,
        *names: str,
        file: str = "",
        lasts: datetime.timedelta = 30 * DAY,
        passphrase: bytes = b"",
        rsa_bits: int = 0,
    ) -> Pair:
        """A certificate for these names or addresses, with a key of its own.

        @param file   what the two files are called, where it is not the first name
        @param lasts  negative: it expired that long ago
        """
        key = (
            rsa.generate_private_key(65537, rsa_bits)
            if rsa_bits
            else ec.generate_private_key(ec.SECP256R1())
        )
        wanted = x509.SubjectAlternativeName([_alternative(name) for name in names])
        cert = self._sign(_name(names[0]), key.public_key(), lasts, [(wanted, False)])
        at = self.folder / (file or names[0].replace("*", "any"))
        pair = Pair(at.with_name(at.name + ".pem"), at.with_name(at.name + ".key"))
        pair.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(_pem(key, passphrase))
        return pair

    def context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.path))
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # a missing close_notify is to be seen
        if version:
            context.minimum_version = context.maximum_version = version
        return context
