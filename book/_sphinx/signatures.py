"""For the API pages: the arguments of a network's constructor.

The site is built without torch. Of a class on a base that is only a stand-in, Sphinx would say ``(*args, **kwargs)``.
"""

from __future__ import annotations

import inspect


def of_constructor(app, what, name, obj, options, signature, return_annotation):
    """The signature of ``__init__`` in place of the stand-in's."""
    from sphinx.util.inspect import stringify_signature

    if what != "class" or signature != "(*args, **kwargs)" or "__init__" not in vars(obj):
        return None
    found = inspect.signature(obj.__init__)
    without_self = found.replace(parameters=list(found.parameters.values())[1:])
    return stringify_signature(without_self, show_annotation=False, show_return_annotation=False), return_annotation


def setup(app):
    app.connect("autodoc-process-signature", of_constructor)
    return {"parallel_read_safe": True}
