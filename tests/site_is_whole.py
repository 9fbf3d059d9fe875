"""Fail unless every page of the table of contents was built: a build that writes nothing must not look like a success."""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SMALLEST = 5_000  # bytes; an empty page of the theme has more than this


def pages(entry) -> list[str]:
    """All files named in the table of contents, without their endings."""
    if isinstance(entry, dict):
        found = [Path(entry[key]).with_suffix("") if key == "file" else entry[key] for key in ("root", "file") if key in entry]
        return [str(f) for f in found] + [p for key in ("parts", "chapters", "sections") for p in pages(entry.get(key, []))]
    return [page for part in entry for page in pages(part)]


def main() -> int:
    site = ROOT / "_build" / "html"
    expected = pages(yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")))
    missing = [p for p in expected if not (site / f"{p}.html").is_file() or (site / f"{p}.html").stat().st_size < SMALLEST]
    if missing:
        print(f"the site lacks {', '.join(missing)}", file=sys.stderr)
        return 1
    print(f"{len(expected)} pages in {site}")
    manifest = site / "lab" / "manifest.js"
    if manifest.is_file() and '"missing": true' in manifest.read_text(encoding="utf-8"):
        print("TensorFlow.js could not be fetched, so that the noise lab shows stored pictures: build again with network")
    return 0


if __name__ == "__main__":
    sys.exit(main())
