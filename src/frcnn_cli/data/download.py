"""Downloading PASCAL VOC: from mirrors in turn, resumed, checked, and safely unpacked."""

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

from ..errors import DataError, SplitError, reason, unknown_name
from ..runtime.files import write_text
from ..runtime.locks import Locks
from ..runtime.paths import home
from ..runtime.safe_read import is_inside, read_json
from .splits import ALL
from .voc import read_image_ids

TIMEOUT = 30  # seconds without an answer, after which the next mirror is tried
PROGRESS_SECONDS = 10  # between messages
CHUNK = 2**20
MAX_MEMBERS = 100_000  # VOC2012 has 40,000
_HOSTS = (
    "http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/",
    "https://thor.robots.ox.ac.uk/pascal/VOC/voc{year}/",
    "https://data.pjreddie.com/files/",
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A .tar file of known content, so that its size bounds what unpacking can write."""

    name: str
    sha1: str
    size: int  # bytes
    urls: tuple[str, ...]


def _voc(year: str, name: str, sha1: str, size: int) -> Archive:
    urls = tuple(host.format(year=year) + name for host in _HOSTS)
    return Archive(name=name, sha1=sha1, size=size, urls=urls)


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

# Number of images in each list; it shows whether data that the user put there is complete.
IMAGES = {("2007", "trainval"): 5011, ("2007", "test"): 4952, ("2012", "trainval"): 11540}
VOC_SPLITS = ("train", "val", "trainval", "test")
_BY_HAND = "download it by hand and give the folder with --data"


def fetch_split(
    year: str,
    split: str | None,
    default_splits: tuple[str, ...],
    on_message: Callable[[str], None],
) -> tuple[Path, str]:
    """Download what a split of a VOC challenge needs, unless it is there.

    Args:
        split: None for the first public one of `default_splits`. on_message: see `fetch_voc`.
    Returns:
        The folder and the split.
    Raises:
        ConfigError: there is no such split. SplitError: its annotations are not public.
        DataError: see `fetch_voc`.
    """
    public = [each for each in default_splits if (year, each) != ("2012", "test")]
    split = split or next(iter(public), ALL)
    if (year, split) == ("2012", "test"):
        raise SplitError("VOC2012's test images have no public annotations", "take val")
    if split not in VOC_SPLITS:  # checked before gigabytes are downloaded
        raise unknown_name("split", split, VOC_SPLITS)
    folder = home() / "data"
    fetch_voc(folder, year, "test" if split == "test" else "trainval", on_message)
    return folder, split


def fetch_voc(folder: Path, year: str, split: str, on_message: Callable[[str], None]) -> None:
    """Download VOC<year> into `folder`/VOCdevkit, unless it is complete there already.

    Args:
        split: "trainval", or "test" (2007 only).
        on_message: called with a line on what is downloaded, and then on the progress.
    Raises:
        DataError: no mirror has the right file, or it cannot be unpacked.
    """
    label, root = f"voc{year}-{split}", folder / "VOCdevkit" / f"VOC{year}"
    if _manifest(folder, label).exists() or not _is_complete(root, split, IMAGES[year, split]):
        fetch(ARCHIVES[year, split], folder, label, on_message)


def _is_complete(root: Path, split: str, count: int) -> bool:
    """Whether a split lists `count` images, and each has its file and its annotation."""
    try:
        ids = read_image_ids(root / "ImageSets" / "Main" / f"{split}.txt")
    except DataError:
        return False
    return len(ids) == count and all(
        (root / "JPEGImages" / f"{image_id}.jpg").exists()
        and (root / "Annotations" / f"{image_id}.xml").exists()
        for image_id in ids
    )


def _manifest(folder: Path, label: str) -> Path:
    """The file that lists the unpacked files of an archive with their sizes."""
    return folder / f"{label}.json"


def fetch(archive: Archive, folder: Path, label: str, on_message: Callable[[str], None]) -> None:
    """Download and unpack an archive into `folder`, unless its files are there already.

    Args:
        label: the name of the archive in messages and of its manifest, `folder`/`label`.json.
        on_message: see `fetch_voc`.
    Raises:
        DataError: see `fetch_voc`.
    """
    with Locks(folder).hold(archive.sha1, wait=True):  # another process may be downloading it
        _fetch(archive, folder, label, on_message)


def _fetch(archive: Archive, folder: Path, label: str, on_message: Callable[[str], None]) -> None:
    manifest = _manifest(folder, label)
    missing = _count_missing(manifest, folder)
    if missing == 0:
        return
    if missing:
        on_message(f"{missing} files of {label} in {folder} are missing or have another size")
    on_message(f"downloading {label} to {folder} ({archive.size / 1e9:.1f} GB)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / archive.name
        download(archive, path, on_message)
        on_message(f"unpacking {path}")
        sizes = unpack(path, folder, archive.size)
        write_text(manifest, json.dumps(sizes))
        path.unlink()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"cannot unpack {label} in {folder}: {reason(error)}", _BY_HAND) from None


def _count_missing(manifest: Path, folder: Path) -> int | None:
    """How many files of a manifest are missing or have another size; None without a manifest."""
    try:
        sizes = read_json(manifest, _BY_HAND)
        return sum(not _has_size(folder / name, size) for name, size in sizes.items())
    except (DataError, OSError, ValueError, AttributeError, TypeError):
        return None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def download(archive: Archive, path: Path, on_message: Callable[[str], None]) -> None:
    """Download an archive to `path`, unless it is there already; mirrors are tried in turn.

    A download that was interrupted left `path`.part, which is resumed.

    Raises:
        DataError: no mirror has the right bytes.
    """
    if path.exists() and _sha1(path) == archive.sha1:
        return
    part = path.with_name(f"{path.name}.part")
    failures = []
    for url in archive.urls:
        try:
            _receive(url, part, archive.size, on_message)
        except (OSError, HTTPException, ValueError) as error:
            failures.append(f"{url}: {reason(error)}")
            on_message(f"  {failures[-1]}")
            continue
        if part.stat().st_size == archive.size and _sha1(part) == archive.sha1:
            os.replace(part, path)
            return
        failures.append(f"{url}: not the right file")
        on_message(f"  {failures[-1]}")
        part.unlink()
    raise DataError(f"cannot download {archive.name}: {failures[-1]}", _BY_HAND)


def _receive(url: str, part: Path, size: int, on_message: Callable[[str], None]) -> None:
    """Append the bytes that `part` lacks to its `size`, and never more."""
    received = part.stat().st_size if part.exists() else 0
    if received >= size:
        return
    headers = {"User-Agent": "frcnn", **({"Range": f"bytes={received}-"} if received else {})}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if received and response.status != 206:  # the server sends the file from its beginning
            received = 0
        start = last_message = time.monotonic()
        resumed_at = received
        with part.open("ab" if received else "wb") as file:
            while chunk := response.read(min(CHUNK, size - received + 1)):
                received += len(chunk)
                if received > size:
                    raise ValueError(f"sends more than {size} bytes")
                file.write(chunk)
                now = time.monotonic()
                if now - last_message > PROGRESS_SECONDS:
                    last_message = now
                    rate = (received - resumed_at) / (now - start)
                    minutes = (size - received) / rate / 60
                    on_message(
                        f"  {received / 1e6:.0f} of {size / 1e6:.0f} MB, "
                        f"{rate / 1e6:.1f} MB/s, {minutes:.1f} min left"
                    )
    if received < size:
        raise ValueError(f"ends after {received} of {size} bytes")


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def unpack(path: Path, folder: Path, max_bytes: int) -> dict[str, int]:
    """Unpack the files of a .tar into `folder`.

    All members are checked before anything is written; the files move to `folder` when all of them
    are unpacked.

    Args:
        max_bytes: largest total size of the members.
    Returns:
        The size of each file in bytes, by its name.
    Raises:
        DataError: a member is a link or a device, lies outside the folder or occurs twice; or
            the members are too many or too large.
        OSError, tarfile.TarError: the archive cannot be read, or the files cannot be written.
    """
    staging = folder / f".{path.name}.unpacked"
    shutil.rmtree(staging, ignore_errors=True)
    sizes: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as archive:  # no compression: VOC has none
            members = _check_members(archive, path, max_bytes)
            for member in members:
                source = archive.extractfile(member)
                assert source is not None
                target = staging / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
                sizes[member.name] = member.size
        for name in sizes:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / name, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sizes


def _check_members(
    archive: tarfile.TarFile, path: Path, max_bytes: int
) -> Sequence[tarfile.TarInfo]:
    """Check all members of an archive (see `unpack`), and return its plain files."""
    members, total, names = [], 0, set()
    for count, member in enumerate(archive, start=1):
        member.name = member.name.removeprefix("./")
        total += member.size
        if not (member.isfile() or member.isdir()) or member.issparse():
            raise DataError(f"{path}: {member.name!r} is not a plain file", _BY_HAND)
        if member.name not in ("", ".") and not is_inside(member.name):
            raise DataError(f"{path}: {member.name!r} lies outside the folder", _BY_HAND)
        if total > max_bytes or count > MAX_MEMBERS:
            raise DataError(f"{path} holds more than {max_bytes} bytes or too many files", _BY_HAND)
        if member.isfile():
            if member.name in names:
                raise DataError(f"{path}: {member.name!r} occurs twice", _BY_HAND)
            names.add(member.name)
            members.append(member)
    return members
