"""Sphinx's configuration; what depends on the build comes from `build`."""

project = "contrastive-papers"
copyright = "the contributors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "harness.site.api"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_*"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# GitHub shows these pages too, where a heading may be left out between two levels; types of one name are told apart by
# their modules.
suppress_warnings = ["myst.header", "misc.highlighting_failure", "ref.python"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of Lightning are not in our words
napoleon_use_rtype = False
napoleon_use_ivar = True  # an attribute may have a docstring of its own as well
napoleon_custom_sections = [("Source", "notes_style")]
maximum_signature_line_length = 90
add_module_names = False
default_role = "code"

html_theme = "furo"
html_title = "contrastive-papers"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("reach.js", {"defer": "defer"})]
html_show_sphinx = False
html_copy_source = False
html_use_index = False  # search finds what it lists, in half a megabyte less
html_domain_indices = False
html_show_search_summary = False  # would fetch the pages found, which a browser refuses to pages on the disk
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00639e", "color-brand-content": "#00639e"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
    "top_of_page_buttons": [],
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
