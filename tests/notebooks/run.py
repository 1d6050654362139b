"""Executes notebooks/*.ipynb, each in a fresh kernel of this interpreter, and says how long each took.

`python -m tests.notebooks.run [--small] [--keep FOLDER] [NOTEBOOK ...]`; exit code 1 if a cell fails, says something
on stderr (a warning is an error here too), or a notebook takes longer than LIMIT_S. The files are not touched: outputs
go to FOLDER, or nowhere. Kernels talk over files where the system has them, so no port is opened.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"
CELL_S = 120
"""Longest a cell may take."""
LIMIT_S = 240.0
"""Longest a notebook may take: twice what it may need on two free cores, for machines that are shared."""
SMALL = {"DRAWS": 80, "GRID": 8, "PATIENTS": 8, "POINTS": 8}
"""What `--small` sets where a notebook's parameters cell has the name: figures are coarser, every cell still runs."""
TRANSPORT = "ipc" if os.name == "posix" else "tcp"
COLOURS = re.compile("\x1b\\[[0-9;]*m")
LAST_LINES = 25


class ThisPython(KernelSpecManager):
    """Whatever kernel a notebook names, it gets one of the interpreter that runs this."""

    def get_kernel_spec(self, kernel_name):
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


class ThisPythonKernel(AsyncKernelManager):
    def __init__(self, **kwargs):
        place = {"ip": str(Path(os.environ["JUPYTER_RUNTIME_DIR"]) / "kernel")} if TRANSPORT == "ipc" else {}
        super().__init__(transport=TRANSPORT, kernel_spec_manager=ThisPython(), **place, **kwargs)


def execute(path: Path, *, small: bool = False) -> tuple[nbformat.NotebookNode, str]:
    """The executed notebook, and words on what went wrong (empty where nothing did)."""
    notebook = nbformat.read(path, as_version=4)
    if small:
        shrink(notebook)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": folder}
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        client = NotebookClient(
            notebook,
            timeout=CELL_S,
            kernel_name="python3",
            kernel_manager_class=ThisPythonKernel,
            resources={"metadata": {"path": str(path.parent)}},
        )
        try:
            client.execute()
        except CellExecutionError as error:
            return notebook, "\n".join(COLOURS.sub("", str(error)).splitlines()[-LAST_LINES:])
        except (CellTimeoutError, DeadKernelError, RuntimeError) as error:  # RuntimeError: the kernel did not start
            return notebook, f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return notebook, on_stderr(notebook)


def shrink(notebook: nbformat.NotebookNode) -> None:
    """Set the parameters that SMALL knows."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            for name, value in SMALL.items():
                cell.source = re.sub(rf"^{name} = .*$", f"{name} = {value}", cell.source, flags=re.MULTILINE)


def on_stderr(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.get("name") == "stderr")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.notebooks.run", description="Execute the notebooks.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of notebooks/")
    parser.add_argument("--small", action="store_true", help="fewer draws, for a quick look")
    parser.add_argument("--keep", type=Path, help="folder for the executed copies")
    chosen = parser.parse_args(arguments)
    failed = 0
    for path in chosen.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        began = time.perf_counter()
        notebook, wrong = execute(path, small=chosen.small)
        seconds = time.perf_counter() - began
        if not wrong and seconds > LIMIT_S:
            wrong = f"took longer than {LIMIT_S:g} s"
        print(f"{path.name:36} {seconds:6.1f} s  {'FAILED' if wrong else 'ok'}", flush=True)
        if wrong:
            failed += 1
            print(wrong, file=sys.stderr, flush=True)
        if chosen.keep:
            chosen.keep.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, chosen.keep / path.name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
