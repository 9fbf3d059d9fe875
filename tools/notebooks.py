"""Commit the edition without solutions to a branch of its own, from which Colab opens it: ``make notebooks``.

The branch has one commit, without history, so that the repository does not grow by every edition; the working tree and the other branches
stay as they are. Nothing is pushed: the last line says how.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pages
import student

ROOT = pages.BOOK.parent
BRANCH = student.downloads.BRANCH


class GitError(RuntimeError):
    """Git refused; the message has its words."""


def git(repository: Path, *arguments: str, given: str | None = None) -> str:
    """What git answers, in a repository.

    Raises:
        GitError: with what git says, if it fails.
    """
    answer = subprocess.run(["git", "-C", str(repository), *arguments], input=given, capture_output=True, text=True)
    if answer.returncode:
        raise GitError(f"git {arguments[0]}: {answer.stderr.strip() or answer.stdout.strip()}")
    return answer.stdout.strip()


def commit(folder: Path, repository: Path, branch: str = BRANCH) -> str:
    """Make the files of ``folder`` the only commit of a branch; returns its hash.

    Raises:
        GitError: if the branch is checked out, where its files would no longer be those of the branch, or if git refuses.
    """
    checked_out = git(repository, "worktree", "list", "--porcelain").splitlines()
    if f"branch refs/heads/{branch}" in checked_out:
        raise GitError(f"the branch {branch} is checked out, and would change under your hands: check out another one first")
    entries = [
        f"100644 blob {git(repository, 'hash-object', '-w', '--no-filters', str(path.resolve()))}\t{path.name}"
        for path in sorted(folder.iterdir()) if path.is_file()
    ]  # fmt: skip
    tree = git(repository, "mktree", given="\n".join(entries) + "\n")
    made = git(repository, "commit-tree", tree, "-m", "The chapters without solutions, for Colab")
    git(repository, "update-ref", f"refs/heads/{branch}", made)
    return made


def main() -> int:
    url = student.downloads.repository()
    if not student.downloads.colab(url, "a"):
        what = f"repository.url of _config.yml is {url!r}, and Colab opens notebooks from GitHub only."
        print(f"{what} Set it to https://github.com/OWNER/NAME first.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "student"
        try:
            written = student.write(folder, url)
            commit(folder, ROOT)
        except (ValueError, GitError) as reason:
            print(reason, file=sys.stderr)
            return 1
    print(f"{len(written)} notebooks are the branch {BRANCH}. To publish it: git push --force {url} {BRANCH}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
