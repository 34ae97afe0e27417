"""TFRecord files of images, without TensorFlow: encode, decode, index and check records.

A file is a sequence of ``length uint64 | masked crc32c of it | data | masked crc32c of the data``.
The data is a serialised ``tf.train.Example`` with the features ``shape`` (int64, 3 values: C, H, W)
and ``data`` (the uint8 pixels in that order).
"""

from __future__ import annotations

import array
import os
import struct

import numpy as np

from dnnlib.crc32c import masked_crc32c, masked_crc32c_rows
from dnnlib.errors import UserError

HEADER_BYTES = 12  # length and its checksum
FOOTER_BYTES = 4  # checksum of the data
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf wire types in use


class DamagedRecordError(UserError):
    """A record that is cut short, does not match its checksum or holds no image."""

    def __init__(self, path, offset, what):
        super().__init__(
            f"{path}: damaged record at byte {offset}: {what}. "
            "Fetch or prepare this file again (prepare_data.py --verify lists all damage)"
        )
        self.path, self.offset, self.what = str(path), offset, what


# Encoding


def _varint_bytes(value):
    """A non-negative int in protobuf's base-128 form."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number, payload):
    """A length-delimited protobuf field."""
    return _varint_bytes(number << 3 | _BYTES) + _varint_bytes(len(payload)) + payload


def encode_image(image):
    """uint8 [C, H, W] => the bytes of its tf.train.Example."""
    shape = b"".join(_varint_bytes(size) for size in image.shape)
    shape = _field(3, _field(1, shape))  # Feature.int64_list.value, packed
    pixels = _field(1, _field(1, np.ascontiguousarray(image, np.uint8).tobytes()))
    entries = [_field(1, b"shape") + _field(2, shape), _field(1, b"data") + _field(2, pixels)]
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def frame(data):
    """The record of ``data`` as it stands in a file."""
    length = struct.pack("<Q", len(data))
    head = length + struct.pack("<I", masked_crc32c(length))
    return b"".join([head, data, struct.pack("<I", masked_crc32c(data))])


# Decoding


def _varint(buf, pos):
    """The varint at ``pos`` and the position behind it."""
    value = shift = 0
    while True:
        byte = buf[pos]
        pos += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, pos
        shift += 7


def _fields(buf, pos, end):
    """Yield (field number, start, stop) of a message; a varint comes as (number, value, None)."""
    while pos < end:
        tag, pos = _varint(buf, pos)
        wire = tag & 7
        if wire == _VARINT:
            value, pos = _varint(buf, pos)
            yield tag >> 3, value, None
            continue
        if wire == _BYTES:
            size, pos = _varint(buf, pos)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}[wire]
        if pos + size > end:
            raise ValueError("a field runs over its end")
        yield tag >> 3, pos, pos + size
        pos += size


def _only(buf, span, number):
    """The span of the field ``number`` inside the message at ``span``."""
    spans = [(start, stop) for n, start, stop in _fields(buf, *span) if n == number]
    if len(spans) != 1 or spans[0][1] is None:
        raise ValueError(f"field {number} occurs {len(spans)} times")
    return spans[0]


def _int64_list(buf, span):
    """The values of an Int64List, packed or not."""
    values = []
    for number, start, stop in _fields(buf, *span):
        if number == 1 and stop is None:
            values.append(start)
        pos = start
        while number == 1 and stop is not None and pos < stop:
            value, pos = _varint(buf, pos)
            values.append(value)
    return values


def _find_image(buf):
    """Shape (C, H, W) and span of the pixels inside a serialised Example; ValueError if none."""
    try:
        features = _only(buf, (0, len(buf)), 1)
        spans = {}
        for number, start, stop in _fields(buf, *features):
            if number == 1:
                key = _only(buf, (start, stop), 1)
                spans[bytes(buf[slice(*key)])] = _only(buf, (start, stop), 2)
        shape = tuple(_int64_list(buf, _only(buf, spans[b"shape"], 3)))
        pixels = _only(buf, _only(buf, spans[b"data"], 1), 1)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError("holds no features 'shape' and 'data'") from error
    if len(shape) != 3 or min(shape) < 1 or int(np.prod(shape)) != pixels[1] - pixels[0]:
        raise ValueError(
            f"shape {list(shape)} does not fit {pixels[1] - pixels[0]} bytes of pixels"
        )
    return shape, pixels


class ImageDecoder:
    """Decodes records; remembers where the pixels stood, as equal images have equal layout."""

    def __init__(self):
        self._layout = None  # (total length, bytes before the pixels, bytes behind, shape)

    def __call__(self, data):
        """Serialised Example => uint8 [C, H, W], a view of ``data``; ValueError if it is none."""
        layout = self._layout
        if layout is None or not (
            len(data) == layout[0] and data.startswith(layout[1]) and data.endswith(layout[2])
        ):
            shape, (start, stop) = _find_image(data)
            self._layout = layout = (len(data), data[:start], data[stop:], shape)
        start, stop = len(layout[1]), layout[0] - len(layout[2])
        return np.frombuffer(data, np.uint8, stop - start, start).reshape(layout[3])


# Files


class RecordFile:
    """Random access to the records of one TFRecord file.

    The index (offsets, and the checksums of all lengths) is made on opening. The checksum of a
    record's data is compared when it is first read. Reads may come from several threads at once.
    """

    def __init__(self, path):
        self.path = str(path)
        try:
            self._fd = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened: {error.strerror}") from error
        self.offsets, self.lengths = self._scan()
        self._checked = np.zeros(len(self.offsets), bool)
        self._decode = ImageDecoder()

    def __len__(self):
        return len(self.offsets)

    def _scan(self):
        """Offsets and data lengths of all records, both int64 [n]."""
        size = os.fstat(self._fd).st_size
        offsets, lengths, heads = array.array("q"), array.array("q"), bytearray()
        position = 0
        while position + HEADER_BYTES + FOOTER_BYTES <= size:
            head = os.pread(self._fd, HEADER_BYTES, position)
            length = int.from_bytes(head[:8], "little")
            heads += head
            offsets.append(position)
            lengths.append(min(length, size))
            position += HEADER_BYTES + length + FOOTER_BYTES
        offsets, lengths = np.array(offsets, np.int64), np.array(lengths, np.int64)
        # A damaged length sends the scan astray, so the first bad checksum comes before the end.
        rows = np.frombuffer(bytes(heads), np.uint8).reshape(-1, HEADER_BYTES)
        stored = np.frombuffer(rows[:, 8:].tobytes(), "<u4")
        (wrong,) = np.nonzero(masked_crc32c_rows(rows[:, :8]) != stored)
        if len(wrong):
            raise DamagedRecordError(self.path, int(offsets[wrong[0]]), "its length is damaged")
        if position != size:
            start = position if position < size else int(offsets[-1])
            raise DamagedRecordError(self.path, start, "the file ends inside it")
        return offsets, lengths

    def read(self, index):
        """The data of record ``index``, bytes, compared with its checksum on the first read."""
        offset, length = int(self.offsets[index]), int(self.lengths[index])
        data = os.pread(self._fd, length + FOOTER_BYTES, offset + HEADER_BYTES)
        if len(data) != length + FOOTER_BYTES:
            raise DamagedRecordError(self.path, offset, "the file has become shorter")
        data, footer = data[:length], data[length:]
        if not self._checked[index]:
            if masked_crc32c(data) != int.from_bytes(footer, "little"):
                raise DamagedRecordError(self.path, offset, "its data does not match its checksum")
            self._checked[index] = True
        return data

    def checksums(self):
        """The stored checksums of all records' data, uint32 [n]; reads four bytes of each."""
        ends = (self.offsets + HEADER_BYTES + self.lengths).tolist()
        data = b"".join(os.pread(self._fd, FOOTER_BYTES, end) for end in ends)
        return np.frombuffer(data, "<u4")

    def image(self, index):
        """The image of record ``index``, uint8 [C, H, W], read-only."""
        data = self.read(index)
        try:
            return self._decode(data)
        except ValueError as error:
            raise DamagedRecordError(self.path, int(self.offsets[index]), str(error)) from error

    def close(self):
        """Close the file; reading afterwards is an error."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self):
        if getattr(self, "_fd", None) is not None:
            self.close()
