"""TFRecord files of images, without TensorFlow: encode, decode, index and check records.

A file is a sequence of ``length uint64 | masked crc32c of it | data | masked crc32c of the data``.
The data is a serialised ``tf.train.Example`` with the features ``shape`` (int64, 3 values: C, H, W)
and ``data``: the uint8 pixels in that order, as the published tools have it, or fewer bytes: those
of an encoded image (:mod:`dnnlib.records.encoded`).
"""

from __future__ import annotations

import array
import functools
import os
import struct

import numpy as np

from dnnlib.errors import UserError
from dnnlib.records import encoded
from dnnlib.records.crc32c import masked_crc32c, masked_crc32c_rows

HEADER_BYTES = 12  # length and its checksum
FOOTER_BYTES = 4  # checksum of the data
_HEADERS_AT_ONCE = 1 << 15
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


def _head(number, length):
    """What stands before the payload of a length-delimited protobuf field."""
    return _varint_bytes(number << 3 | _BYTES) + _varint_bytes(length)


def _field(number, payload):
    """A length-delimited protobuf field."""
    return _head(number, len(payload)) + payload


@functools.lru_cache(maxsize=64)
def _example_start(shape):
    """What stands before the pixels in the tf.train.Example of an image of this shape."""
    return _start_before(shape, shape[0] * shape[1] * shape[2])


def _start_before(shape, size):
    """What stands before ``size`` bytes of data in the tf.train.Example of an image."""
    values = b"".join(_varint_bytes(size) for size in shape)
    values = _field(3, _field(1, values))  # Feature.int64_list.value, packed
    start = _field(1, _field(1, b"shape") + _field(2, values))
    head = b""  # of the entry "data", from the inside out: the pixels end all of its messages
    for number in (1, 1, 2):  # BytesList.value, Feature.bytes_list, value of the map's entry
        head = _head(number, size + len(head)) + head
    key = _field(1, b"data")
    entry = _head(1, size + len(head) + len(key)) + key + head
    return _head(1, size + len(start) + len(entry)) + start + entry


def _length_and_checksum(length):
    """The first HEADER_BYTES of a record."""
    head = struct.pack("<Q", length)
    return head + struct.pack("<I", masked_crc32c(head))


_record_head = functools.lru_cache(maxsize=64)(_length_and_checksum)


def encode_image(image):
    """uint8 [C, H, W] => the bytes of its tf.train.Example."""
    return _example_start(image.shape) + np.ascontiguousarray(image, np.uint8).tobytes()


def frame(data):
    """The record of ``data`` as it stands in a file."""
    return b"".join([_length_and_checksum(len(data)), data, struct.pack("<I", masked_crc32c(data))])


def image_record_bytes(shape):
    """Size of the record of an image of this shape."""
    return HEADER_BYTES + len(_example_start(shape)) + shape[0] * shape[1] * shape[2] + FOOTER_BYTES


def write_image_record(planes, record):
    """Fill ``record`` with frame(encode_image(image)); the pixels are copied once.

    Args:
      planes: the image's channels: uint8 [C, H, W], or C arrays [H, W], in any layout.
      record: writable buffer of image_record_bytes((C, H, W)).
    """
    shape = (len(planes), *planes[0].shape)
    start, size = _example_start(shape), shape[0] * shape[1] * shape[2]
    head = _record_head(len(start) + size) + start
    record[: len(head)] = head
    pixels = np.frombuffer(record, np.uint8, size, len(head)).reshape(shape)
    for channel, plane in zip(pixels, planes):
        channel[...] = plane
    checksum = masked_crc32c(memoryview(record)[HEADER_BYTES:-FOOTER_BYTES])
    struct.pack_into("<I", record, len(record) - FOOTER_BYTES, checksum)


def write_encoded_record(shape, file, record):
    """Fill the start of ``record`` with the record of an encoded image, if it is smaller.

    Args:
      shape: (C, H, W) of the image.
      file: bytes of an encoded image.
      record: writable buffer of image_record_bytes(shape).

    Returns:
      Size of the record; 0 if the pixels themselves take no more room.
    """
    if len(file) >= shape[0] * shape[1] * shape[2]:
        return 0
    data = _start_before(shape, len(file)) + file
    framed = frame(data)
    record[: len(framed)] = framed
    return len(framed)


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
    """Shape (C, H, W) and span of the data inside a serialised Example; ValueError if none."""
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
    if len(shape) != 3 or min(shape) < 1 or int(np.prod(shape)) < pixels[1] - pixels[0]:
        raise ValueError(
            f"shape {list(shape)} does not fit {pixels[1] - pixels[0]} bytes of pixels"
        )
    return shape, pixels


class ImageDecoder:
    """Decodes records; remembers where the pixels stood, as equal images have equal layout."""

    def __init__(self):
        self._layout = None  # (total length, bytes before the pixels, bytes behind, shape)

    def __call__(self, data):
        """Serialised Example => uint8 [C, H, W], a view of ``data`` if it holds pixels; ValueError
        if it holds no image.
        """
        layout, view = self._layout, memoryview(data)
        if (
            layout is None
            or len(view) != layout[0]
            or view[: len(layout[1])] != layout[1]
            or view[layout[0] - len(layout[2]) :] != layout[2]
        ):
            shape, (start, stop) = _find_image(view)
            if stop - start < shape[0] * shape[1] * shape[2]:
                return encoded.decode(view[start:stop], shape)
            self._layout = layout = (len(view), bytes(view[:start]), bytes(view[stop:]), shape)
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
            if len(heads) == _HEADERS_AT_ONCE * HEADER_BYTES:
                self._check_lengths(heads, offsets)
                heads.clear()
        # A damaged length sends the scan astray, so the first bad checksum comes before the end.
        self._check_lengths(heads, offsets)
        if position != size:
            start = position if position < size else offsets[-1]
            raise DamagedRecordError(self.path, start, "the file ends inside it")
        return np.array(offsets, np.int64), np.array(lengths, np.int64)

    def _check_lengths(self, heads, offsets):
        """Compare the lengths of the last records with their checksums."""
        rows = np.frombuffer(bytes(heads), np.uint8).reshape(-1, HEADER_BYTES)
        stored = np.frombuffer(rows[:, 8:].tobytes(), "<u4")
        (wrong,) = np.nonzero(masked_crc32c_rows(rows[:, :8]) != stored)
        if len(wrong):
            first = offsets[len(offsets) - len(rows) + int(wrong[0])]
            raise DamagedRecordError(self.path, first, "its length is damaged")

    def read(self, index):
        """The data of record ``index``, compared with its checksum on the first read."""
        offset, length = int(self.offsets[index]), int(self.lengths[index])
        data = os.pread(self._fd, length + FOOTER_BYTES, offset + HEADER_BYTES)
        if len(data) != length + FOOTER_BYTES:
            raise DamagedRecordError(self.path, offset, "the file has become shorter")
        data, footer = memoryview(data)[:length], data[length:]
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

    def close(self, _close=os.close):
        """Close the file; reading afterwards is an error."""
        if self._fd is not None:
            _close(self._fd)  # bound early: modules are emptied before the last objects die
            self._fd = None

    def __del__(self):
        if getattr(self, "_fd", None) is not None:
            self.close()
