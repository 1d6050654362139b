"""Populations at the doors: the file, the cohort on disk, a twin that keeps its population, the command."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from calibration.observations import Observations
from calibration.population import tabled
from dose.errors import InputError
from dose.provenance import numbers_of
from tests import synthetic
from tests import synthetic_population as virtual
from twin import cli, store
from twin.body import body_of
from twin.population import estimate_population, later_belief, population_in, read_cohort
from twin.population_files import fingerprint, load_population, population_of, save_population, text_of
from twin.study_writing import write_study
from twin.verbs import adapt, calibrate

runner = CliRunner()


@pytest.fixture(scope="module")
def clinic():
    """A population with every part a file can hold."""
    study = virtual.study_of()
    base = virtual.shifted(tabled(body_of(study).prior, "PSMA-617"), virtual.SHIFTS, {"release/kidneys": 0.7})
    drift = {"drift/organs": 1.2, "drift/tumours": 0.9}
    return replace(
        base, patients=12, rounds=6, drift=drift, drift_se=dict.fromkeys(drift, 0.2), errors={"SPECT/organs": 1.1},
        notes=('a "note"',))  # fmt: skip


def same(one, two):
    plain = (
        "ligand",
        "tables",
        "patients",
        "groups",
        "lesions",
        "drift",
        "drift_se",
        "errors",
        "rounds",
        "converged",
        "notes",
    )
    arrays = ("shift_log", "shift_covariance", "spread_log", "spread_se", "together", "together_se")
    return all(getattr(one, n) == getattr(two, n) for n in plain) and all(
        np.allclose(getattr(one, n), getattr(two, n), rtol=1e-8, atol=0) for n in arrays
    )


def test_a_population_reads_back_as_it_was_written(clinic, tmp_path):
    """To the file's nine digits."""
    path = save_population(clinic, tmp_path / "new" / "clinic.toml")
    assert same(load_population(path), clinic)
    assert not same(load_population(path), replace(clinic, shift_log=clinic.shift_log + 1e-6))
    assert fingerprint(load_population(path)) == fingerprint(clinic)
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", "format"),
        ("patients = 12\n", "", "patients"),
        ("patients = 12", "patients = twelve", "population file"),
        ("spread_log = 0.", "spread_log = -0.", "spread_log"),
        ("spread_se = 0.5", "spread_se = nan", "not finite"),
        ("spread_se = 0.5", 'spread_se = "wide"', "wide"),
        ("shift_covariance = [", "shift_covariance = [1.0, ", "population file"),
        ('tables = "', 'tables = "x', "another table"),
        ("factor = 1.1", "factor = 0.0", "factor"),
    ],
)
def test_a_damaged_file_is_refused_in_words(clinic, tmp_path, old, new, said):
    text = text_of(clinic)
    assert old in text
    (tmp_path / "bad.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said) as error:
        load_population(tmp_path / "bad.toml")
    assert "To do" in str(error.value)


def test_a_half_written_file_and_a_missing_one_are_refused(clinic, tmp_path):
    text = text_of(clinic)
    (tmp_path / "half.toml").write_text(text[: len(text) // 2])
    for name in ("half.toml", "none.toml"):
        with pytest.raises(InputError):
            load_population(tmp_path / name)


def test_a_population_of_another_ligand_is_refused(clinic):
    study = replace(synthetic.empty_study(), ligand="DOTATATE")
    study = replace(study, administrations=tuple(replace(a, ligand="DOTATATE") for a in study.administrations))
    with pytest.raises(InputError, match="DOTATATE"):
        calibrate(study, population=clinic)


def test_a_cohort_is_a_folder_of_studies(tmp_path):
    for k in range(2):
        study = replace(virtual.study_of(), id=f"patient {k}", observations=_scans(k))
        write_study(study, tmp_path / f"p{k}")
    studies = read_cohort(tmp_path)
    assert [s.id for s in studies] == ["patient 0", "patient 1"]
    assert len(studies[0].observations) == 2


def _scans(k):
    regions = ("kidney_left", "tumour_1")
    return Observations(regions, [24.0, 24.0], [20.0 + k, 30.0], [1.0, 1.5], [np.nan] * 2, ("SPECT",) * 2, (1, 1))


def test_cohorts_that_cannot_be_one_are_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        estimate_population(tmp_path / "none")
    with pytest.raises(InputError, match="sub-folders"):
        estimate_population(tmp_path)
    with pytest.raises(InputError, match="no studies"):
        estimate_population([])
    one = virtual.study_of()
    with pytest.raises(InputError, match="one ligand"):
        estimate_population([one, replace(one, id="b", ligand="DOTATATE")])
    with pytest.raises(InputError, match="each patient once") as error:
        estimate_population([one, one])
    assert one.id not in str(error.value)
    with pytest.raises(InputError, match="cycle 2 without"):
        estimate_population([replace(one, observations=replace(_scans(0), cycle=(1, 2)))])


def test_the_command_tells_a_bad_cohort_and_leaves_no_file(tmp_path):
    result = runner.invoke(cli.app, ["population", str(tmp_path / "none"), "--out", str(tmp_path / "clinic.toml")])
    assert result.exit_code == cli.BAD_INPUT
    assert "no folder" in result.stderr
    assert not (tmp_path / "clinic.toml").exists()


def test_plan_refuses_a_population_that_is_not_there(write_study_files, tmp_path):
    words = [
        "plan",
        str(write_study_files()),
        "--out",
        str(tmp_path / "out"),
        "--population",
        str(tmp_path / "no.toml"),
    ]
    result = runner.invoke(cli.app, words)
    assert result.exit_code == cli.BAD_INPUT
    assert "population file" in result.stderr


def test_without_scans_a_twin_is_a_patient_of_its_population(clinic):
    study = virtual.study_of()
    plain, ours = calibrate(study, draws=50), calibrate(study, draws=50, population=clinic)
    belief = clinic.belief(body_of(study).prior)
    assert np.allclose(ours.posterior.map_log, belief.mean)
    assert np.allclose(ours.posterior.covariance, belief.covariance)
    assert np.all(plain.posterior.map_log == 0)
    assert fingerprint(clinic) in ours.provenance["population"]
    assert "population" not in plain.provenance


def test_a_stored_twin_keeps_its_population_for_new_lesions_and_later_cycles(clinic, tmp_path):
    made = calibrate(virtual.study_of(1), draws=50, population=clinic)
    opened = store.open(store.save(made, tmp_path / "twin"))
    kept = population_in(opened)
    assert kept is not None
    assert same(kept, clinic)
    wider = body_of(virtual.study_of(2)).prior
    ours = later_belief(opened, wider, 1)
    expected = clinic.drifted(clinic.extended(made.posterior.belief, wider), 1)
    assert np.allclose(ours.covariance, expected.covariance, rtol=1e-7)
    assert np.allclose(ours.mean, expected.mean, atol=1e-8)
    without = replace(opened, provenance={k: v for k, v in opened.provenance.items() if "population" not in k})
    assert not np.allclose(later_belief(without, wider, 1).covariance, ours.covariance, rtol=1e-3)


def test_numbers_in_a_twin_that_were_altered_are_refused(clinic):
    with pytest.raises(InputError, match="population file"):
        population_of(text_of(clinic).replace("[groups", "[[groups"))


@pytest.mark.slow
def test_the_journey_from_a_folder_of_patients_to_an_adapted_twin(tmp_path):
    """Four patients whose kidneys let go slowly; the fifth, with one scan, leans that way, and is adapted to a
    second."""
    study = virtual.study_of(1)
    truth = virtual.shifted(tabled(body_of(study).prior, "PSMA-617"), {"release/kidneys": -0.7})
    made = virtual.cohort(truth, 5, 3, study=study, regions=("kidney_left", "kidney_right"))
    for k in range(4):
        write_study(replace(study, id=f"p{k}", observations=made.seen(k)), tmp_path / "cohort" / f"p{k}")
    found = runner.invoke(cli.app, ["population", str(tmp_path / "cohort"), "--out", str(tmp_path / "clinic.toml")])
    assert found.exit_code == 0, found.stderr
    clinic = load_population(tmp_path / "clinic.toml")
    assert clinic.patients == 4
    assert clinic.shift_log[clinic.index("release/kidneys")] < -0.1
    seen = made.seen(4)
    first, last = (seen.select(np.isclose(seen.time_h, t)) for t in (24.0, 168.0))
    twins = [calibrate(replace(study, observations=first), draws=60, population=p) for p in (None, clinic)]
    at = body_of(study).prior.names.index("release/kidney_left")
    assert twins[1].posterior.map_log[at] < twins[0].posterior.map_log[at]
    later = adapt(twins[1], last)
    assert later.provenance["population"] == twins[1].provenance["population"]
    assert len(later.ledger) == 2


def test_the_code_of_the_page_runs_and_prints_what_the_page_says(repository, tmp_path, monkeypatch, capsys):
    page = (repository / "docs" / "population.md").read_text(encoding="utf-8")
    code, said = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, flags=re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/population.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == said


def test_the_file_of_the_page_is_one_that_is_read(repository):
    """With the present table's fingerprint in place of the page's."""
    page = (repository / "docs" / "population.md").read_text(encoding="utf-8")
    text = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)[0]
    text = re.sub(r'tables = ".*?"', f'tables = "{numbers_of("pbpk", "ligands.csv")}"', text)
    read = population_of(text)
    assert read.groups == ("release/kidneys",)
    assert read.drift == {"drift/organs": 1.05, "drift/tumours": 1.87}
