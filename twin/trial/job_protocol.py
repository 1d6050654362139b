"""What the engine asks of a trial: a job that computes the tables of some patients, and says what they depend on."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa


class Job(Protocol):
    """Patients 0 to `patients` - 1, computed in ranges; the engine knows nothing else of it.

    A job travels to worker processes, so it is a frozen dataclass of plain values and its class can be imported there.
    Its numbers for a patient must depend on `manifest()` and the patient alone: then chunks, their order, workers and
    restarts leave no trace. Modules that it needs call `twin._jax.configure` themselves: a worker imports nothing else.
    """

    @property
    def patients(self) -> int:
        """Number of patients."""
        ...

    @property
    def block(self) -> int:
        """Patients computed together; chunks are multiples of it, so that the same ones always are."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """Names in the order of writing; a part of the last one says that its chunk is complete."""
        ...

    def manifest(self) -> dict:
        """All that the results depend on, as JSON takes it: design, seed, schema version, tables' fingerprints."""
        ...

    def compute(self, first: int, last: int) -> dict[str, pa.Table]:
        """Tables by name of patients `first` to `last` - 1; a patient that fails is a row, not an error."""
        ...
