"""For the quiz: ``{quiz}`` makes a question whose answers open, and say whether they are right and why.

The title is the question. A line that begins with ``-`` is a wrong answer and one with ``+`` the right one; behind ``::`` stands why::

    ```{quiz} What is 6 · 7?
    - 41 :: One too few.
    + 42 :: Six sevens.
    ```

Answers are ``<details>``, so that they work by keyboard, and without JavaScript.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

VERDICTS = {"+": ("quiz-right", "Right. "), "-": ("quiz-wrong", "Not so. ")}


def answers(lines: Sequence[str]) -> list[tuple[str, str, str]]:
    """The answers of a question as ``(sign, answer, why)``.

    Raises:
        ValueError: unless every line is an answer with its reason, one is right, and one or more are wrong.
    """
    found = []
    for line in filter(str.strip, lines):
        parts = re.fullmatch(r"([+-]) +(.+?) +:: +(.+)", line.strip())
        if not parts:
            raise ValueError(f"{line.strip()!r} is no answer: write `- answer :: why`, or `+ answer :: why` for the right one")
        found.append(parts.groups())
    signs = "".join(sign for sign, _, _ in found)
    if signs.count("+") != 1 or "-" not in signs:
        raise ValueError(f"{signs.count('+')} right and {signs.count('-')} wrong answers: a question has one right answer, and wrong ones")
    return found


def setup(app):
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class Quiz(SphinxDirective):
        required_arguments = 1
        final_argument_whitespace = True
        has_content = True

        def run(self):
            try:
                options = answers(self.content)
            except ValueError as reason:
                raise self.error(str(reason)) from None

            def words(text):
                inline, messages = self.state.inline_text(text, self.lineno)
                return [*inline, *messages]

            def tag(text):
                return nodes.raw("", text, format="html")

            made = nodes.container(classes=["quiz"])
            made += nodes.paragraph("", "", *words(self.arguments[0]), classes=["quiz-question"])
            for sign, answer, why in options:
                kind, verdict = VERDICTS[sign]
                made += [tag(f'<details class="{kind}"><summary>'), *words(answer), tag("</summary>")]
                made += nodes.paragraph("", "", nodes.strong("", verdict), *words(why))
                made += tag("</details>")
            return [made]

    app.add_directive("quiz", Quiz)
    return {"parallel_read_safe": True}
