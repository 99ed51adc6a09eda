"""Fetching PASCAL VOC: mirrors in turn, resumed, checked, unpacked without trusting the archive."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from ..errors import DataError, reason
from ..runtime.files import write_text
from ..runtime.locks import Locks
from ..runtime.safe_read import is_inside

TIMEOUT = 30  # seconds without an answer, after which the next mirror is tried
SAY_SECONDS = 10  # between lines of progress
CHUNK = 2**20
MAX_MEMBERS = 100_000  # VOC2012 has 40,000
_HOSTS = (
    "http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/",
    "https://thor.robots.ox.ac.uk/pascal/VOC/voc{year}/",
    "https://data.pjreddie.com/files/",
)


@dataclass(frozen=True)
class Archive:
    """A .tar file that is known to the last bit, so its size bounds what unpacking can write."""

    name: str
    sha1: str
    size: int  # bytes
    urls: tuple[str, ...]


def _voc(year: str, name: str, sha1: str, size: int) -> Archive:
    return Archive(name, sha1, size, tuple(host.format(year=year) + name for host in _HOSTS))


ARCHIVES = {
    ("2007", "trainval"): _voc(
        "2007",
        "VOCtrainval_06-Nov-2007.tar",
        "34ed68851bce2a36e2a223fa52c661d592c66b3c",
        460_032_000,
    ),
    ("2007", "test"): _voc(
        "2007",
        "VOCtest_06-Nov-2007.tar",
        "41a8d6e12baa5ab18ee7f8f8029b9e11805b4ef1",
        451_020_800,
    ),
    ("2012", "trainval"): _voc(
        "2012",
        "VOCtrainval_11-May-2012.tar",
        "4e443f8a2eca6b1dac8a6c57641b67dd40621a49",
        1_999_639_040,
    ),
}


# How many images the list of each has, by which data is known that was put there by hand.
IMAGES = {("2007", "trainval"): 5011, ("2007", "test"): 4952, ("2012", "trainval"): 11540}


def fetch_voc(folder: Path, year: str, kind: str, say: Callable[[str], None]) -> None:
    """Have VOC<year> below `folder`/VOCdevkit; what is there already is checked, not fetched.

    Args:
        kind: "trainval", or "test" (2007 only).
        say: told what is downloaded, and how it goes.
    Raises:
        DataError: no mirror answers with the right file, or it cannot be unpacked.
    """
    label, root = f"voc{year}-{kind}", folder / "VOCdevkit" / f"VOC{year}"
    if _manifest(folder, label).exists() or not _is_whole(root, kind, IMAGES[year, kind]):
        fetch(ARCHIVES[year, kind], folder, label, say)


def _is_whole(root: Path, kind: str, images: int) -> bool:
    """Whether every image of a list is there, with its annotation."""
    try:
        ids = (root / "ImageSets" / "Main" / f"{kind}.txt").read_text().split()
    except (OSError, ValueError):
        return False
    return len(ids) == images and all(
        (root / "JPEGImages" / f"{image}.jpg").exists()
        and (root / "Annotations" / f"{image}.xml").exists()
        for image in ids
    )


def _manifest(folder: Path, label: str) -> Path:
    return folder / f"{label}.json"


def fetch(archive: Archive, folder: Path, label: str, say: Callable[[str], None]) -> None:
    """Have the files of an archive in `folder`; `label`.json there lists them when all are."""
    with Locks(folder).claim(archive.sha1, wait=True):  # several processes may want it at once
        _fetch(archive, folder, label, say)


def _fetch(archive: Archive, folder: Path, label: str, say: Callable[[str], None]) -> None:
    manifest = _manifest(folder, label)
    missing = _missing(manifest, folder)
    if missing == 0:
        return
    if missing:
        say(f"{missing} files of {label} in {folder} are missing or have another size")
    say(f"downloading {label} to {folder} ({archive.size / 1e9:.1f} GB)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / archive.name
        download(archive, path, say)
        say(f"unpacking {path}")
        sizes = unpack(path, folder, archive.size)
        write_text(manifest, json.dumps(sizes))
        path.unlink()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"cannot unpack {label} in {folder}: {reason(error)}", _BY_HAND) from None


_BY_HAND = "download it by hand and give the folder with --data"


def _missing(manifest: Path, folder: Path) -> int | None:
    """How many files of a manifest are not there as they were; None without a manifest."""
    try:
        sizes = json.loads(manifest.read_text())
        return sum(not _has_size(folder / name, size) for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def download(archive: Archive, path: Path, say: Callable[[str], None]) -> None:
    """Have the archive at `path`, from the first mirror that gives the right bytes.

    What a broken connection left in `path`.part is gone on with.

    Raises:
        DataError: no mirror does.
    """
    if path.exists() and _sha1(path) == archive.sha1:
        return
    part = path.with_name(f"{path.name}.part")
    failures = []
    for url in archive.urls:
        try:
            _receive(url, part, archive.size, say)
        except (OSError, HTTPException, ValueError) as error:
            failures.append(f"{url}: {reason(error)}")
            say(f"  {failures[-1]}")
            continue
        if part.stat().st_size == archive.size and _sha1(part) == archive.sha1:
            os.replace(part, path)
            return
        failures.append(f"{url}: not the right file")
        say(f"  {failures[-1]}")
        part.unlink()
    raise DataError(f"cannot download {archive.name}: {failures[-1]}", _BY_HAND)


def _receive(url: str, part: Path, size: int, say: Callable[[str], None]) -> None:
    """Append to `part` what is missing of `size` bytes, and never more."""
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    headers = {"User-Agent": "frcnn", **({"Range": f"bytes={have}-"} if have else {})}
    with urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=TIMEOUT
    ) as answer:
        if have and answer.status != 206:  # it starts again from the beginning
            have = 0
        begun = said = time.monotonic()
        begun_with = have
        with part.open("ab" if have else "wb") as file:
            while chunk := answer.read(min(CHUNK, size - have + 1)):
                have += len(chunk)
                if have > size:
                    raise ValueError(f"sends more than {size} bytes")
                file.write(chunk)
                now = time.monotonic()
                if now - said > SAY_SECONDS:
                    said = now
                    rate = (have - begun_with) / (now - begun)
                    left = (size - have) / rate / 60
                    say(
                        f"  {have / 1e6:.0f} of {size / 1e6:.0f} MB, "
                        f"{rate / 1e6:.1f} MB/s, {left:.1f} min left"
                    )
    if have < size:
        raise ValueError(f"ends after {have} of {size} bytes")


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def unpack(path: Path, folder: Path, max_bytes: int) -> dict[str, int]:
    """Unpack plain files of a .tar into `folder`.

    All members are looked at before anything is written; files appear under their names when all
    of them are unpacked.

    Args:
        max_bytes: of all files together.
    Returns:
        The size of each file by its name.
    Raises:
        DataError: a member is a link or a device, lies outside the folder, or there is too much.
    """
    stage = folder / f".{path.name}.unpacked"
    shutil.rmtree(stage, ignore_errors=True)
    sizes: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as archive:  # no compression: VOC has none
            members = _checked(archive, path, max_bytes)
            for member in members:
                source = archive.extractfile(member)
                assert source is not None
                target = stage / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
                sizes[member.name] = member.size
        for name in sizes:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / name, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return sizes


def _checked(archive: tarfile.TarFile, path: Path, max_bytes: int) -> Sequence[tarfile.TarInfo]:
    """The plain files of an archive; the whole of it is refused for one bad member."""
    members, total, names = [], 0, set()
    for count, member in enumerate(archive, start=1):
        member.name = member.name.removeprefix("./")
        total += member.size
        if not (member.isfile() or member.isdir()) or member.issparse():
            raise DataError(f"{path}: {member.name!r} is no plain file", _BY_HAND)
        if member.name not in ("", ".") and not is_inside(member.name):
            raise DataError(f"{path}: {member.name!r} lies outside the folder", _BY_HAND)
        if total > max_bytes or count > MAX_MEMBERS:
            raise DataError(f"{path} holds more than {max_bytes} bytes or too many files", _BY_HAND)
        if member.isfile():
            if member.name in names:
                raise DataError(f"{path}: {member.name!r} is there twice", _BY_HAND)
            names.add(member.name)
            members.append(member)
    return members
