import contextlib
import gzip
import io
import os
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.samples import mutated
from tfds_builders import image_files
from tfds_builders.image_files import DownloadError, File
from tfds_builders.isolation import Isolated

DISC = np.hypot(*np.mgrid[-20:20, -20:20]) < 13


def encode(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def held(content, name="some.png"):
    return File(name, len(content), lambda: content)


MASK = DISC.astype(np.uint8) * 255


def test_files_are_found_in_folders_and_archives(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.txt").write_bytes(b"1")
    with zipfile.ZipFile(tmp_path / "Set.zip", "w") as archive:
        archive.writestr("b/two.txt", b"2")
        archive.writestr("__MACOSX/b/._two.txt", b"noise")
        archive.writestr("b/Thumbs.db", b"noise")
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a/one.txt", "c/three.txt")
    files = image_files.find_files(tmp_path)
    found = image_files.match(files, r"(\w)/(\w+)\.TXT")
    assert {groups: file.read() for groups, file in found.items()} == {
        ("a", "one"): b"1",
        ("b", "two"): b"2",
        ("c", "three"): b"1",
    }
    assert found["b", "two"].name == f"{tmp_path / 'Set.zip'}: b/two.txt"


def test_an_unpacked_file_comes_before_a_packed_one(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/one.txt").write_bytes(b"unpacked")
    for name in ("set/one.txt", "one.txt"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, b"packed")
        found = image_files.match(image_files.find_files(tmp_path), r"(one)\.txt")
        assert found["one",].read() == b"unpacked"


def test_linked_folders_are_followed_and_loops_end(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/one.txt").write_bytes(b"1")
    manual = tmp_path / "manual"
    manual.mkdir()
    (manual / "set").symlink_to(tmp_path / "elsewhere")
    (manual / "loop").symlink_to(manual)
    assert list(image_files.find_files(manual)) == ["set/one.txt"]


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/out.txt", "C:/out.txt", "..\\out.txt"])
def test_members_that_leave_the_archive_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(DownloadError, match=r"bad\.zip.*out\.txt.*points out"):
        image_files.find_files(tmp_path)
    (tmp_path / "bad.zip").unlink()
    with tarfile.open(tmp_path / "bad.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(DownloadError, match=r"bad\.tgz.*out\.txt.*points out"):
        image_files.find_files(tmp_path)


def test_links_in_a_tar_are_not_files(tmp_path):
    link = tarfile.TarInfo("link.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(link)
    assert not image_files.find_files(tmp_path)


def test_sparse_members_of_a_tar_which_may_be_any_size_are_refused(tmp_path):
    sparse = tarfile.TarInfo("hole.txt")
    sparse.size = 512
    sparse.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "hole.txt",
        "GNU.sparse.realsize": str(900 * 10**9),
    }
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(sparse, io.BytesIO(b"0\n".ljust(512, b"\0")))
    with pytest.raises(DownloadError, match=r"a\.tar\.gz: expected plain members, found 'hole\.txt' sparse"):
        image_files.find_files(tmp_path)


@pytest.mark.parametrize("name", ["cut.zip", "cut.tar.gz"])
def test_damaged_archives_are_named(tmp_path, name):
    source = tmp_path / "source"
    source.mkdir()
    (source / "noise.bin").write_bytes(np.random.default_rng(0).bytes(5000))
    kind = "zip" if name.endswith("zip") else "gztar"
    whole = shutil.make_archive(str(tmp_path / "whole"), kind, source)
    manual = tmp_path / "manual"
    manual.mkdir()
    with open(whole, "rb") as file:  # noqa: PTH123
        (manual / name).write_bytes(file.read()[:3000])
    with pytest.raises(DownloadError, match=rf"{name}.*cannot be read as.*download it again"):
        image_files.find_files(manual)


def test_a_damaged_member_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.txt", b"right content")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"right", b"wrong"))
    file = image_files.find_files(tmp_path)["one.txt"]
    with pytest.raises(DownloadError, match=r"a\.zip: one\.txt: cannot be read.*CRC"):
        file.read()


def test_sizes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_FILE_BYTES", 100)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.gif", bytes(101))
    with pytest.raises(DownloadError, match=r"bomb\.gif: expected at most 100 bytes, found 101"):
        image_files.find_files(tmp_path)["bomb.gif"].read()
    (tmp_path / "big").write_bytes(bytes(300))
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.add(tmp_path / "big", "big")
    monkeypatch.setattr(image_files, "MAX_TAR_BYTES", 200)
    with pytest.raises(DownloadError, match=r"a\.tgz: expected at most 200 bytes"):
        image_files.find_files(tmp_path)


def test_the_headers_of_a_tar_count_too(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_TAR_BYTES", 2**16)
    with tarfile.open(tmp_path / "a.tgz", "w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("n" * 2**17))
    with pytest.raises(DownloadError, match=r"a\.tgz: expected at most 65536 bytes, unpacked"):
        image_files.find_files(tmp_path)


def test_a_member_larger_than_it_says_is_not_inflated(tmp_path):
    size = 5 * 10**7
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.gif", bytes(size))
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(struct.pack("<L", size), struct.pack("<L", 10)))
    file = image_files.find_files(tmp_path)["bomb.gif"]
    tracemalloc.start()
    with pytest.raises(DownloadError, match=r"bomb\.gif: cannot be read"):
        file.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 10


def read_all(folder):
    """Read whatever can be read."""
    with contextlib.suppress(DownloadError):
        for file in image_files.find_files(folder).values():
            with contextlib.suppress(DownloadError):
                file.read()


def test_mutated_archives_are_read_or_refused(tmp_path):
    generator = np.random.default_rng(0)
    packed, tar, manual = tmp_path / "a.zip", tmp_path / "a.tar", tmp_path / "manual"
    manual.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("stored", b"content" * 9)
        archive.writestr("deflated", b"content" * 99, zipfile.ZIP_DEFLATED)
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(packed, "short")
        archive.add(packed, "long" * 50)
    samples = {"a.zip": (packed.read_bytes(), bytes), "a.tgz": (tar.read_bytes()[:4096], gzip.compress)}
    with Isolated(seconds=20) as process:
        for _ in range(300):
            for name, (content, pack) in samples.items():
                (manual / name).write_bytes(pack(mutated(content, generator)))
                process.call(name, read_all, manual)
                (manual / name).unlink()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("limit", ["ours", "pillow's warning", "pillow's error"])
def test_decompression_bombs_are_named(monkeypatch, limit):
    if limit == "ours":
        monkeypatch.setattr(image_files, "MAX_PIXELS", 1599)
    else:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900 if limit == "pillow's warning" else 700)
    with pytest.raises(DownloadError, match=r"some\.png: not a readable image .*pixels"):
        image_files.read_radiograph(held(encode(MASK)))


@pytest.mark.parametrize(
    ("pixels", "top"),
    [
        (np.array([[0, 100], [200, 255]], np.uint8), 255),
        (np.array([[0, 1000], [2000, 4095]], np.uint16), 4095),
        (np.array([[0, 1000], [2000, 4096]], np.uint16), 65535),
        (np.array([[0, 1000], [2000, 65535]], np.uint16), 65535),
    ],
)
def test_depths_are_scaled_to_255(pixels, top):
    image = image_files.read_radiograph(held(encode(pixels)))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, pixels * (255 / top), rtol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_masks_are_read_exactly(kind):
    for pixels in (MASK, DISC.astype(np.uint8), np.zeros_like(MASK)):
        mask = image_files.read_mask(held(encode(pixels, kind)), DISC.shape)
        np.testing.assert_array_equal(mask, pixels > 0)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (MASK // 2 + np.eye(40, dtype=np.uint8), "expected a binary mask"),
        (np.full_like(MASK, 255), "expected a binary mask"),
        (MASK[:, 1:], "expected a mask of 40x40 pixels, found 39x40"),
    ],
)
def test_wrong_masks_are_named(pixels, message):
    with pytest.raises(DownloadError, match=f"some.gif: {message}"):
        image_files.read_mask(held(encode(pixels, "GIF"), "some.gif"), DISC.shape)


@pytest.mark.parametrize(("kind", "trailer"), [("PNG", 12), ("GIF", 2)])
def test_a_cut_image_is_named_unless_only_the_trailer_is_lost(kind, trailer):
    whole = encode(MASK, kind)
    for length in range(len(whole) - trailer):
        with pytest.raises(DownloadError, match=r"some\.png: not a readable image .* download it again"):
            image_files.read_mask(held(whole[:length]), DISC.shape)


def test_a_png_with_a_flipped_bit_is_named():
    whole = encode(MASK)
    for position in range(len(whole) - 12):
        damaged = bytearray(whole)
        damaged[position] ^= 16
        with pytest.raises(DownloadError, match=r"some\.png: not a readable image"):
            image_files.read_radiograph(held(bytes(damaged)))


def test_other_formats_are_not_decoded():
    with pytest.raises(DownloadError, match="not a readable image"):
        image_files.read_radiograph(held(encode(MASK, "TIFF")))


def test_a_member_that_inflates_without_a_bound_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", bytes(1000))
    with pytest.raises(
        DownloadError, match=r"expected 'a\.png' stored or deflated, found otherwise; unzip it yourself"
    ):
        image_files.find_files(tmp_path)


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    listed = os.scandir

    def locked(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(PermissionError, match="locked"):
        list(image_files.walk(tmp_path))
