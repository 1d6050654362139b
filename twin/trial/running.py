"""Run a design into a folder and judge its cohort: what the command `theratwin trial run` and notebooks call."""

from __future__ import annotations

from pathlib import Path

from twin._jax import configure
from twin.trial import engine
from twin.trial.design import TrialDesign, design_of, read_design
from twin.trial.gate import write_gate
from twin.trial.job import TrialJob
from twin.trial.results import Trial, open_trial


def run_trial(
    design: TrialDesign | str | Path | dict, folder, *, patients=None, seed=None, executor: str = "serial", **options
) -> Trial:
    """Run a trial, or go on with the one in `folder`, and open it; `gate.json` says whether its cohort is plausible.

    `design` is one, its fields, the path of a trial.toml or the name of a shipped design; `patients` and `seed` go
    before its own. `executor` "serial" uses all cores by threads; "process" is a quarter faster for 10 000 patients and
    more, but a script needs `if __name__ == "__main__":` around the call. `options` are those of
    `twin.trial.engine.run`: workers, progress, client ...

    Raises:
        InputError: a design that is wrong, a folder that holds another trial, a full disk.
    """
    configure()
    whole = asked(design, patients, seed)
    engine.run(TrialJob(whole), folder, executor=executor, **options)
    write_gate(folder)
    return open_trial(folder)


def asked(design: TrialDesign | str | Path | dict, patients: int | None = None, seed: int | None = None) -> TrialDesign:
    """The design with another number of patients or seed, every default filled in."""
    if isinstance(design, dict):
        design = design_of(design)
    found = design if isinstance(design, TrialDesign) else read_design(design)
    changed = {name: value for name, value in (("patients", patients), ("seed", seed)) if value is not None}
    return design_of(found.model_dump() | changed)
