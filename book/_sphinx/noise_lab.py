"""For the noise lab, its panels and the gallery lab: what they load on a click, as scripts, and the stored frames of another page.

A page that was opened as a file may load scripts but no other files. So each asset (TensorFlow.js, its WebAssembly and its WebGL, the
worker, the weights as they are shipped, photos) becomes a script that hands it over, compressed and in base64.

TensorFlow.js comes from npm's registry, by version and hash, into a cache. Where there is no network the site is built all the same:
its manifest then says why there is no TensorFlow.js, and the page says that it shows stored frames.

A panel is the lab in small within a chapter. There it is a ``div`` of the classes ``noise-panel`` and its kind, a key of ``PANELS``::

    :::{div} noise-panel told
    What to look at, with a link to [the noise lab](noise_lab.md).
    :::

JupyterLab knows that directive too, and shows its text.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import io
import json
import os
import tarfile
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve()
SOURCES = HERE.parents[1] / "noise_lab"
CACHE = HERE.parents[2] / ".vendored"
REGISTRY = "https://registry.npmjs.org"
PATIENCE = 20  # seconds without a byte from the registry
STATIC = ("engine.js", "picture.js", "controls.js", "page.js", "page.css")  # what a page with a noise lab loads at once
GALLERY = "gallery.js"  # what the gallery lab loads in place of picture.js and page.js
PANELS = {  # kind -> what page.js makes of it, see WHOLE there; no kind has all that the lab has
    "removed": {"parts": [], "sigma": 25, "told": 25, "left": "noisy", "right": "removed"},
    "told": {"parts": ["paint"], "sigma": 25, "told": 50, "left": "denoised", "right": "map"},
    "squares": {"parts": ["squares"], "sigma": 25, "told": 25, "left": "denoised", "right": "removed"},
}
ASK = "Run FFDNet here"
NETWORKS = {"gray": "ffdnet", "colour": "cffdnet"}  # what the page calls them -> recipes whose weights are shipped
EMBEDDER = ("triplet_small", "quick")  # recipe and preset


class VendorError(RuntimeError):
    """A package that cannot be had; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Package:
    """A package of npm's registry, as npm itself pins one."""

    name: str
    version: str
    sha512: str  # base64, what npm calls integrity
    files: Mapping[str, str]  # name of the asset -> path in the tarball

    @property
    def tarball(self) -> str:
        """Name of the file."""
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"

    @property
    def address(self) -> str:
        """Where it lies: in npm's registry, or the one that ``NPM_CONFIG_REGISTRY`` names."""
        registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
        return f"{registry}/{self.name}/-/{self.tarball}"


TENSORFLOW = (
    Package(
        "@tensorflow/tfjs-core", "4.22.0",
        "LEkOyzbknKFoWUwfkr59vSB68DMJ4cjwwHgicXN0DUi3a0Vh1Er3JQqCI1Hl86GGZQvY8ezVrtDIvqR1ZFW55A==",
        {"tf-core": "package/dist/tf-core.es2017.min.js"},
    ),
    Package(
        "@tensorflow/tfjs-backend-wasm", "4.22.0",
        "/IYhReRIp4jg/wYW0OwbbJZG8ON87mbz0PgkiP3CdcACRSvUN0h8rvC0O3YcDtkTQtFWF/tcXq/KlVDyV49wmA==",
        {"tf-wasm": "package/dist/tf-backend-wasm.es2017.min.js", "wasm": "package/dist/tfjs-backend-wasm-simd.wasm"},
    ),
    Package(
        "@tensorflow/tfjs-backend-webgl", "4.22.0",
        "H535XtZWnWgNwSzv538czjVlbJebDl5QTMOth4RXr2p/kJ1qSIXE0vZvEtO+5EC9b00SvhplECny2yDewQb/Yg==",
        {"tf-webgl": "package/dist/tf-backend-webgl.es2017.min.js"},
    ),
)  # fmt: skip
NOTICE = "TensorFlow.js {version}, Copyright Google LLC, Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0"


def tarball(package: Package, cache: Path = CACHE) -> bytes:
    """The tarball of a package: from the cache, or from the registry and then kept there.

    Raises:
        VendorError: where the registry cannot be reached, or what it sends is not what is pinned.
    """
    from course_lib import files

    kept = cache / package.tarball
    if kept.is_file() and matches(content := kept.read_bytes(), package):
        return content
    try:
        with urllib.request.urlopen(package.address, timeout=PATIENCE) as answer:
            content = answer.read()
    except OSError as error:
        raise VendorError(
            f"{package.address} cannot be fetched ({error}): build again with network, or put the file into {kept.parent}"
        ) from error
    if not matches(content, package):
        raise VendorError(f"{package.address} has another SHA-512 than the one that is pinned: it was not used")
    files.write(kept, content)
    return content


def matches(content: bytes, package: Package) -> bool:
    """Has a tarball the hash that is pinned?"""
    return base64.b64encode(hashlib.sha512(content).digest()).decode() == package.sha512


def unpacked(package: Package, cache: Path = CACHE) -> dict[str, bytes]:
    """The files of a package, by the names of the assets; errors as :func:`tarball`."""
    with tarfile.open(fileobj=io.BytesIO(tarball(package, cache))) as archive:
        return {name: archive.extractfile(path).read() for name, path in package.files.items()}


def tensorflow(cache: Path = CACHE) -> dict[str, bytes]:
    """The files of TensorFlow.js; errors as :func:`tarball`."""
    return {name: content for package in TENSORFLOW for name, content in unpacked(package, cache).items()}


def shipped(recipe: str, preset: str | None = None) -> bytes:
    """The weights file of a record, the best one beside the paper unless a preset is named, as it is on the disk.

    Raises:
        ValueError: if it is not the file of the record.
    """
    from course_lib import project, results

    record = results.read(recipe, preset)["weights"]
    file = project.home() / "data" / "weights" / record["file"]
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise ValueError(f"{file} is truncated, altered or of another run: {project.restoring(file)}.")
    return content


def ours() -> dict[str, bytes]:
    """The worker, the weights of the networks, and the photos."""
    found = {"worker": (SOURCES / "worker.js").read_bytes()}
    found |= {f"weights-{name}": shipped(recipe) for name, recipe in NETWORKS.items()} | {"weights-embedder": shipped(*EMBEDDER)}
    return found | {f"photo-{photo.stem}": photo.read_bytes() for photo in sorted(SOURCES.glob("*.webp"))}


def script(name: str, content: bytes, notice: str = "") -> str:
    """A script that hands an asset over."""
    coded = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return (f"/* {notice} */\n" if notice else "") + f'noiseLabAsset("{name}", "{coded}");\n'


def write(folder: Path, cache: Path = CACHE) -> str:
    """Write all that the page loads into ``folder``; returns why there is no TensorFlow.js, or an empty text."""
    folder.mkdir(parents=True, exist_ok=True)
    notice = NOTICE.format(version=TENSORFLOW[0].version)
    scripts = {name: script(name, content) for name, content in ours().items()}
    why = ""
    try:
        scripts |= {name: script(name, content, notice) for name, content in tensorflow(cache).items()}
    except VendorError as error:
        why = str(error)
    for name, text in scripts.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    sizes = {name: len(text) for name, text in scripts.items()}
    manifest = {"missing": bool(why), "sizes": sizes, "photos": sorted(n.removeprefix("photo-") for n in sizes if n.startswith("photo-"))}
    (folder / "manifest.js").write_text(f"const noiseLabManifest = {json.dumps(manifest)};\n", encoding="utf-8")
    for name in (*STATIC, GALLERY):
        (folder / name).write_bytes((SOURCES / name).read_bytes())
    return why


def stored_lab(chapter: Path, kind: str) -> str:
    """The HTML of the first lab of a kind among a chapter's stored outputs.

    Raises:
        LookupError: if there is none.
    """
    for cell in json.loads(chapter.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            found = "".join(output.get("data", {}).get("text/html", ""))
            if f'class="lab {kind}"' in found:
                return found
    raise LookupError(f"{chapter.name} has no stored output with a {kind}: execute it.")


def page_scripts() -> str:
    """The HTML by which a page loads what its labs need before a click, to stand behind them."""
    links = [f'<link rel="stylesheet" href="lab/{name}">' for name in STATIC if name.endswith(".css")]
    return "".join(links) + "".join(f'<script src="lab/{name}"></script>' for name in ("manifest.js", *STATIC) if name.endswith(".js"))


def panel(classes: Iterable[str]) -> str:
    """The opening tag of a panel with these classes, one of which is its kind.

    Raises:
        ValueError: if none of them is a kind, or several are.
    """
    kinds = [name for name in classes if name in PANELS]
    if len(kinds) != 1:
        raise ValueError(f"a noise-panel of the classes {', '.join(classes)}: one of {', '.join(PANELS)} is needed.")
    options = html.escape(json.dumps({**PANELS[kinds[0]], "ask": ASK}), quote=True)
    return f'<div class="noise-lab-here noise-panel" data-lab="{options}">'


def enliven_panels(app, doctree):
    """Make labs of the panels of a page, and load once what they need."""
    from docutils import nodes

    found = [node for node in doctree.findall(nodes.container) if "noise-panel" in node["classes"]]
    for node in found:
        opening = nodes.raw("", panel(node["classes"]), format="html")
        closing = nodes.raw("", f"</div>{page_scripts() if node is found[-1] else ''}", format="html")
        at = node.parent.index(node)
        node.parent[at : at + 1] = [opening, *node.children, closing]  # replace_self would hand its classes to the first


def write_all(app, exception):
    """Beside the pages, once they are written."""
    if exception or app.builder.name != "html":
        return
    from sphinx.ext.autodoc.mock import mock
    from sphinx.util import logging

    with mock(app.config.autodoc_mock_imports):
        why = write(Path(app.outdir) / "lab")
    if why:
        # no warning: the site is whole without, and `make book` works without network
        logging.getLogger(__name__).info("the noise lab shows stored frames, for want of TensorFlow.js: %s", why)


def setup(app):
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class StoredLab(SphinxDirective):
        """``{stored-lab} CHAPTER KIND``: the first lab of a kind that a chapter's stored outputs have, alive on this page too."""

        required_arguments = 2

        def run(self):
            name, kind = self.arguments
            chapter = Path(self.env.srcdir) / f"{name}.ipynb"
            self.env.note_dependency(str(chapter))
            return [nodes.raw("", f'<div class="stored-lab">{stored_lab(chapter, kind)}</div>', format="html")]

    app.add_directive("stored-lab", StoredLab)
    app.connect("doctree-read", enliven_panels)
    app.connect("build-finished", write_all)
    return {"parallel_read_safe": True}
