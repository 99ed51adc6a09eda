"""Writes files atomically: a file gets its name only when all of it is written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError

from ..errors import FrcnnError, reason

PART = ".part"  # the ending of a file that is still being written


def size_text(count: int) -> str:
    """A number of bytes for people: 3.2 GB or 15.0 MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def part_file(path: Path) -> Path:
    """Create an empty file beside `path`, with a unique name that ends in PART.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=PART)
    os.close(handle)
    return Path(name)


def put_in_place(part: Path, path: Path, *, durable: bool = False) -> None:
    """Give a finished part file its final name; a file that has the name already is replaced.

    Args:
        durable: put its content on the disk first, and then its name. Otherwise a loss of power
            may leave an empty file in the place of the earlier one.
    Raises:
        OSError: the file cannot be written or renamed.
    """
    part.chmod(0o644)
    if durable:
        _flush_to_disk(part)
    os.replace(part, path)
    if durable:
        _flush_to_disk(path.parent)


def _flush_to_disk(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk.

    Raises:
        OSError: a file could not be written.
    """
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that have no fsync
            raise
    finally:
        os.close(handle)


def check_absent(path: Path, overwrite: bool, option: str = "--out") -> None:
    """Raise an error if writing `path` would replace a file that may not be replaced.

    Args:
        overwrite: it may. option: that named the path.
    Raises:
        FrcnnError: the path exists already.
    """
    if not overwrite and (path.is_file() or path.is_symlink()):
        raise FrcnnError(f"{path} exists already", f"choose another {option}, or add --overwrite")


def check_writable(path: Path) -> None:
    """Raise an error if `path` cannot be written, before the work whose result it is to hold.

    Raises:
        FrcnnError: it is a folder, or its folder cannot be made or written to.
    """
    folder = next(each for each in path.absolute().parents if os.path.exists(each))
    codes = {
        errno.EISDIR: path.is_dir(),
        errno.ENOTDIR: not folder.is_dir(),
        errno.EACCES: not os.access(folder, os.W_OK),
    }
    code = next((code for code, is_so in codes.items() if is_so), None)
    if code is not None:
        raise FrcnnError(f"cannot write {path}: {os.strerror(code)}", "name another file or folder")


def write_atomically(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """Let `write` fill a part file beside `path`, then rename it to `path`.

    Args:
        durable: see `put_in_place`; for what took hours to make.
    Raises:
        FrcnnError: the disk is full or the folder cannot be written to; `path` stays unchanged.
    """
    part = None
    try:
        part = part_file(path)
        write(part)
        put_in_place(part, path, durable=durable)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise FrcnnError(
            f"cannot write {path}: {reason(error)}", "check the folder and the space on the disk"
        ) from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` atomically.

    Raises:
        FrcnnError: see `write_atomically`.
    """
    write_atomically(path, lambda part: part.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; surrogate escapes, as in file names, become their bytes again.

    Raises:
        FrcnnError: see `write_atomically`.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write several files of UTF-8 text; none is replaced before the content of all is written.

    Raises:
        FrcnnError: see `write_atomically`.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            parts[path] = part_file(path)
            parts[path].write_bytes(text.encode("utf-8", "surrogateescape"))
        for path, part in parts.items():
            put_in_place(part, path)
    except OSError as error:
        raise FrcnnError(
            f"cannot write {path}: {reason(error)}", "check the folder and the space on the disk"
        ) from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
