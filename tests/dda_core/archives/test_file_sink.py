"""Files are written atomically, and only over regular files."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dda_core.archives.file_sink import FileSink, output_file
from dda_core.exceptions import FileMissing, NoPlainFile


def test_a_file_is_written_atomically(tmp_path: Path):
    folder = tmp_path / "new"

    def interrupted() -> None:
        with FileSink(folder / "a.zip") as sink:
            sink.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(folder.iterdir()) == []
    with FileSink(folder / "a.zip") as sink:
        sink.write(b"whole")
        assert not (folder / "a.zip").exists()
        sink.complete()
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a.zip", b"whole")]


def test_a_file_can_be_named_at_the_end(tmp_path: Path):
    with FileSink(tmp_path / "unnamed") as sink:
        sink.write(b"x")
        sink.complete("named.zip")
    assert sink.path == tmp_path / "named.zip"
    assert [path.name for path in tmp_path.iterdir()] == ["named.zip"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileMissing, match="cannot be written to"):
        FileSink(tmp_path / "file" / "a.zip")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def a_folder(path: Path) -> None:
    path.mkdir()


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/null")


def a_link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def a_link_to_a_folder(path: Path) -> None:
    path.with_name("folder").mkdir()
    path.symlink_to("folder")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (a_pipe, "a named pipe"),
        (a_socket, "a socket"),
        (a_folder, "a folder"),
        (a_link_to_nothing, "a symbolic link to nothing"),
        (a_link_to_a_device, "a symbolic link to a character device"),
        (a_link_to_a_pipe, "a symbolic link to a named pipe"),
        (a_link_to_a_folder, "a symbolic link to a folder"),
        (a_link_to_itself, "a symbolic link to nothing"),
    ],
)
def test_anything_but_a_regular_file_is_refused_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], None], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    path = Path("out")
    made(path)
    before = path.lstat()
    with pytest.raises(NoPlainFile, match=f"out is {kind} and was left unchanged") as refused:
        FileSink(path)
    assert (refused.value.path, refused.value.kind, refused.value.exit_code) == (path, kind, 2)
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_a_device_is_refused() -> None:
    with pytest.raises(NoPlainFile, match="/dev/null is a character device"):
        FileSink(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_something_that_appears_while_writing_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with FileSink(path) as sink:
        sink.write(b"x")
        os.mkfifo(path)
        with pytest.raises(NoPlainFile, match="a named pipe"):
            sink.complete()
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_given_at_the_end_is_checked_then(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "named.zip")
    with FileSink(tmp_path / "unnamed") as sink:
        sink.write(b"x")
        with pytest.raises(NoPlainFile, match=r"named\.zip is a named pipe"):
            sink.complete("named.zip")


def test_the_users_own_link_to_a_regular_file_is_kept_and_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "file", tmp_path / "link"
    file.write_bytes(b"before")
    link.symlink_to("there/file")
    with FileSink(link) as sink:
        sink.write(b"after")
        sink.complete()
    assert link.is_symlink()
    assert file.read_bytes() == b"after"
    assert sink.path == file


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whose", ["link", "file"])
def test_a_link_from_or_to_another_user_is_not_followed(tmp_path: Path, whose: str) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"before")
    link.symlink_to(file)
    os.chown(link if whose == "link" else file, 12345, 12345, follow_symlinks=False)
    with pytest.raises(NoPlainFile, match="not yours"):
        FileSink(link)
    assert file.read_bytes() == b"before"


def test_a_plain_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with FileSink(path) as sink:
        sink.write(b"after")
        assert path.read_bytes() == b"before"
        sink.complete()
    assert path.read_bytes() == b"after"


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_without_a_name_is_refused(path: str) -> None:
    with pytest.raises(NoPlainFile, match="a folder"):
        output_file(Path(path))


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full_disk:
        monkeypatch.setattr(FileSink, "_open", lambda self: full_disk)
        with FileSink(tmp_path / "out") as sink, pytest.raises(OSError, match="No space left") as full:
            sink.write(b"x")
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_parent_folders_are_created(tmp_path: Path) -> None:
    with FileSink(tmp_path / "a" / "b" / "c.zip") as sink:
        sink.write(b"x")
        sink.complete()
    assert sink.path.read_bytes() == b"x"
    assert [path.name for path in sink.path.parent.iterdir()] == ["c.zip"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EXDEV, "Invalid cross-device link"), (errno.EXDEV, "Invalid cross-device link")),
        (OSError("odd"), (None, "odd")),
    ],
)
def test_a_file_that_cannot_be_renamed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: tuple[int | None, str]
) -> None:
    def replace(source: Path, to: Path) -> None:
        raise error

    monkeypatch.setattr(os, "replace", replace)
    with FileSink(tmp_path / "out") as sink:
        sink.write(b"x")
        with pytest.raises(OSError, match=said[1]) as refused:
            sink.complete()
    assert (refused.value.errno, refused.value.strerror) == said
    assert refused.value.filename == str(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
