"""Authorities and certificates, made for a test."""

import datetime as dt
import ipaddress
from pathlib import Path

import pytest

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority in a folder; `file` is its own certificate."""

    def __init__(self, folder: Path, name: str = "authority"):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.crt"
        own = self._build(self._name, self._key, -DAY, 30 * DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file.write_bytes(self._sign(own))

    def issue(
        self, name: str, hosts: tuple[str, ...] = ("127.0.0.1",), begins=-DAY, ends=30 * DAY
    ) -> tuple[Path, Path]:
        """A certificate and its key; `begins` and `ends` are counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
            for host in hosts
        ]
        built = self._build(subject, key, begins, ends).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        certificate, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        certificate.write_bytes(self._sign(built))
        return certificate, key_file

    def _build(self, subject, key, begins, ends):
        now = dt.datetime.now(dt.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
        )

    def _sign(self, builder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
