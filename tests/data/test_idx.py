"""IDX files: exact reading, and errors of one sentence."""

import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest
from data_files import IDX_TYPES, idx

from fastsm import data


def packed(content):
    """Return the compressed content without a time, which would change the names of tests."""
    return gzip.compress(content, mtime=0)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes bytes to a file and returns its path."""

    def write(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("dtype", IDX_TYPES)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (3, 2, 4), (2, 1, 2, 3), (0,), (0, 28, 28)])
def test_every_type_and_shape(write, dtype, compress, shape):
    """Values and shape are read exactly, in a native dtype."""
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    content = idx(array, dtype)
    result = data.load_idx(write(gzip.compress(content) if compress else content))
    assert result.shape == shape
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    assert result.dtype.isnative
    assert result.flags.c_contiguous
    assert result.flags.writeable
    np.testing.assert_array_equal(result, array)


def test_extreme_values_and_gzip_members(write):
    """Extreme values of a dtype, and gzip files of several members."""
    array = np.array([-(2**31), 2**31 - 1, -1])
    content = idx(array, ">i4")
    parts = gzip.compress(content[:7]) + gzip.compress(content[7:])
    assert data.load_idx(write(parts)).tolist() == array.tolist()


GOOD = idx(np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends within its header"),
        (GOOD[:3], "ends within its header"),
        (GOOD[:9], "ends within its header"),
        (b"\1" + GOOD[1:], "must be an IDX file.*got 01 00 08 02"),
        (GOOD[:2] + b"\x0a" + GOOD[3:], "must be an IDX file"),
        (GOOD[:3] + b"\0" + GOOD[4:], "must be an IDX file"),
        (GOOD[:3] + b"\xff" + GOOD[4:] + bytes(2000), "must be an IDX file"),
        (GOOD[:-1], "cut off"),
        (GOOD + b"\0", "promises an array of shape"),
        (GOOD[:4] + b"\xff" * 8 + GOOD[12:], "more than the limit"),
        (GOOD[:3] + b"\3\0\0\0\0" + b"\xff" * 8, "more than the limit"),
        (GOOD[:3] + b"\x40" + b"\xff" * 256, "more than the limit"),
        (GOOD[:4] + struct.pack(">2I", 1 << 14, 1 << 14), "cut off or not an IDX file"),
        (packed(GOOD[:-1]), "cut off"),
        (packed(GOOD + b"\0"), "more than the 12 bytes"),
        (packed(GOOD)[:-9], "damaged or cut off"),
        (packed(GOOD) + b"trailing", "damaged or cut off"),
        (packed(GOOD)[:-8] + bytes(8), "damaged or cut off"),
        (packed(GOOD)[:10], "damaged or cut off"),
        (b"\x1f\x8b", "damaged or cut off"),
        (b"\x1f\x8b\x08\0" + bytes(100), "file"),
        (packed(GOOD[:4] + struct.pack(">2I", 1 << 14, 1 << 14)), "got at most"),
    ],
)
def test_hostile_files(write, content, message):
    """Hostile files give one sentence that names the file."""
    path = write(content)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load_idx(path)
    assert repr(os.fspath(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_declared_sizes_take_no_memory(write):
    """Neither a large declared size nor a bomb after a small one takes memory."""
    bomb = gzip.compress(GOOD + bytes(50_000_000))
    liar = gzip.compress(GOOD[:4] + struct.pack(">2I", 1 << 20, 4000) + bytes(10_000_000))
    for content in (bomb, liar):
        path = write(content)
        tracemalloc.start()
        try:
            with pytest.raises(data.DataError):
                data.load_idx(path)
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()


def test_the_limit(write):
    """The limit counts elements, and is inclusive."""
    path = write(GOOD)
    assert data.load_idx(path, limit=12).shape == (3, 4)
    with pytest.raises(data.DataError, match="promises 12 bytes, more than the limit of 11"):
        data.load_idx(path, limit=11)


def test_missing_files(tmp_path):
    """Missing files and folders give one sentence."""
    with pytest.raises(data.DataError, match="cannot be read: No such file"):
        data.load_idx(tmp_path / "absent")
    with pytest.raises(data.DataError, match="must be a regular file"):
        data.load_idx(tmp_path)
    with pytest.raises(TypeError):
        data.load_idx(None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe(tmp_path):
    """Pipes are refused: reading one might never end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(data.DataError, match="must be a regular file"):
        data.load_idx(tmp_path / "pipe")


@pytest.mark.parametrize("compressed", [False, True])
def test_some_rows(tmp_path, compressed):
    """Some rows of a file are read; the whole file is checked."""
    array = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
    content = idx(array)
    path = tmp_path / "some"
    path.write_bytes(gzip.compress(content) if compressed else content)
    for first, last in ((0, 5), (0, 2), (2, 4), (3, 5), (2, 2), (5, 5)):
        np.testing.assert_array_equal(data.load_idx(path, rows=(first, last)), array[first:last])
    for rows in ((-1, 2), (0, 6), (3, 2)):
        with pytest.raises(data.DataError, match="`rows` must lie in the 5 of"):
            data.load_idx(path, rows=rows)
    for damaged in (content[:-1], content + b"x"):
        path.write_bytes(gzip.compress(damaged) if compressed else damaged)
        with pytest.raises(data.DataError, match=r"cut off|more than|not an IDX"):
            data.load_idx(path, rows=(0, 2))
