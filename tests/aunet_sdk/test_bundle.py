"""The model file's metadata: written, read, refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from aunet_sdk.bundle import (
    KEY,
    SCHEMA,
    Bundle,
    StateSpec,
    default_path,
    read_metadata,
    sha256_of,
    shipped_names,
    shipped_path,
)
from aunet_sdk.errors import BundleMismatch, InvalidInput, ModelError
from aunet_sdk.facs import parse_aus
from aunet_sdk.options import DetectorOptions


def make(**changes: object) -> Bundle:
    values = dict(
        kind="stream",
        name="test",
        au_numbers=(1, 12, 25),
        thresholds=(0.5, 0.25, 0.75),
        interval_s=0.4,
        width=16,
        resolution=64,
        precision="fp32",
        head="points",
        crop_scale=1.3736,
        template=np.full((5, 2), 0.25),
        points3d=np.arange(204.0).reshape(68, 3),
        min_confidence=0.3,
        state=(StateSpec("P", (68, 34), "float32", ("former", "due", "later")),),
        training_data="a set, größer als null",
    )
    return Bundle(**(values | changes))  # type: ignore[arg-type]


def write(path: Path, metadata: dict[str, str], weights: int = 1000) -> Path:
    """A small ONNX file of the real format."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [weights], np.zeros(weights))
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [weights])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def test_round_trip(tmp_path: Path) -> None:
    bundle = make()
    path = write(tmp_path / "a.onnx", {"other": "x" * 300, KEY: bundle.to_json()})
    read = Bundle.load(path)
    for field in dataclasses.fields(Bundle):
        if field.name not in ("path", "sha256"):
            np.testing.assert_array_equal(getattr(read, field.name), getattr(bundle, field.name), field.name)
    assert read.path == path and read.sha256 is None
    assert read.au_names == ("AU1", "AU12", "AU25")
    with pytest.raises(ValueError, match="read-only"):
        read.template[0, 0] = 1


def test_metadata_are_those_that_onnx_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", {KEY: make().to_json(), "": "empty key", "empty": ""})
    assert read_metadata(path) == {p.key: p.value for p in onnx.load(path).metadata_props}


def test_needs_numpy_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", {KEY: make().to_json()})
    code = f"import sys; from aunet_sdk.bundle import Bundle; Bundle.load({str(path)!r}); "
    code += "print([m for m in ('onnx', 'onnxruntime', 'cv2', 'torch') if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "[]"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a file"):
        Bundle.load(tmp_path / "none.onnx")
    with pytest.raises(InvalidInput, match="not a file"):
        Bundle.load(tmp_path)
    with pytest.raises(InvalidInput, match=r"a shipped model \(default.*\), got 'large'"):
        Bundle.load("large")


def test_onnx_file_without_metadata(tmp_path: Path) -> None:
    with pytest.raises(BundleMismatch, match=r"got a\.onnx, an ONNX file without 'aunet_sdk'"):
        Bundle.load(write(tmp_path / "a.onnx", {"other": "x"}))


def test_a_bundle_is_of_the_oldest_schema_that_can_say_it() -> None:
    old, new = make(), make(reference=True, intensity=True)
    assert (old.schema, old.answers) == (1, 3) and "reference" not in json.loads(old.to_json())
    assert (new.schema, new.answers) == (2, 6)
    again = Bundle.from_json(new.to_json())
    assert again.reference and again.intensity and again.schema == 2
    for wrong in ({"schema": 1, "reference": True}, {"reference": True, "head": "aunet"}):
        with pytest.raises(BundleMismatch, match="reference or intensity"):
            make(**wrong).to_json()
    text = json.loads(new.to_json())
    for missing in ("reference", "intensity"):
        with pytest.raises(BundleMismatch, match=missing):
            Bundle.from_json(json.dumps({k: v for k, v in text.items() if k != missing}))
    with pytest.raises(BundleMismatch, match="true or false"):
        Bundle.from_json(json.dumps(text | {"intensity": 1}))


def test_newer_schema(tmp_path: Path) -> None:
    text = json.dumps(json.loads(make().to_json()) | {"schema": SCHEMA + 1, "something": "new"})
    with pytest.raises(BundleMismatch, match="newer; update aunet_sdk"):
        Bundle.load(write(tmp_path / "a.onnx", {KEY: text}))


def test_unknown_fields_of_this_schema_are_passed_over() -> None:
    text = json.dumps(json.loads(make().to_json()) | {"remark": "x"})
    assert Bundle.from_json(text).name == "test"


@pytest.mark.parametrize(
    "content", [b"", b"timestamp,label\n0.1,1\n" * 50, b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"\x00" * 100, b"\x80"]
)
def test_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"expected an ONNX file, got a\.onnx"):
        Bundle.load(path)


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 0.999))
def test_cut_short(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = write(tmp_path_factory.mktemp("cut") / "a.onnx", {KEY: make().to_json()})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError):
        Bundle.load(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_escape_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("bits") / "a.onnx", {KEY: make().to_json()}, weights=4)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        Bundle.load(path)
    except ModelError:
        pass


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "other"),
        ("head", "cnn"),
        ("precision", "int4"),
        ("au_numbers", [12, 1, 25]),
        ("au_numbers", [1, 1, 25]),
        ("au_numbers", []),
        ("au_numbers", 12),
        ("thresholds", [0.5]),
        ("thresholds", [0.5, 0.5, 1.5]),
        ("thresholds", [0.5, 0.5, float("nan")]),
        ("interval_s", 0),
        ("interval_s", "soon"),
        ("resolution", 66),
        ("template", [[0, 0]] * 4),
        ("points3d", []),
        ("points3d", [[0, 0, float("inf")]] * 68),
        ("min_confidence", 2),
        ("state", []),
        ("state", [{"name": "P", "shape": [68, 34], "dtype": "float64", "roles": ["due"]}]),
        ("state", [{"name": "P", "shape": [0], "dtype": "float32", "roles": ["due"]}]),
        ("state", [{"name": "P", "shape": [2], "dtype": "float32", "roles": ["now"]}]),
        ("state", [{"name": "P"}]),
        ("schema", 0),
        ("schema", "1"),
        ("schema", True),
    ],
)
def test_wrong_field(field: str, value: object) -> None:
    text = json.dumps(json.loads(make().to_json()) | {field: value})
    with pytest.raises(BundleMismatch, match=r"expected .* got "):
        Bundle.from_json(text)


@pytest.mark.parametrize("field", ["au_numbers", "template", "state", "licence"])
def test_missing_field(field: str) -> None:
    data = json.loads(make().to_json())
    del data[field]
    with pytest.raises(BundleMismatch, match=field):
        Bundle.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"'])
def test_metadata_that_are_no_object(text: str) -> None:
    with pytest.raises(BundleMismatch, match="JSON"):
        Bundle.from_json(text)


def test_a_wrong_bundle_is_not_written() -> None:
    with pytest.raises(BundleMismatch, match="thresholds"):
        make(thresholds=(0.5,)).to_json()


def test_manifest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", {KEY: make().to_json()})
    manifest = tmp_path / "MANIFEST.json"
    manifest.write_text(json.dumps({"files": {"a.onnx": {"sha256": sha256_of(path)}}}))
    assert Bundle.load(path).sha256 == sha256_of(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1  # a weight: the file is still whole ONNX
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="damaged or was replaced"):
        Bundle.load(path)
    manifest.write_text("{}")
    with pytest.raises(ModelError, match="MANIFEST"):
        Bundle.load(path)
    manifest.write_text(json.dumps({"files": {"b.onnx": {"sha256": "0"}}}))
    assert Bundle.load(path).sha256 is None


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_bundles_are_what_their_manifest_says(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = Bundle.load(name)
    assert bundle.path == shipped_path(name) and (bundle.kind, bundle.name) == ("stream", name)
    assert bundle.sha256 == sha256_of(shipped_path(name))


def test_the_default_bundle_comes_first() -> None:
    assert shipped_names()[0] == "default" and Bundle.load().path == default_path() == shipped_path("default")


def test_a_file_goes_before_a_shipped_model_of_its_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "default", {KEY: make().to_json()})
    assert Bundle.load("default").name == make().name != "default"


def test_action_units_beyond_the_papers_fifteen() -> None:
    """AU5 (upper lid raiser), AU20 (lip stretcher) and AU45 (blink): any number that FACS has."""
    bundle = make(au_numbers=(5, 20, 45))
    again = Bundle.from_json(bundle.to_json())
    assert again.au_names == ("AU5", "AU20", "AU45")
    assert parse_aus(again.au_names) == parse_aus("45, au5,AU_20") == ("AU5", "AU20", "AU45")
    assert DetectorOptions(aus=("AU45",), thresholds={"AU5": 0.4}).aus == ("AU45",)
    with pytest.raises(BundleMismatch, match="FACS numbers"):
        make(au_numbers=(5, 20, 145)).to_json()
