/* The page of results: chapters first, then the library, each with the place that was found. In place of Sphinx's own way, which fetches
   every page that it found in full, and shows no excerpt where the site was opened as files. Sphinx finds; this shows. */
{
  const PLACE = 240; // characters of an excerpt
  const SENTENCE = 60; // characters that are no longer a heading of a table

  const plain = (html) => new DOMParser().parseFromString(html, "text/html").body.textContent.replace(/\\[()]/g, "");

  const isLibrary = ([page, , , description]) => page.startsWith("api/") || Boolean(description);

  const paragraphsOf = ([page, , anchor]) => {
    const sections = window.searchTexts[page] ?? {};
    const own = anchor ? sections[anchor.slice(1)] : undefined;
    return own?.length ? own : Object.values(sections).flat();
  };

  const countIn = (text, words) => words.filter((word) => text.toLowerCase().includes(word)).length;

  /* Sphinx gives all pages that have a word the same score: of those the one comes first that has it in more paragraphs. */
  const byScoreAndUse = (results, words) => {
    const use = new Map(results.map((result) => [result, paragraphsOf(result).filter((text) => countIn(text, words)).length]));
    return results.sort((a, b) => b[4] - a[4] || use.get(b) - use.get(a));
  };

  /* Of some paragraphs the one that has most of the words, and of those rather a whole sentence than a cell of a table; cut around a word. */
  const excerptOf = (paragraphs, words) => {
    const worth = paragraphs.map((text) => 1000 * countIn(text, words) + Math.min(text.length, SENTENCE));
    const text = paragraphs[worth.indexOf(Math.max(...worth))] ?? "";
    const found = words.map((word) => text.toLowerCase().indexOf(word)).filter((at) => at >= 0);
    let from = Math.max(0, (found.length ? Math.min(...found) : 0) - PLACE / 3);
    if (text.length <= PLACE || text.length - from < PLACE) from = Math.max(0, text.length - PLACE);
    if (from > 0) from = text.indexOf(" ", from) + 1;
    let to = Math.min(text.length, from + PLACE);
    if (to < text.length) to = Math.max(text.lastIndexOf(" ", to), from + 1);
    return `${from > 0 ? "… " : ""}${text.slice(from, to)}${to < text.length ? " …" : ""}`;
  };

  /* Text as nodes, the words in it marked. */
  const marked = (text, words) => {
    if (!words.length) return [text];
    const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+\-?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "gi");
    return text.split(pattern).map((part, i) => {
      if (i % 2 === 0) return part;
      const mark = document.createElement("mark");
      mark.textContent = part;
      return mark;
    });
  };

  const shownResult = (result, words) => {
    const [page, title, anchor, description] = result;
    const item = document.createElement("li");
    const link = item.appendChild(document.createElement("a"));
    link.href = `${page}${DOCUMENTATION_OPTIONS.LINK_SUFFIX}${anchor}`;
    link.textContent = plain(title);
    if (description) item.append(` (${plain(description)})`);
    const excerpt = excerptOf(paragraphsOf(result), words);
    if (excerpt) {
      const place = item.appendChild(document.createElement("p"));
      place.className = "context";
      place.append(...marked(excerpt, words));
    }
    return item;
  };

  const listed = (heading, results, words) => {
    if (!results.length) return [];
    const [title, list] = [document.createElement("h3"), document.createElement("ul")];
    title.textContent = heading;
    list.className = "search";
    list.append(...results.map((result) => shownResult(result, words)));
    return [title, list];
  };

  Search.query = (query) => {
    const [asked, terms, excluded, highlighted, objects] = Search._parseQuery(query);
    const results = Search._performSearch(asked, terms, excluded, highlighted, objects).reverse(); // Sphinx has the best one last
    const words = [...new Set([...highlighted, ...terms])].filter((word) => word.length > 1).sort((a, b) => b.length - a.length);
    const ordered = byScoreAndUse(results, words);
    const [chapters, library] = [ordered.filter((result) => !isLibrary(result)), ordered.filter(isLibrary)];
    const output = document.createElement("div");
    output.append(...listed("Chapters and pages", chapters, words), ...listed("The library", library, words));
    Search.output.replaceWith(output);
    Search.output = output;
    Search.status.setAttribute("role", "status");
    _finishSearch(results.length);
  };

  /* The texts are loaded where something is looked for, before Sphinx's index, which answers as soon as it is there. */
  const setIndex = Search.setIndex;
  Search.setIndex = (index) => {
    if (!new URLSearchParams(window.location.search).get("q")) return setIndex(index);
    const texts = document.createElement("script");
    texts.src = "_static/search/texts.js";
    texts.onload = () => setIndex(index);
    texts.onerror = () => {
      window.searchTexts = {};
      setIndex(index);
    };
    document.head.append(texts);
  };
  if (Search.hasIndex()) {
    const index = Search._index;
    Search._index = null;
    Search.setIndex(index);
  }
}
