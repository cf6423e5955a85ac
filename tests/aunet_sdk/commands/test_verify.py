"""`aunet models verify`: hashes, and a signature made with a key of this test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aunet_sdk.bundle import sha256_of

from ..command import aunet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "models"
    place.mkdir()
    (place / "a.onnx").write_bytes(b"model")
    facts = {"sha256": sha256_of(place / "a.onnx"), "bytes": 5}
    (place / "MANIFEST.json").write_text(json.dumps({"files": {"a.onnx": facts}}))
    return place


def test_the_shipped_models_are_as_shipped() -> None:
    done = aunet("models", "verify")
    assert done.exit_code == 0 and "default.onnx: as in MANIFEST.json" in done.output


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.onnx", b"medel", "expected SHA-256"),
        ("a.onnx", b"mode", "expected 5 bytes, got 4"),
        ("a.onnx", None, "a.onnx: cannot be read"),
        ("b.onnx", b"", "b.onnx: MANIFEST.json does not name it"),
    ],
)
def test_a_file_that_differs(folder: Path, name: str, content: bytes | None, words: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    done = aunet("models", "verify", folder)
    assert done.exit_code == 3 and words in done.output and "not as shipped" in done.output


def test_a_manifest_that_cannot_be_used(folder: Path) -> None:
    (folder / "MANIFEST.json").write_text("[]")
    assert aunet("models", "verify", folder).exit_code == 3
    (folder / "MANIFEST.json").unlink()
    assert aunet("models", "verify", folder).exit_code == 2
    assert aunet("models", "verify", folder, "--signature", "a").exit_code == 2


def test_a_signature(folder: Path, tmp_path: Path) -> None:
    signing = pytest.importorskip("model_signing.signing", reason="model-signing is not installed (extra `signing`)")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    for name in ("mine", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        (tmp_path / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (tmp_path / f"{name}.pem").write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    signature = tmp_path / "models.sig"
    signing.Config().use_elliptic_key_signer(private_key=tmp_path / "mine.key").sign(folder, signature)
    given = ("models", "verify", folder, "--signature", signature, "--public-key")
    good = aunet(*given, tmp_path / "mine.pem")
    assert good.exit_code == 0 and "signature: good" in good.output, good.output
    assert aunet(*given, tmp_path / "other.pem").exit_code == 3
    assert aunet(*given, tmp_path / "none.pem").exit_code == 2
    (folder / "a.onnx").write_bytes(b"medel")
    facts = {"sha256": sha256_of(folder / "a.onnx"), "bytes": 5}
    (folder / "MANIFEST.json").write_text(json.dumps({"files": {"a.onnx": facts}}))
    forged = aunet(*given, tmp_path / "mine.pem")
    assert forged.exit_code == 3 and "a.onnx" in forged.output
