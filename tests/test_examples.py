"""The notebook runs as it stands."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_quickstart_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Needs `pip install mmjax[notebook]`; the last cells' tables must be there."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)]))
    notebook = nbformat.read(REPOSITORY / "examples" / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    shown = [str(out) for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert any("attention" not in text and "accuracy" in text and "std" in text for text in shown)
    assert any("tabular" in text and "north" in text for text in shown[-1:])
