import numpy as np
import pytest

from dnnlib.records import tfrecord
from dnnlib.records.crc32c import masked_crc32c
from dnnlib.records.tfrecord import DamagedRecordError, RecordFile, encode_image, frame


def make_images(count=5, shape=(3, 8, 16)):
    return np.random.RandomState(0).randint(0, 256, (count, *shape)).astype(np.uint8)


@pytest.fixture
def record_file(tmp_path):
    path = tmp_path / "images.tfrecords"
    path.write_bytes(b"".join(frame(encode_image(image)) for image in make_images()))
    return path


def test_images_come_back(record_file):
    file = RecordFile(record_file)
    assert len(file) == 5
    for index in (3, 0, 4, 3):
        assert (file.image(index) == make_images()[index]).all()


def test_tensorflow_reads_what_we_write(record_file):
    """An independent reader: TensorFlow's record iterator (checks all checksums) and protobuf."""
    tf = pytest.importorskip("tensorflow.compat.v1")
    records = list(tf.io.tf_record_iterator(str(record_file)))
    for record, image in zip(records, make_images()):
        feature = tf.train.Example.FromString(record).features.feature
        assert list(feature["shape"].int64_list.value) == [3, 8, 16]
        assert feature["data"].bytes_list.value[0] == image.tobytes()
    assert len(records) == 5


def test_we_read_what_tensorflow_writes_in_any_order_of_features(tmp_path):
    tf = pytest.importorskip("tensorflow.compat.v1")
    images, path = make_images(), str(tmp_path / "tf.tfrecords")
    with tf.io.TFRecordWriter(path) as writer:
        for index, image in enumerate(images):
            features = {
                "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
                "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=image.shape)),
            }
            if index == 2:  # an extra feature moves everything
                features["note"] = tf.train.Feature(float_list=tf.train.FloatList(value=[1.5]))
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    file = RecordFile(path)
    assert all((file.image(index) == image).all() for index, image in enumerate(images))


def test_records_of_any_layout_are_copied_right():
    for shape in ((3, 8, 16), (1, 2, 2), (3, 256, 256), (1, 128, 1)):
        image = np.random.RandomState(3).randint(0, 256, shape).astype(np.uint8)
        strided = np.asfortranarray(image)[:, ::-1]
        for array in (image, strided):
            record = bytearray(tfrecord.image_record_bytes(shape))
            tfrecord.write_image_record(array, record)
            assert bytes(record) == frame(encode_image(array))


def test_a_record_has_the_published_size():
    assert len(frame(encode_image(np.zeros([3, 32, 32], np.uint8)))) == 3127


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


def second_offset(path):
    return int(RecordFile(path).offsets[1])


@pytest.mark.parametrize("where", ["pixel", "footer"])
def test_damaged_data_is_reported_with_file_and_offset(record_file, where):
    offset = second_offset(record_file)
    flip(record_file, offset + 200 if where == "pixel" else int(2 * offset) - 1)
    file = RecordFile(record_file)
    file.image(0)
    with pytest.raises(DamagedRecordError, match=f"byte {offset}: its data does not match"):
        file.image(1)


@pytest.mark.parametrize("byte", [0, 5, 7, 9])  # of the length, and of its checksum
def test_a_damaged_length_is_found_on_opening(record_file, byte):
    offset = second_offset(record_file)
    flip(record_file, offset + byte)
    with pytest.raises(DamagedRecordError, match=f"byte {offset}: its length is damaged"):
        RecordFile(record_file)


def test_damaged_lengths_are_found_in_every_block_of_the_scan(record_file, monkeypatch):
    offsets = RecordFile(record_file).offsets.tolist()
    for at_once in (1, 2, 3, 5):
        monkeypatch.setattr(tfrecord, "_HEADERS_AT_ONCE", at_once)
        assert RecordFile(record_file).offsets.tolist() == offsets
        for offset in offsets:
            flip(record_file, offset)
            with pytest.raises(DamagedRecordError, match=f"byte {offset}: its length is damaged"):
                RecordFile(record_file)
            flip(record_file, offset)


@pytest.mark.parametrize("missing", [1, 4, 100])
def test_a_truncated_file_is_refused(record_file, missing):
    offset = int(RecordFile(record_file).offsets[-1])
    record_file.write_bytes(record_file.read_bytes()[:-missing])
    with pytest.raises(DamagedRecordError, match=f"byte {offset}: the file ends inside it"):
        RecordFile(record_file)


def test_a_file_that_ends_inside_a_length_is_refused(record_file):
    size = record_file.stat().st_size
    record_file.write_bytes(record_file.read_bytes() + b"12345")
    with pytest.raises(DamagedRecordError, match=f"byte {size}: the file ends inside it"):
        RecordFile(record_file)


def test_an_empty_file_holds_no_records(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert len(RecordFile(tmp_path / "empty")) == 0


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "holds no features"),
        (b"\xff" * 40, "holds no features"),
        (b"\x0a\x7f\x01", "holds no features"),
        (
            encode_image(np.zeros([3, 4, 4], np.uint8)).replace(b"\x03\x04\x04", b"\x03\x04\x05"),
            "fit",
        ),
    ],
)
def test_records_without_an_image_are_refused(tmp_path, data, reason):
    path = tmp_path / "odd.tfrecords"
    path.write_bytes(frame(data))
    with pytest.raises(DamagedRecordError, match=f"byte 0: .*{reason}"):
        RecordFile(path).image(0)


def test_random_damage_never_passes_as_pixels(record_file):
    """Any single flipped bit of a file either is found or does not matter to any image."""
    whole, images = record_file.read_bytes(), make_images()
    rng = np.random.RandomState(0)
    for _ in range(200):
        data = bytearray(whole)
        data[rng.randint(len(data))] ^= 1 << rng.randint(8)
        record_file.write_bytes(bytes(data))
        with pytest.raises(DamagedRecordError):
            file = RecordFile(record_file)
            for index, image in enumerate(images):
                assert (file.image(index) == image).all()


def test_the_data_checksum_is_computed_once_a_record(record_file, monkeypatch):
    calls = []
    monkeypatch.setattr(tfrecord, "masked_crc32c", lambda d: calls.append(1) or masked_crc32c(d))
    file = RecordFile(record_file)
    for _ in range(3):
        file.image(2)
    assert len(calls) == 1


def test_a_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(tfrecord.UserError, match="cannot be opened: No such file"):
        RecordFile(tmp_path / "none")
