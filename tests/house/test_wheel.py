"""What a user installs: the five packages, their tables, one command."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.util import find_spec

import pytest

PACKAGES = {"twin", "pbpk", "imaging", "dose", "calibration"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, repository):
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is in the dev extra, which is not installed")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("theratwin-*.whl")))


def test_the_wheel_holds_exactly_the_five_packages(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_the_wheel_holds_every_table(wheel, repository):
    tables = {p.relative_to(repository).as_posix() for k in PACKAGES for p in (repository / k).rglob("data/*.csv")}
    assert tables <= set(wheel.namelist())


def test_the_wheel_brings_the_command_and_the_licence(wheel):
    names = {name.split(".dist-info/")[-1]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "theratwin = twin.cli:main" in wheel.read(names["entry_points.txt"]).decode()
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= set(names)
