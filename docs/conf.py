"""The documentation site: `python -m sphinx -W docs build/site`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "cxr_jax"
author = "the authors of cxr_jax"
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["results/**"]
default_role = "code"
html_theme = "furo"
html_title = "cxr_jax"
myst_heading_anchors = 3
apidoc_modules = [
    {"path": f"../{package}", "destination": f"reference/{package}", "separate_modules": True, "exclude_patterns": out}
    for package, out in (("cxr_jax", []), ("tfds_builders", ["**/*_test.py"]))
]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
suppress_warnings = ["ref.python"]
