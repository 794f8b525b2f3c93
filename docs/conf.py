"""The documentation site: `make docs` builds it, running every lesson and example."""

import sys
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

import fastsm

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
from figures import STYLE

project = "fastsm"
author = "The fastsm developers"
copyright = author
version = release = fastsm.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas without a third party, and without a network
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "matplotlib.sphinxext.plot_directive",
    "command_help",
    "reference_pages",
]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "lessons"]
default_role = "autolink"  # `name` in a docstring is a link where there is a page

# ---- Pages in Markdown, formulas between dollars ----
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# ---- The reference: docstrings, a page for each name ----
autodoc_typehints = "none"  # the docstrings say it
autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # the template lists them
numpydoc_class_members_toctree = False
numpydoc_validation_checks: set[str] = set()
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# ---- Lessons and examples: scripts that run while the site is built ----
LESSONS = [
    "any_loss.py",
    "in_terms_of_a.py",
    "hidden_layers.py",
    "staged_backward.py",
    "p_minus_y.py",
    "stability.py",
    "batch_mistakes.py",
]
EXAMPLES = [
    "fashion_mnist.py",
    "bandit.py",
    "distillation.py",
    "calibration.py",
    "custom_layer.py",
]
sphinx_gallery_conf = {
    "examples_dirs": ["lessons", "../examples"],
    "gallery_dirs": ["learn", "examples"],
    "within_subsection_order": ExplicitOrder(LESSONS + EXAMPLES),
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", "figures.reset"),
    "doc_module": ("fastsm",),
    "reference_url": {"fastsm": None},  # names in the code are links into the reference
    "image_srcset": ["2x"],
    "download_all_examples": False,
    "capture_repr": (),  # what is printed, not what a last line happens to return
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 3600,
    "remove_config_comments": True,
}

# ---- Figures in pages of prose: the directive `plot` ----
plot_rcparams = STYLE
plot_formats = [("png", 110)]
plot_html_show_formats = False
plot_html_show_source_link = False

# ---- Looks ----
html_theme = "pydata_sphinx_theme"
html_title = "fastsm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "logo": {"text": "fastsm"},
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": {"**": ["page-toc", "sg_download_links"], "index": []},
}
html_sidebars = {"index": [], "benchmarks": []}
html_show_sourcelink = False
html_copy_source = False
