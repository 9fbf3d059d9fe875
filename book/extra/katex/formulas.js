/* Formulas, by KaTeX: as HTML for the eye and as MathML for screen readers, none of which takes a press of Tab. */
const typeset = (element) => {
  for (const node of element.childNodes) { // beside the formula there may be its number
    const found = node.nodeType === Node.TEXT_NODE && node.data.match(/^\s*\\([([])([^]*)\\[)\]]\s*$/);
    if (!found) continue;
    const drawn = document.createElement("span");
    katex.render(found[2], drawn, {displayMode: found[1] === "[", throwOnError: false});
    node.replaceWith(drawn);
    if (element.scrollWidth > element.clientWidth + 1 && element.matches("div")) element.tabIndex = 0; // the keyboard moves what is too wide
    return;
  }
};
document.querySelectorAll(".math").forEach(typeset);
