"""Print the requirements of an extra of pyproject.toml: ``python tests/extras.py book``.

pip has no way to install an extra without the dependencies of the package itself, and the site needs no torch.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
print(*project["optional-dependencies"][sys.argv[1]])
