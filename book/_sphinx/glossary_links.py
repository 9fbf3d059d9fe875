"""For the chapters: each term of the glossary becomes a link where the book uses it first.

The chapters' text stays as it is, so that a notebook reads the same in JupyterLab, where nobody resolves a reference to a glossary.
A term is looked for in running text, not in titles, code, formulas, outputs, links, exercises or solutions; its plural counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

GLOSSARY = "glossary"  # the page


def entries(doctree) -> dict[str, tuple[str, str]]:
    """The terms of a glossary page -> (target on the page, what the term means)."""
    from docutils import nodes
    from sphinx import addnodes

    found = {}
    for glossary in doctree.findall(addnodes.glossary):
        for item in glossary.findall(nodes.definition_list_item):
            meaning = next(iter(item.findall(nodes.definition))).next_node(nodes.paragraph).astext()
            meaning = re.sub(r" Chapter \d+$", "", meaning)
            for term in item.findall(nodes.term):
                found[term.astext()] = (term["ids"][0], meaning)
    return found


def pattern(term: str) -> re.Pattern[str]:
    """A term as a word of a sentence, with its plural; an abbreviation or a name must have its capitals."""
    flexible = re.sub(r"\\? ", r"\\s+", re.escape(term)) + "s?"
    exact = any(letter.isupper() for letter in term[1:])
    return re.compile(rf"(?<![\w-]){flexible}(?![\w-])", 0 if exact else re.IGNORECASE)


def running_text(doctree) -> Iterator:
    """The text nodes of a page in which terms are looked for."""
    from docutils import nodes

    apart = (nodes.title, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.reference, nodes.raw, nodes.table,
             nodes.Admonition, nodes.admonition, nodes.citation_reference)  # fmt: skip
    for text in doctree.findall(nodes.Text):
        above, inside = text.parent, False
        while above is not None and not isinstance(above, apart) and not is_apart(above):
            inside = inside or isinstance(above, nodes.paragraph)
            above = above.parent
        if inside and above is None:
            yield text


def is_apart(node) -> bool:
    """Is a node an output of a cell, an exercise or a solution, or a link that is not resolved yet?"""
    kind = type(node).__name__
    return kind in ("exercise_node", "solution_node", "pending_xref") or bool({"cell_output", "cell_input"} & set(node.get("classes", ())))


def first_places(doctrees: Mapping[str, object], terms: Mapping[str, re.Pattern]) -> dict[str, str]:
    """Term -> the first page of ``doctrees``, in their order, that uses it."""
    found: dict[str, str] = {}
    for name, doctree in doctrees.items():
        texts = [text.astext() for text in running_text(doctree)]  # one by one: a link does not reach from one into the next
        found |= {term: name for term in terms.keys() - found.keys() if any(terms[term].search(text) for text in texts)}
    return found


def link(doctree, wanted: Mapping[str, tuple[str, str]], address: str) -> list[str]:
    """Make the first use of each wanted term a link to ``address``; returns the terms that were linked. Longer terms come first."""
    from docutils import nodes

    linked = []
    for term in sorted(wanted, key=len, reverse=True):
        target, meaning = wanted[term]
        for text in running_text(doctree):
            if not (match := pattern(term).search(text)):
                continue
            words = text.astext()
            uri = f"{address}#{target}"
            reference = nodes.reference("", match[0], internal=True, refuri=uri, reftitle=meaning, classes=["glossary-term"])
            parts = [nodes.Text(words[: match.start()]), reference, nodes.Text(words[match.end() :])]
            text.parent.replace(text, [part for part in parts if part.astext()])
            linked.append(term)
            break
    return linked


def chapters_in_order(env) -> list[str]:
    """The pages whose names begin with a number, which is their order."""
    return sorted(name for name in env.found_docs if re.match(r"\d\d_", name))


def find(app, env):
    """Once all pages were read: which term is first used where."""
    if GLOSSARY in env.found_docs:
        env.glossary_entries = entries(env.get_doctree(GLOSSARY))
        patterns = {term: pattern(term) for term in env.glossary_entries}
        env.glossary_places = first_places({name: env.get_doctree(name) for name in chapters_in_order(env)}, patterns)


def write(app, doctree, name):
    """Before a page is written."""
    places = getattr(app.env, "glossary_places", {})
    wanted = {term: app.env.glossary_entries[term] for term, place in places.items() if place == name}
    if wanted:
        link(doctree, wanted, app.builder.get_relative_uri(name, GLOSSARY))


def setup(app):
    app.connect("env-updated", find)
    app.connect("doctree-resolved", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
