"""Diagrams: every box and arrow is drawn, lines begin and end at borders, and what cannot be read is refused."""

from xml.etree import ElementTree

import pytest

from course_lib.diagrams import Arrow, Box, draw

ALT = "An image goes through a network and into a loss."
SVG = "{http://www.w3.org/2000/svg}"
BOXES = {
    "image": Box("noisy\nimage", (0, 0)),
    "network": Box("f < g", (1, 0), "network"),
    "teacher": Box("teacher", (1, 1), "frozen"),
    "loss": Box("loss", (2.5, 0.5), "loss"),
}


def parsed(arrows, boxes=BOXES):
    shown = draw(boxes, arrows, ALT)
    return ElementTree.fromstring(shown.content), shown


def ends(svg):
    """First and last corner of every line, and whether it has a tip."""
    found = []
    for line in svg.iter(f"{SVG}polyline"):
        corners = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        found.append((corners[0], corners[-1], line.get("marker-end") is not None))
    return found


def test_every_line_of_every_box_is_there():
    svg, shown = parsed([Arrow("image", "network", "z")])
    assert [text.text for text in svg.iter(f"{SVG}text")] == ["noisy", "image", "f < g", "teacher", "loss", "z"]
    page = shown._repr_mimebundle_()["text/html"]
    assert page.startswith('<img src="data:image/svg+xml;base64,') and f'alt="{ALT}"' in page


def test_everything_lies_within_the_picture():
    svg, _ = parsed([Arrow("teacher", "loss", via=[(-1, 3)])])
    left, top, width, height = map(float, svg.get("viewBox").split())
    rectangles = list(svg.iter(f"{SVG}rect"))[1:]  # the first is the ground
    assert len(rectangles) == len(BOXES)
    for one in rectangles:
        x, y, w, h = (float(one.get(name)) for name in ("x", "y", "width", "height"))
        assert left < x and x + w < left + width and top < y and y + h < top + height
    assert left < -132 and top + height > 3 * 66, "corners of arrows included"


def test_arrows_go_from_border_to_border():
    svg, _ = parsed([Arrow("image", "network"), Arrow("network", "teacher", dashed=True), Arrow("teacher", "loss", via=[(2.5, 1)])])
    across, down, round_the_corner = ends(svg)
    assert across == ((54, 0), (132 - 54, 0), True)
    assert down == ((132, 23), (132, 66 - 23), False), "a dashed line has no tip"
    assert round_the_corner == ((132 + 54, 66), (2.5 * 132, 33 + 23), True)


def test_kinds_look_different():
    kinds = ("data", "network", "frozen", "operation", "loss", "words")
    looks = set()
    for kind in kinds:
        svg, _ = parsed([], {"one": Box("one", (0, 0), kind)})
        box = list(svg.iter(f"{SVG}rect"))[1]
        looks.add(tuple(box.get(name) for name in ("fill", "stroke", "rx", "stroke-dasharray")))
    assert len(looks) == len(kinds)


@pytest.mark.parametrize(
    ("boxes", "arrows", "alt", "message"),
    [
        ({}, [], ALT, "there are no boxes"),
        (BOXES, [], "a diagram", r'alt = "a diagram" is too short'),
        ({"a": Box("a", (0, 0), "magic")}, [], ALT, 'box "a": kind = "magic", but it must be one of data, network'),
        ({"a": Box("a text of very many letters", (0, 0))}, [], ALT, 'box "a": its text does not fit'),
        ({"a": Box("one\ntwo\nthree\nfour", (0, 0))}, [], ALT, "break the line, or enlarge the box"),
        (BOXES, [Arrow("image", "los")], ALT, 'there is no box "los" among image, network'),
    ],
)
def test_what_cannot_be_drawn(boxes, arrows, alt, message):
    with pytest.raises(ValueError, match=message):
        draw(boxes, arrows, alt)
