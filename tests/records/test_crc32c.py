import numpy as np
import pytest

from dnnlib.records.crc32c import crc32c, masked_crc32c, masked_crc32c_rows


def bitwise_crc32c(data):
    """The definition, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_published_values(data, expected):
    assert crc32c(data) == expected


# Around every length at which the method changes: tables, one fold, folds at two scales.
@pytest.mark.parametrize(
    "size", [1, 3, 4, 5, 511, 512, 513, 5320, 5321, 5322, 7068, 7069, 10642, 10643, 30011]
)
def test_any_length_agrees_with_the_definition(size):
    data = np.random.RandomState(size).bytes(size)
    assert crc32c(data) == bitwise_crc32c(data)


def test_large_messages_agree_with_a_split_computation():
    """Checksums are linear: crc(a ^ b) ^ crc(0) = crc(a) ^ crc(b); b is one byte deep inside."""
    size = 3_000_017
    a = np.random.RandomState(0).randint(0, 256, size).astype(np.uint8)
    b = np.zeros(size, np.uint8)
    b[1_234_567] = 0x5A
    assert crc32c(a ^ b) ^ crc32c(bytes(size)) == crc32c(a) ^ crc32c(b)


def test_rows_agree_with_single_messages_and_do_not_change_their_input():
    rows = np.random.RandomState(1).randint(0, 256, [11, 8]).astype(np.uint8)
    before = rows.copy()
    assert masked_crc32c_rows(rows).tolist() == [masked_crc32c(row.tobytes()) for row in rows]
    assert (rows == before).all()
