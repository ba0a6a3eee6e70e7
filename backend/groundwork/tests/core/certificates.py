"""Makes certificates for the tests' servers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NOW = datetime.now(UTC)


class Authority:
    """A certificate authority. Its folder has `root.crt` and the files that `issue` and `revoke` write."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.root = folder / f"{name}.crt"
        self.root.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str, *, password: bytes = b"") -> tuple[Path, Path, x509.Certificate]:
        """A certificate for a server or client of this name, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        certificate = (
            self._builder(_name(host), key).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        )
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        file, key_file = self.folder / f"{host}.crt", self.folder / f"{host}.key"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return file, key_file, certificate

    def revoke(self, *certificates: x509.Certificate) -> Path:
        """Write the list of revoked certificates, and return its path."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(_NOW - timedelta(days=1)).next_update(_NOW + timedelta(days=1))
        for each in certificates:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(_NOW - timedelta(days=1)).build())
        path = self.folder / "root.crl"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(_NOW - timedelta(days=1)).not_valid_after(_NOW + timedelta(days=1))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
