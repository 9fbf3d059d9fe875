"""For pages with formulas: KaTeX, which comes with the site, so that formulas need no network. Other pages load nothing of it.

Sphinx's own renderer loads MathJax, of eight times the size, and puts each formula among what the keyboard stops at.
"""

from __future__ import annotations

NAME = "katex"


def with_scripts(app, page, template, context, doctree):
    """Load KaTeX where the page, or what stands beside it, has a formula."""
    beside = [context.get("title"), context.get("toc"), *(link["title"] for link in (context.get("prev"), context.get("next")) if link)]
    if any('class="math' in (part or "") for part in (context.get("body"), *beside)):
        app.add_css_file("../katex/katex.min.css")
        app.add_js_file("../katex/katex.min.js", loading_method="defer")
        app.add_js_file("../katex/formulas.js", loading_method="defer")


def setup(app):
    from sphinx.ext import mathjax

    # the formula stands in the page as LaTeX, as MathJax too would have it
    app.add_html_math_renderer(NAME, (mathjax.html_visit_math, None), (mathjax.html_visit_displaymath, None))
    app.connect("config-inited", lambda app, config: setattr(config, "html_math_renderer", NAME))
    app.connect("html-page-context", with_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
