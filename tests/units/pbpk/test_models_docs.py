"""The worked example of docs/models.md runs as printed."""

import re
import runpy

import numpy as np

from dose.nuclides import radionuclide


def test_the_example_of_the_models_page_runs(repository, tmp_path):
    text = (repository / "docs" / "models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 1
    script = tmp_path / "example.py"
    script.write_text(blocks[0], encoding="utf-8")
    names = runpy.run_path(str(script))
    found, decay = names["found"], radionuclide("177Lu").decay_constant_per_h
    # 7400 MBq leave plasma at 0.01 per min besides decaying
    np.testing.assert_allclose(found.tia_to_end_MBq_h[0], 7400 / (0.6 + decay), rtol=1e-7)
    assert found.regions == ("blood", "tumour_1")
