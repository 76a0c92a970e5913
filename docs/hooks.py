"""For the pages: README is the first of them, and links to files beside docs/ are shown as the files' names."""

import re
from pathlib import Path

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: dict) -> Files:
    """Adds README.md as index.md."""
    text = (Path(config["docs_dir"]).parent / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: dict, files: Files) -> str:
    """Links of README point into docs/; other links that leave it become plain names."""
    docs = Path(config["docs_dir"])
    folder = docs.parent if page.file.src_uri == "index.md" else (docs / page.file.src_uri).parent

    def replaced(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if "://" in target or target.startswith("/"):
            return link[0]
        place = (folder / target).resolve()
        if place == docs.parent / "README.md":
            return f"[{text}]({_relative('index.md', page)}{anchor})"
        inside = place.is_relative_to(docs) and files.get_file_from_path(str(place.relative_to(docs))) is not None
        return f"[{text}]({_relative(str(place.relative_to(docs)), page)}{anchor})" if inside else f"`{text.strip('`')}`"

    return _LINK.sub(replaced, markdown)


def _relative(target: str, page: Page) -> str:
    return "../" * page.file.src_uri.count("/") + target
