"""CRC-32C (Castagnoli) at memory speed with NumPy alone: the checksum of TFRecord files.

A checksum is the remainder of the message, read as a polynomial over GF(2), modulo a fixed
polynomial P of degree 32. Any multiple of P may be used first: reducing by
``Q = y^5321 + y^3574 + y^2491 + 1`` with ``y = x^8`` (a multiple of P, found by search) turns the
first 1747 bytes of a message into three exclusive-ors of whole byte ranges. As ``Q(x)^2 = Q(x^2)``
over GF(2), the same holds with all distances doubled, as often as needed, so a message of any
length shrinks to 5321 bytes in few vector operations. Tables do the rest.
"""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # P without its leading term, lowest bit = highest power
_DEGREE, _TERMS = 5321, (3574, 2491, 0)  # exponents of y in Q
_GAP = _DEGREE - _TERMS[0]
_LANE = 512  # bytes looked up side by side in _tables()
_ALL_ONES = 0xFFFFFFFF


@functools.lru_cache(maxsize=None)
def _tables():
    """[_LANE, 256] uint32: what byte value v adds to the remainder when p more bytes follow it."""
    value = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        value = (value >> np.uint32(1)) ^ (np.uint32(_POLYNOMIAL) * (value & np.uint32(1)))
    first = value
    tables = np.empty([_LANE, 256], np.uint32)
    for p in range(_LANE):
        tables[p] = value
        value = first[value & np.uint32(255)] ^ (value >> np.uint32(8))
    return tables


@functools.lru_cache(maxsize=None)
def _carries():
    """What the four bytes of a remainder add when _LANE bytes follow it, lowest byte first."""
    return _tables()[:-5:-1].tolist()


def _fold(message):
    """Shrink ``message`` (uint8 [n], overwritten) to at most _DEGREE bytes of equal remainder."""
    start, level = 0, max(0, (len(message) // _DEGREE).bit_length() - 1)
    for scale in (1 << k for k in range(level, -1, -1)):
        while len(message) - start > _DEGREE * scale:
            count = min(_GAP * scale, len(message) - start - _DEGREE * scale)
            head = message[start : start + count]
            for term in _TERMS:
                at = start + (_DEGREE - term) * scale
                message[at : at + count] ^= head
            start += count
    return message[start:]


def _remainders(rows):
    """uint8 [R, n] with n <= _LANE => uint32 [R]: remainders, nothing inverted."""
    n = rows.shape[1]
    offsets = np.arange(n - 1, -1, -1, dtype=np.intp) * 256
    return np.bitwise_xor.reduce(_tables().ravel()[rows + offsets], axis=1)


def crc32c(data):
    """CRC-32C of a bytes-like object or uint8 array, as an int."""
    message = np.array(np.frombuffer(data, np.uint8))
    if len(message) < 4:
        crc = _ALL_ONES
        for byte in message.tolist():
            crc = int(_tables()[0, (crc ^ byte) & 255]) ^ (crc >> 8)
        return crc ^ _ALL_ONES
    message[:4] ^= 255  # the initial value, all ones
    message = _fold(message)
    padding = -len(message) % _LANE  # leading zeros do not change a remainder
    lanes = np.concatenate([np.zeros(padding, np.uint8), message]).reshape(-1, _LANE)
    (first, second, third, fourth), crc = _carries(), 0
    for lane in _remainders(lanes).tolist():
        crc = (
            first[crc & 255]
            ^ second[crc >> 8 & 255]
            ^ third[crc >> 16 & 255]
            ^ fourth[crc >> 24]
            ^ lane
        )
    return crc ^ _ALL_ONES


def mask(crc):
    """The form stored in TFRecord files (a rotation and a constant), of an int or an array."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def masked_crc32c(data):
    """Masked CRC-32C of a bytes-like object, as an int."""
    return mask(crc32c(data))


def masked_crc32c_rows(rows):
    """Masked CRC-32C of each row of uint8 [R, n] (4 <= n <= 512), as uint32 [R]."""
    rows = np.array(rows, np.uint8)
    rows[:, :4] ^= 255
    crc = (_remainders(rows) ^ np.uint32(_ALL_ONES)).astype(np.uint64)
    return mask(crc).astype(np.uint32)
