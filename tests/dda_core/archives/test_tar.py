"""Refused tar archives: one attack per test, named as in CPython's tests of its extraction filters."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.archives import tar
from dda_core.archives.source import open_source
from dda_core.archives.tar import MAX_TEXT, plain_name, read_tar, unsafe_name
from dda_core.exceptions import ArchiveBroken, ArchiveHostile, Interrupted
from tests.fixtures.archives import hostile_archive, tar_bytes, tar_member, write_tar_gz


def members(path: Path) -> dict[str, bytes | None]:
    """Every member of an archive: the content of a file, None for a folder."""
    return {
        member.name: b"".join(reader.content()) if member.is_file else None
        for reader, member in read_tar(open_source(path))
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.tar.gz"


def refused(path: Path, *hostile: tarfile.TarInfo) -> str:
    """The message for an archive of ordinary files followed by these members."""
    hostile_archive(path, *hostile)
    with pytest.raises(ArchiveHostile) as caught:
        members(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def link(name: str, to: str) -> tarfile.TarInfo:
    return tar_member(name, type=tarfile.SYMTYPE, linkname=to)


def hard_link(name: str, to: str) -> tarfile.TarInfo:
    return tar_member(name, type=tarfile.LNKTYPE, linkname=to)


def test_benign_files_and_folders_are_read(path: Path):
    folder = tar_member("deep", type=tarfile.DIRTYPE)
    content = tar_bytes([(folder, b""), (tar_member("deep/a.txt", size=3), b"abc"), (tar_member("b"), b"")])
    path.write_bytes(gzip.compress(content))
    assert members(path) == {"deep": None, "deep/a.txt": b"abc", "b": b""}


def test_absolute_path_is_refused(path: Path):
    assert "'/tmp/escaped.evil', which has an absolute name" in refused(path, tar_member("/tmp/escaped.evil"))


def test_parent_symlink_is_refused(path: Path):
    current, parent = link("current", "."), link("parent", "current/..")
    assert "'current', which is a symbolic link" in refused(path, current, parent, tar_member("parent/evil"))


def test_parent_symlink2_is_refused(path: Path):
    refused(path, link("current", "."), link("current/parent", ".."), tar_member("parent/evil"))


def test_absolute_symlink_is_refused(path: Path):
    assert "'parent', which is a symbolic link" in refused(path, link("parent", "/tmp"), tar_member("parent/evil"))


def test_benign_symlink_is_refused_too(path: Path):
    assert "symbolic link" in refused(path, link("newest.params", "compiled.params"))


def test_absolute_hardlink_is_refused(path: Path):
    assert "'parent', which is a hard link" in refused(path, hard_link("parent", "/tmp/foo"))


def test_sly_relative0_is_refused(path: Path):
    assert "'../moo', which escapes" in refused(path, link("../moo", "..//tmp/moo"))


def test_sly_relative2_is_refused(path: Path):
    folder = tar_member("tmp/", type=tarfile.DIRTYPE)
    assert "escapes" in refused(path, folder, link("tmp/../../moo", "tmp/../..//tmp/moo"))


def test_parent_parts_are_refused_even_below_the_root(path: Path):
    assert "escapes" in refused(path, tar_member("a/../b"))


def test_parent_parts_after_a_leading_dot_are_refused(path: Path):
    assert "escapes" in refused(path, tar_member("./../evil"))


def test_deep_symlink_is_refused(path: Path):
    target = tar_member("targetdir/target", size=3)
    refused(path, target, link("linkdir/symlink", "../targetdir/target"))


def test_deep_hardlink_is_refused(path: Path):
    target = tar_member("targetdir/target", size=3)
    assert "hard link" in refused(path, target, hard_link("linkdir/hardlink", "targetdir/target"))


def test_chains_are_refused(path: Path):
    refused(path, link("linkdir/symlink", "hardlink"), hard_link("linkdir/hardlink2", "linkdir/symlink"))


def test_sneaky_hardlink_fallback_is_refused(path: Path):
    refused(
        path,
        tar_member("a", type=tarfile.DIRTYPE),
        link("a/t", "../../.."),
        hard_link("b", "a/t"),
        tar_member("b/evil"),
    )


def test_realpath_limit_attack_is_refused(path: Path):
    step, names = "d" * 247, "abcdefghijklmnop"
    hostile: list[tarfile.TarInfo] = []
    folder = ""
    for name in names:
        hostile += [tar_member(f"{folder}{step}", type=tarfile.DIRTYPE), link(f"{folder}{name}", step)]
        folder += f"{step}/"
    refused(path, *hostile, link("escape", "/".join(names) + "/" + "../" * len(names)))


def test_modes_are_ignored(path: Path):
    content = tar_bytes([(tar_member("all_bits", mode=0o7777, size=1), b"x")])
    path.write_bytes(gzip.compress(content))
    ((_, member),) = list(read_tar(open_source(path)))
    assert set(vars(member)) == {"name", "size", "is_file"}


def test_pipe_is_refused(path: Path):
    assert "'foo', which is a named pipe" in refused(path, tar_member("foo", type=tarfile.FIFOTYPE))


def test_character_device_is_refused(path: Path):
    assert "a character device" in refused(path, tar_member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3))


def test_block_device_is_refused(path: Path):
    assert "a block device" in refused(path, tar_member("sda", type=tarfile.BLKTYPE, devmajor=8))


def test_sparse_file_is_refused(path: Path):
    assert "a sparse file" in refused(path, tar_member("holes", type=tarfile.GNUTYPE_SPARSE))


def test_pax_sparse_file_is_refused(path: Path):
    member = tar_member("holes", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    assert "a sparse file" in refused(path, member)


def test_unknown_type_is_refused(path: Path):
    assert "unknown type b'V'" in refused(path, tar_member("volume", type=b"V"))


def test_backslash_is_refused(path: Path):
    assert "a backslash" in refused(path, tar_member("..\\evil"))


def test_drive_letter_is_refused(path: Path):
    assert "a drive letter" in refused(path, tar_member("C:/evil"))


def test_control_character_is_refused(path: Path):
    assert "a control character" in refused(path, tar_member("a\nb"))


def test_name_with_zero_byte_is_refused(path: Path):
    assert "a control character" in refused(path, tar_member("x", pax_headers={"path": "mochi.pt\0.txt"}))


def test_name_that_is_not_utf8_is_refused(path: Path):
    assert "not UTF-8" in refused(path, tar_member("caf\udce9"))


def test_overlong_name_is_refused(path: Path):
    assert "over 4096" in refused(path, tar_member("a/" * 2049 + "b"))


@pytest.mark.parametrize("name", ["n" * 256, "d" * 256 + "/a", "mochi/" + "ü" * 128])
def test_a_name_with_a_part_too_long_for_file_systems_is_refused(path: Path, name: str):
    assert "a part of 256 bytes in its name, over 255" in refused(path, tar_member(name))


def test_a_name_with_parts_at_the_length_limit_is_read(path: Path):
    name = f"{'d' * 255}/{'ü' * 127}"
    write_tar_gz(path, {name: b"x"})
    assert [member.name for _, member in read_tar(open_source(path))] == [name]


def test_duplicate_name_is_refused(path: Path):
    assert "'a' twice" in refused(path, tar_member("a"), tar_member("a"))


def test_duplicate_name_after_a_leading_dot_is_refused(path: Path):
    assert "'d/a' twice" in refused(path, tar_member("d/a"), tar_member("./d/./a"))


def test_file_below_a_file_is_refused(path: Path):
    assert "'a' as a file and 'a/b' below it" in refused(path, tar_member("a/b"), tar_member("a"))


def test_file_with_a_folder_s_name_is_refused(path: Path):
    assert "a file with a folder's name" in refused(path, tar_member("a", pax_headers={"path": "a/"}))


def test_file_without_a_name_is_refused(path: Path):
    assert "a file without a name" in refused(path, tar_member("."))


def test_folder_with_content_is_refused(path: Path):
    header = bytearray(tar_member("d", type=tarfile.DIRTYPE).tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"00000001000\0"
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    path.write_bytes(gzip.compress(bytes(header) + bytes(2048)))
    with pytest.raises(ArchiveHostile, match="a folder with content"):
        members(path)


def test_pax_header_bomb_is_refused(path: Path):
    assert "extended header" in refused(path, tar_member("a", pax_headers={"comment": "x" * (1 << 20)}))


def test_long_name_bomb_is_refused(path: Path):
    content = tar_bytes([(tar_member("a" * 70_000), b"")], format=tarfile.GNU_FORMAT)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ArchiveHostile, match="extended header"):
        members(path)


@pytest.mark.parametrize(("key", "value"), [("path", "b"), ("size", "1"), ("linkpath", "b"), ("hdrcharset", "BINARY")])
def test_global_header_that_renames_is_refused(path: Path, key: str, value: str):
    content = tar_bytes([(tar_member("a"), b"")], format=tarfile.PAX_FORMAT, pax_headers={key: value})
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ArchiveHostile, match=f"sets {key} for all its members"):
        members(path)


def test_global_comment_is_ignored(path: Path):
    content = tar_bytes([(tar_member("a"), b"")], format=tarfile.PAX_FORMAT, pax_headers={"comment": "b"})
    path.write_bytes(gzip.compress(content))
    assert members(path) == {"a": b""}


def test_too_many_members_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tar, "MAX_MEMBERS", 20)
    assert "more than 20 members" in refused(path, *(tar_member(f"f{n}") for n in range(20)))


def test_large_text_is_refused(path: Path):
    size = MAX_TEXT + 1
    path.write_bytes(gzip.compress(tar_bytes([(tar_member("a", size=size), bytes(size))]), 1))
    reader, member = next(read_tar(open_source(path)))
    with pytest.raises(ArchiveHostile, match=f"at most {MAX_TEXT}"):
        reader.text(member)


def test_the_maximum_number_of_members_is_read(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tar, "MAX_MEMBERS", 20)
    path.write_bytes(gzip.compress(tar_bytes([(tar_member(f"f{n}"), b"") for n in range(20)])))
    assert len(members(path)) == 20


def test_a_name_at_linux_s_length_limit_is_safe():
    assert unsafe_name("a/" * 2047 + "bc") is None
    assert unsafe_name("a/" * 2047 + "bcd") == "has a name of 4097 bytes, over 4096"


def in_pieces(content: bytes, size: int) -> tar.TarReader:
    return tar.TarReader(iter([content[start : start + size] for start in range(0, len(content), size)]), "a.tar.gz")


def test_a_text_of_the_maximum_size_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tar, "MAX_TEXT", 1000)
    text = bytes(range(250)) * 4
    reader = in_pieces(tar_bytes([(tar_member("a", size=1000), text), (tar_member("b", size=1), b"b")]), 100)
    assert [(member.name, reader.text(member)) for member in reader] == [("a", text), ("b", b"b")]


def extended(kind: bytes, body: bytes, member: tarfile.TarInfo | None = None, content: bytes = b"") -> bytes:
    """A tar archive of one member, preceded by an extended header of that kind."""
    header = tar_member("extended", type=kind, size=len(body)).tobuf(tarfile.USTAR_FORMAT)
    return header + body + bytes(-len(body) % 512) + tar_bytes([(member or tar_member("a"), content)])


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE])
def test_a_pax_header_names_and_sizes_only_the_next_member(kind: bytes):
    content = extended(kind, b"10 path=b\n9 size=3\n", tar_member("a", size=3), b"abc")
    reader = in_pieces(content, 300)
    assert [(member.name, member.size, reader.text(member)) for member in reader] == [("b", 3, b"abc")]
    after = tar_bytes([(tar_member("c"), b"")])
    head = tar_member("extended", type=kind, size=10).tobuf(tarfile.USTAR_FORMAT) + b"10 path=b\n" + bytes(502)
    one = tar_member("a").tobuf(tarfile.USTAR_FORMAT)
    assert [member.name for member in in_pieces(head + one + after, 512)] == ["b", "c"]


def test_a_long_name_of_gnu_tar_ends_at_its_zero():
    body = b"n" * 120 + b"\0garbage"
    assert [member.name for member in in_pieces(extended(tarfile.GNUTYPE_LONGNAME, body), 999)] == ["n" * 120]
    assert [member.name for member in in_pieces(extended(tarfile.GNUTYPE_LONGLINK, body), 999)] == ["a"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (tarfile.GNUTYPE_LONGNAME, b"caf\xe9\0"),
        (tarfile.XHDTYPE, b"13 path=caf\xe9\n"),
        (tarfile.XHDTYPE, b"8 \xe9=bb\n"),
    ],
)
def test_an_extended_header_that_is_not_utf8_is_no_crash(kind: bytes, body: bytes):
    reader = in_pieces(extended(kind, body), 512)
    if b"caf" in body:
        with pytest.raises(ArchiveHostile, match="has a name that is not UTF-8"):
            list(reader)
    else:
        assert [member.name for member in reader] == ["a"], "a key that means nothing to us"


@pytest.mark.parametrize("length", [512 + 3, 512 + 100])
def test_a_truncated_extended_header_is_broken(length: int):
    content = extended(tarfile.XHDTYPE, b"10 path=b\n")[:length]
    with pytest.raises(ArchiveBroken, match="is truncated in an extended header"):
        list(in_pieces(content, 512))


@pytest.mark.parametrize(
    "body",
    [
        b"no length",
        b"x path=b\n",
        b"10path=bb\n",
        b"10 path=bb",
        b"10 path-b\n",
        b"0000010 path=b\n",
        b"1x path=b\n",
        b"10 path=b\n7",
    ],
    ids=[
        "no-length",
        "no-number",
        "no-space",
        "no-newline",
        "no-equals",
        "too-many-digits",
        "half-a-number",
        "no-record-behind",
    ],
)
def test_a_damaged_pax_header_is_broken(body: bytes):
    with pytest.raises(ArchiveBroken, match="has a damaged pax header"):
        list(in_pieces(extended(tarfile.XHDTYPE, body), 512))


@pytest.mark.parametrize("size", ["-1", "1.5", "", "x", "9" * 19, "\u0663"])
def test_a_pax_size_that_is_not_a_number_is_broken(size: str):
    record = f" size={size}\n".encode()
    body = str(len(record) + 2).encode() + record
    with pytest.raises(ArchiveBroken, match="gives 'a' the size"):
        list(in_pieces(extended(tarfile.XHDTYPE, body), 512))


def test_a_pax_record_has_a_length_of_up_to_six_digits():
    reader = in_pieces(extended(tarfile.XHDTYPE, b"000014 path=b\n"), 512)
    assert [member.name for member in reader] == ["b"]


def test_the_value_of_a_pax_record_may_contain_an_equals_sign():
    reader = in_pieces(extended(tarfile.XHDTYPE, b"12 path=b=c\n"), 512)
    assert [member.name for member in reader] == ["b=c"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_set_stop_interrupts_reading_an_archive(path: Path, stopped: bool):
    write_tar_gz(path, {f"f{number}": bytes(1 << 20) for number in range(30)})
    stop = threading.Event()
    read = read_tar(open_source(path), stop)
    next(read)
    if stopped:
        stop.set()
        with pytest.raises(Interrupted):
            list(read)
    else:
        assert len(list(read)) == 29


def test_an_archive_that_is_not_gzip_is_named(path: Path):
    path.write_bytes(b"text")
    with pytest.raises(ArchiveBroken, match=f"^{path} is damaged"):
        list(read_tar(open_source(path)))


def test_a_negative_size_is_broken():
    header = bytearray(tar_member("a").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    with pytest.raises(ArchiveBroken, match="gives 'a' a negative size"):
        list(in_pieces(bytes(header) + bytes(1024), 512))


@pytest.mark.parametrize(("size", "refused"), [(tar.MAX_EXTENDED_HEADER, False), (tar.MAX_EXTENDED_HEADER + 1, True)])
def test_an_extended_header_is_read_up_to_its_limit(size: int, refused: bool):
    record = b"%d comment=" % size
    body = record + b"x" * (size - len(record) - 1) + b"\n"
    reader = in_pieces(extended(tarfile.XHDTYPE, body), 1 << 20)
    if refused:
        with pytest.raises(ArchiveHostile, match=f"has an extended header of {size} bytes, over 65536"):
            list(reader)
    else:
        assert [member.name for member in reader] == ["a"]


def test_an_archive_that_ends_after_an_extended_header_is_broken():
    content = extended(tarfile.XHDTYPE, b"10 path=b\n")[:1024]
    with pytest.raises(ArchiveBroken, match="is truncated in a member's header"):
        list(in_pieces(content, 512))


def test_unread_content_is_skipped():
    first = (tar_member("a", size=1300), b"a" * 1300)
    reader = in_pieces(tar_bytes([first, (tar_member("b", size=2), b"bb")]), 700)
    names = []
    for member in reader:
        names.append(member.name)
        if member.name == "a":
            next(reader.content())
    assert names == ["a", "b"]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_is_read(path: Path, format: int):
    names = ["plain", "d" * 90 + "/" + "f" * 90]
    if format != tarfile.USTAR_FORMAT:
        names += ["long/" * 60 + "name", "größe"]
    content = tar_bytes(
        [(tar_member(name, size=len(name)), name.encode()[: len(name)]) for name in names], format=format
    )
    path.write_bytes(gzip.compress(content))
    assert members(path) == {name: name.encode()[: len(name)] for name in names}


PLAIN = tar_bytes([(tar_member("a", size=2000), bytes(range(250)) * 8), (tar_member("b", size=10), b"x" * 10)])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (PLAIN[:700], "truncated"),
        (PLAIN[:2560], "truncated"),
        (PLAIN[:2700], "truncated"),
        (PLAIN[: 512 + 2048 + 512 + 512], "two empty blocks"),
        (PLAIN[: 512 + 2048] + b"x" * 512 + bytes(1024), "damaged header"),
        (PLAIN + PLAIN, "data after the end"),
        (bytes(10_240), "no members"),
        (b"no tar at all " * 100, "not a tar archive"),
        (b"", "two empty blocks"),
    ],
    ids=["content", "behind-content", "header", "no-end", "header-damaged", "concatenated", "empty", "text", "nothing"],
)
def test_broken_tar_in_a_sound_gzip_stream(path: Path, content: bytes, what: str):
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ArchiveBroken, match=what) as caught:
        members(path)
    assert str(path) in str(caught.value)


def test_unread_members_do_not_hide_a_flipped_byte(path: Path):
    packed = bytearray(gzip.compress(PLAIN, 0))
    packed[1500] ^= 1
    path.write_bytes(packed)
    with pytest.raises(ArchiveBroken, match="damaged"):
        for _ in read_tar(open_source(path)):
            pass


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\:/"), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES.filter(lambda name: name not in (".", "..")), st.binary(max_size=2000), min_size=1))
def test_what_tarfile_writes_is_read_back(files: dict[str, bytes]):
    content = tar_bytes([(tar_member(f"./d/{name}", size=len(data)), data) for name, data in files.items()])
    blocks = iter([content[start : start + 777] for start in range(0, len(content), 777)])
    reader = tar.TarReader(blocks, "a.tar.gz")
    assert {member.name: b"".join(reader.content()) for member in reader} == {
        f"d/{name}": data for name, data in files.items()
    }


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused_but_never_crash(content: bytes):
    with pytest.raises((ArchiveBroken, ArchiveHostile)):
        for _ in tar.TarReader(iter([content] if content else []), "a.tar.gz"):
            pass


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.integers(0, 255))
def test_any_changed_byte_of_a_tar_never_crashes(position: int, value: int):
    content = PLAIN[:position] + bytes([value]) + PLAIN[position + 1 :]
    try:
        for _ in tar.TarReader(iter([content]), "a.tar.gz"):
            pass
    except (ArchiveBroken, ArchiveHostile):
        pass


@settings(max_examples=200)
@given(st.text(max_size=30))
def test_a_name_that_is_safe_stays_below_its_folder(name: str):
    if unsafe_name(name) is None and plain_name(name):
        root = Path("/root/of/package")
        assert (root / plain_name(name)).resolve().is_relative_to(root)


def test_the_standard_library_agrees_on_the_members(path: Path):
    path.write_bytes(gzip.compress(PLAIN))
    with tarfile.open(fileobj=io.BytesIO(PLAIN)) as archive:
        assert {info.name for info in archive} == set(members(path))
