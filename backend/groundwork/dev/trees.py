"""Trees of a git repository, read and made without touching the files in the working folder."""

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from groundwork.dev.repository import git


def files_in(commit: str, folder: str = "") -> dict[str, str]:
    """Each file below the folder, and the hash of its contents."""
    listed = git("ls-tree", "-r", "-z", "--full-tree", commit, *([folder] if folder else []))
    entries = (entry.split("\t", 1) for entry in listed.split("\0") if entry)
    return {path: described.split()[2] for described, path in entries}


def text_in(commit: str, path: str) -> str | None:
    """A file's text; None when the commit has no such file."""
    return git("show", f"{commit}:{path}") if path in files_in(commit, path) else None


def blob_of(text: str) -> str:
    """Store the text; returns its hash."""
    return git("hash-object", "-w", "--stdin", stdin=text)


def make_tree(
    commit: str, *, remove: Collection[str] = (), folders: Mapping[str, str] = {}, blobs: Mapping[str, str] = {}
) -> str:
    """Make a changed copy of a tree; returns its hash.

    Args:
        commit: a commit or a tree.
        remove: files to leave out.
        folders: folders to add, each with the commit and the path that it is taken from, such as `HEAD:docs`.
        blobs: files to add, each with the hash of its contents.
    """
    with tempfile.TemporaryDirectory() as directory:
        index = Path(directory) / "index"
        git("read-tree", commit, index=index)
        git(
            "update-index",
            "--force-remove",
            "-z",
            "--stdin",
            stdin="".join(f"{path}\0" for path in remove),
            index=index,
        )
        for path, source in folders.items():
            git("read-tree", f"--prefix={path}/", source, index=index)
        for path, blob in blobs.items():
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", index=index)
        return git("write-tree", index=index)
