"""The command line: exit codes, one paragraph of words, nothing left behind."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from dose.errors import InputError
from twin import cli

runner = CliRunner()


def test_a_bad_study_ends_in_one_paragraph_and_no_folder(write_study_files, tmp_path):
    study = write_study_files(table="region,time_h,activity_MBq,sd\nkidny,4,5,1\n")
    result = runner.invoke(cli.app, ["plan", str(study), "--out", str(tmp_path / "out")])
    assert result.exit_code == cli.BAD_INPUT
    assert "kidney" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_not_there_is_bad_input(tmp_path):
    result = runner.invoke(cli.app, ["plan", str(tmp_path / "no"), "--out", str(tmp_path / "out")])
    assert result.exit_code == cli.BAD_INPUT


def test_adapt_without_a_twin_says_so(write_study_files, tmp_path):
    result = runner.invoke(cli.app, ["adapt", str(tmp_path / "nothing"), str(write_study_files())])
    assert result.exit_code == cli.BAD_INPUT
    assert "no twin" in result.stderr


def test_an_output_place_that_cannot_be_written_is_told_before_the_work(write_study_files, tmp_path):
    (tmp_path / "file").write_text("x")
    result = runner.invoke(cli.app, ["plan", str(write_study_files()), "--out", str(tmp_path / "file" / "out")])
    assert result.exit_code == cli.BAD_INPUT
    assert "output folder" in result.stderr


def test_a_fault_of_the_program_is_told_as_one(monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("broken inside")

    monkeypatch.setattr(cli, "run_plan", fail)
    result = runner.invoke(cli.app, ["plan", "x", "--out", str(tmp_path / "out")])
    assert result.exit_code == cli.BROKEN
    assert "fault of theratwin" in result.stderr


def test_single_precision_is_refused(monkeypatch):
    import jax

    monkeypatch.setattr("twin._jax.configure", lambda: None)
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(InputError, match="float64"):
            cli.require_double_precision()
    finally:
        jax.config.update("jax_enable_x64", True)


def test_doctor_finds_this_installation_well(tmp_path):
    result = runner.invoke(cli.app, ["doctor", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert "float64" in result.stderr
