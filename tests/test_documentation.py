"""What the documentation names exists: links, commands and their options, paths, versions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import frcnn_cli
from frcnn_cli.cli.app import app
from frcnn_cli.runtime.paths import DEFAULT_WEIGHTS

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "weights").glob("*.md")),
    *sorted((ROOT / "proposals").glob("*.md")),
]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)


def anchors(page: Path) -> set[str]:
    """The names under which the headings of a page can be linked to."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_a_wrong_link_would_be_noticed() -> None:
    assert "vgg16-voc07" in anchors(ROOT / "weights" / "README.md")
    assert "on-voc2007-val" in anchors(ROOT / "weights" / "README.md")
    assert "where-it-goes" not in anchors(ROOT / "README.md")


def code_lines(text: str) -> Iterator[tuple[str, bool]]:
    """Lines of code blocks (True), and code within the text (False), which may be incomplete."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.M):
        yield from ((line, True) for line in block.splitlines())
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M)
    yield from ((code, False) for code in re.findall(r"`([^`\n]+)`", plain))


def commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """The words behind `frcnn` of every command line on a page that has any."""
    for line, complete in code_lines(page.read_text(encoding="utf-8")):
        for part in line.split(" | "):
            found = re.match(r"(?:\$ )?(?:frcnn|torchrun .*-m frcnn_cli) (?=[a-z-])(.+)", part)
            if found:
                yield shlex.split(found[1], comments=True), complete


def parse(words: list[str], complete: bool = True) -> dict[str, Any]:
    """The options and arguments of a command line, as text.

    Args:
        complete: the line can be typed as it is; otherwise only its options must exist.
    Raises:
        Exception: of Typer's parser: an unknown option, or one that lacks its value.
    """
    command: Any = typer.main.get_command(app)
    words = [word for word in words if word != "…"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    context = command.context_class(command)
    known = {"--help", *(name for each in command.params for name in each.opts)}
    known |= {name for each in command.params for name in each.secondary_opts}
    if not complete:
        for word in words:
            assert not word.startswith("-") or word in known or word == "-", word
        return {}
    if words[-1:] == ["--resume"]:  # which may stand alone
        words = [*words, "latest"]
    values, left, _ = command.make_parser(context).parse_args(list(words))
    assert not left, f"not understood: {left}"
    return dict(values)


@pages
def test_commands_are_understood(page: Path) -> None:
    for words, complete in commands(page):
        assert parse(words, complete) is not None, words


def test_a_wrong_command_would_be_noticed() -> None:
    assert parse(shlex.split("detect a.jpg --score 0.7 --json"))["score"] == "0.7"
    for wrong in ("detect a.jpg --scroe 0.7", "detect a.jpg --score", "train voc2007 voc2012"):
        with pytest.raises(Exception, match=r"scroe|score|voc2012"):
            parse(shlex.split(wrong))
    for complete in (True, False):
        with pytest.raises(AssertionError, match="deetct"):
            parse(["deetct", "a.jpg"], complete)
        with pytest.raises(Exception, match="scroe"):
            parse(["detect", "--scroe"], complete)


def test_the_pages_have_commands() -> None:
    found = {words[0] for page in PAGES for words, _ in commands(page)}
    assert found >= {"propose", "train", "compress", "detect", "weights", "eval"}


@pages
def test_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    pattern = r"(?<![\w/.])(?:src/frcnn_cli|tests|benchmarks|examples|docs)/[\w./-]*\w"
    for path in re.findall(pattern, text):
        assert (ROOT / path).exists(), path


@pages
def test_benchmarks_have_the_options_that_are_named(page: Path) -> None:
    for line, _ in code_lines(page.read_text(encoding="utf-8")):
        found = re.match(r"python (benchmarks/[\w/]+\.py)(.*)", line)
        if found:
            script = (ROOT / found[1]).read_text(encoding="utf-8")
            for option in re.findall(r"(--[a-z-]+)", found[2]):
                assert f'"{option}"' in script, (line, option)


@pages
def test_targets_of_make_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    for line, _ in code_lines(page.read_text(encoding="utf-8")):
        found = re.match(r"(?:[A-Z_]+=\S+ )*make ([a-z-]+)", line)
        assert not found or found[1] in targets, line


def test_names_in_the_architecture_exist() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in Path(frcnn_cli.__file__).parent.rglob("*.py")
    )
    named = re.findall(r"`([A-Za-z_][\w.]*)`", prose(ROOT / "docs" / "architecture.md"))
    known = {"frcnn", "voc2007", "config", "structures", "errors", "ops", "format"}
    assert len(set(named) - known) > 30
    for name in set(named) - known:
        last = re.escape(name.split(".")[-1])
        defined = rf"(?:def |class ){last}\b|^ *{last}\b.*[:=]|^ *\"{last}\":"
        assert re.search(defined, source, flags=re.M), name


def test_the_documented_types_have_these_fields() -> None:
    from frcnn_cli import structures

    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## Types")[2].partition("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, flags=re.M)
    assert len(rows) == 8
    for name, content in rows:
        fields = getattr(structures, name).__dataclass_fields__
        for field in re.findall(r"(?:^|, |; )([a-z_]+)(?= [A-Z]|,|;|$)", content):
            assert field in fields, (name, field)


def test_the_version_is_named() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert str(citation["version"]) == frcnn_cli.__version__
    released = re.search(
        rf"^## \[{re.escape(frcnn_cli.__version__)}\] - ([\d-]+)$", changelog, flags=re.M
    )
    assert released
    assert released[1] == str(citation["date-released"])


def test_the_default_weights_are_named() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    assert f"`eval` and `detect` take `{DEFAULT_WEIGHTS}`" in page


def test_the_citation_has_what_its_format_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for entry in (citation, *citation["references"]):
        assert entry["title"]
        assert entry["authors"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert [entry["doi"] for entry in citation["references"]] == ["10.1109/ICCV.2015.169"]


def test_type_information_is_shipped() -> None:
    assert (Path(frcnn_cli.__file__).parent / "py.typed").is_file()


def test_the_tests_of_the_immunity_table_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "security.md").read_text())
    assert len(named) >= 15
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"
