"""For the API pages: the arguments of a network's constructor, and recipes that are made before Sphinx touches their settings.

The site is built without torch. Of a class on a base that is only a stand-in, Sphinx would say ``(*args, **kwargs)``.
"""

from __future__ import annotations

import inspect


def of_constructor(app, what, name, obj, options, signature, return_annotation):
    """The signature of ``__init__`` in place of the stand-in's, and none of what is only a protocol."""
    from sphinx.util.inspect import stringify_signature

    if what == "class" and getattr(obj, "_is_protocol", False):
        return "", None  # nobody makes one
    if what != "class" or signature != "(*args, **kwargs)" or "__init__" not in vars(obj):
        return None
    found = inspect.signature(obj.__init__)
    without_self = found.replace(parameters=list(found.parameters.values())[1:])
    return stringify_signature(without_self, show_annotation=False, show_return_annotation=False), return_annotation


def make_recipes(app):
    """Import the recipes, and all below them, at once: they check their settings by the annotations of the settings' classes.

    Sphinx adds to a class that it documents the annotations of its bases, whose names the module of the class may not know. Settings
    also ask whether a number is a tensor, for which the stand-in of a tensor must be a type.
    """
    from sphinx.ext.autodoc.mock import mock

    with mock(app.config.autodoc_mock_imports):
        import torch

        torch.Tensor = type("Tensor", (), {"__module__": "torch"})
        import course_lib.recipes  # noqa: F401


def setup(app):
    app.connect("builder-inited", make_recipes)
    app.connect("autodoc-process-signature", of_constructor)
    return {"parallel_read_safe": True}
