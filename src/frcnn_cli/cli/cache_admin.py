"""The options --status, --verify and --clean of `frcnn propose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ..errors import DataError
from .console import ProgressLine, dumps, stderr, stdout

if TYPE_CHECKING:
    from ..proposers.cache import ProposalSource


def administer_cache(
    source: ProposalSource,
    paths: list[Path],
    verify: bool,
    clean: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Show, verify or clean the proposal cache.

    Args:
        source: gives the cache. paths: images that must have entries for --verify to succeed.
        verify, clean, json, quiet: the options of these names.
    Raises:
        DataError: --verify found a damaged entry, or an image without proposals.
    """
    from ..data.images import read_bytes
    from ..proposers.cache_admin import clean_up, damaged, leftovers, status

    cache = source.folder.parent
    folders = status(cache)
    answer: dict[str, Any] = {
        "cache": str(cache),
        "methods": [
            {
                "method": each.name,
                "folder": each.path.name,
                "in_use": each.current,
                "entries": each.entries,
                "bytes": each.size,
            }
            for each in folders
        ],
    }
    bad: list[Path] = []
    missing: list[Path] = []
    if verify or clean:
        total = sum(each.entries for each in folders)
        with ProgressLine("verifying", total, "entries", quiet) as progress:
            bad = list(damaged(cache, progress.advance))
        answer |= {"damaged": len(bad), "leftovers": len(leftovers(cache))}
        missing = [path for path in paths if source.cached(read_bytes(path)) is None]
        answer |= {"images": len(paths), "missing": len(missing)}
    if clean:
        files, size = clean_up(cache, bad)
        answer |= {"removed": files, "freed_bytes": size}
    if json:
        print(dumps(answer))
    else:
        stdout.print(_table(answer))
        stdout.print(_summary(answer, clean), soft_wrap=True)
    for path in [*bad, *missing][:20]:
        stderr.print(f"  {'damaged' if path in bad else 'no entry for'}: {path}")
    if clean and any(not each.current for each in folders):
        message = "folders that this version does not use can be deleted by hand, if nothing else "
        stderr.print(message + "uses them", soft_wrap=True)
    if verify and not clean and (bad or missing):
        raise DataError(
            f"{len(bad)} entries are damaged, {len(missing)} images have no entry",
            "run frcnn propose for the images again; --clean removes the damaged entries",
        )


def _table(answer: dict[str, Any]) -> Table:
    table = Table("method", "folder", "entries", "MB", "note")
    for row in answer["methods"]:
        note = "" if row["in_use"] else "not used by this version"
        size = f"{row['bytes'] / 1e6:.1f}"
        table.add_row(row["method"], row["folder"], str(row["entries"]), size, note)
    return table


def _summary(answer: dict[str, Any], clean: bool) -> str:
    parts = [f"in {answer['cache']}"]
    if "damaged" in answer:
        parts.append(f"{answer['damaged']} damaged")
        parts.append(f"{answer['leftovers']} half-written")
    if answer.get("images"):
        parts.append(f"{answer['missing']} of {answer['images']} images without proposals")
    if clean:
        parts.append(f"removed {answer['removed']} files, {answer['freed_bytes'] / 1e6:.1f} MB")
    return "; ".join(parts)
