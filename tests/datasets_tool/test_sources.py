"""Every kind of source gives the same set as a plain folder; labels stay with their images."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

import prepare_data
from datasets_tool import inspect_set
from datasets_tool import labels as labels_module
from datasets_tool.sources.formats import open_source
from dnnlib import cli
from dnnlib.errors import UserError
from training.dataset import Dataset

COUNT = 12


@pytest.fixture
def images():
    return np.random.RandomState(0).randint(0, 256, [COUNT, 3, 16, 16]).astype(np.uint8)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "png")
    return file.getvalue()


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def members(images):
    """{path: bytes}: pictures in two classes, in sorted order of their paths."""
    names = [f"set/{'ant' if i < 5 else 'bee'}/{i:02d}.png" for i in range(COUNT)]
    return {name: png(image) for name, image in zip(names, images)}


@pytest.fixture
def sources(tmp_path, members, images):  # noqa: C901 - one small writer per kind
    """Writers of each container: name => path."""

    def folder():
        for name, data in members.items():
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "folder"

    def zipped():
        with zipfile.ZipFile(str(tmp_path / "all.zip"), "w") as archive:
            for name in reversed(list(members)):
                archive.writestr(name, members[name])
            archive.writestr("set/readme.txt", "not an image")
            archive.writestr("__MACOSX/set/._00.png", "not an image")
        return tmp_path / "all.zip"

    def tar(suffix, mode):
        def write():
            path = tmp_path / f"all{suffix}"
            with tarfile.open(str(path), mode) as archive:
                for name, data in members.items():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
            return path

        return write

    def npy():
        np.save(str(tmp_path / "all.npy"), images)
        return tmp_path / "all.npy"

    def hdf5():
        h5py = pytest.importorskip("h5py")
        with h5py.File(str(tmp_path / "all.h5"), "w") as file:
            file["data4x4"] = np.zeros([COUNT, 3, 4, 4], np.uint8)
            file["data16x16"] = images
            file["other"] = np.zeros([3])
        return tmp_path / "all.h5"

    def lmdb():
        lmdb = pytest.importorskip("lmdb")
        database = lmdb.open(str(tmp_path / "lmdb"), map_size=1 << 24)
        with database, database.begin(write=True) as transaction:
            for name, data in members.items():
                transaction.put(name.encode(), data)
        return tmp_path / "lmdb"

    def records():
        prepare("records", folder(), tmp_path, "--shards-num", 5, "--multi-resolution")
        return tmp_path / "records"

    def zipped_records():
        path = records()
        with zipfile.ZipFile(str(tmp_path / "records.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(path.iterdir(), reverse=True):
                archive.write(str(file), f"records/{file.name}")
        return tmp_path / "records.zip"

    return {
        "folder": folder,
        "zip": zipped,
        "tar": tar(".tar", "w"),
        "tar.gz": tar(".tgz", "w:gz"),
        "tar.xz": tar(".tar.xz", "w:xz"),
        "npy": npy,
        "hdf5": hdf5,
        "lmdb": lmdb,
        "records": records,
        "zipped records": zipped_records,
    }


def run(*argv):
    return cli.run_script(prepare_data.main, [str(arg) for arg in argv])


def prepare(name, path, data_dir, *flags):
    """Prepare and read back: images, labels."""
    argv = ("--task", name, "--images-dir", path, "--data-dir", data_dir, "--workers", 1)
    assert run(*argv, *flags) == 0
    dataset = Dataset(data_dir / name)
    indices = range(dataset.num_images)
    labels = np.stack([dataset.label(index) for index in indices])
    return np.stack([dataset.image(index) for index in indices]), labels


NAMES = [
    *("folder", "zip", "tar", "tar.gz", "tar.xz"),
    *("npy", "hdf5", "lmdb", "records", "zipped records"),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_source_gives_the_same_pixels(name, sources, images, tmp_path):
    path = sources[name]()
    found, _ = prepare("out", path, tmp_path, "--shards-num", 2)
    assert (found == images).all()
    source = open_source(str(path))
    keys = list(source.keys())
    assert len(source) == COUNT == len(keys)
    assert list(source.label_keys()) == [source.label_key(key) for key in keys]


@pytest.mark.parametrize("name", ["zip", "tar", "tar.gz", "lmdb", "records", "zipped records"])
def test_sources_travel_to_workers(name, sources, images, tmp_path):
    found, _ = prepare("out", sources[name](), tmp_path, "--workers", 2)
    assert (found == images).all()


# Labels

CLASSES = np.eye(2, dtype=np.float32)[[0] * 5 + [1] * 7]


@pytest.mark.parametrize("name", ["folder", "zip", "tar", "tar.gz"])
def test_sub_folders_are_classes(name, sources, images, tmp_path):
    found, labels = prepare("out", sources[name](), tmp_path, "--labels", "folders")
    assert (found == images).all() and (labels == CLASSES).all()
    assert Dataset(tmp_path / "out").info["label_names"] == ["ant", "bee"]


def test_skipped_images_take_their_labels_along(sources, images, tmp_path):
    path = sources["folder"]()
    (path / "set/ant/02.png").write_bytes(b"unreadable")
    found, labels = prepare("out", path, tmp_path, "--labels", "folders", "--shards-num", 3)
    keep = [i for i in range(COUNT) if i != 2]
    assert (found == images[keep]).all() and (labels == CLASSES[keep]).all()


@pytest.mark.parametrize("name", ["folder", "zip", "tar", "tar.gz"])
def test_labels_in_stylegan3s_form_are_used(name, sources, members, images, tmp_path):
    entries = [[key[len("set/") :], int("bee" in key)] for key in members]
    members["set/dataset.json"] = json.dumps({"labels": entries}).encode()
    path = sources[name]()
    path = path / "set" if name == "folder" else path
    found, labels = prepare("out", path, tmp_path, "--workers", 2)
    assert (found == images).all() and (labels == CLASSES).all()


def test_a_folders_own_dataset_json_and_one_without_labels(sources, members, tmp_path, capsys):
    path = sources["folder"]() / "set"
    rows = [[key[len("set/") :], [0.5, float(i)]] for i, key in enumerate(members)]
    (path / "dataset.json").write_text(json.dumps({"labels": rows}))
    _, labels = prepare("a", path, tmp_path)
    assert (labels == [row for _, row in rows]).all()
    for text in ('{"labels": null}', "{}", "[]"):
        (path / "dataset.json").write_text(text)
        _, labels = prepare("b", path, tmp_path, "--overwrite")
        assert labels.shape == (COUNT, 0)
    for text, message in {
        json.dumps({"labels": rows[1:]}): "no label for 1 of 12 images, the first: ant/00.png",
        '{"labels": [1]}': "dataset.json: cannot be understood",
        "{": "dataset.json: cannot be understood",
    }.items():
        (path / "dataset.json").write_text(text)
        assert run("--task", "c", "--images-dir", path, "--data-dir", tmp_path) == 2
        error = capsys.readouterr().err
        assert message in error and "--labels none" in error and error.count("\n") == 1
    prepare("c", path, tmp_path, "--labels", "none")


@pytest.mark.parametrize("name", ["npy", "hdf5"])
def test_labels_beside_arrays_are_used(name, sources, images, tmp_path):
    path = sources[name]()
    np.save(str(tmp_path / "all-labels.npy"), CLASSES)
    found, labels = prepare("out", path, tmp_path, "--shards-num", 5)
    assert (found == images).all() and (labels == CLASSES).all()
    _, labels = prepare("none", path, tmp_path, "--labels", "none")
    assert labels.shape == (COUNT, 0)


@pytest.mark.parametrize("set_name", ["gansformer_npy_labels", "stylegan2_hdf5_labels"])
def test_published_sets_keep_their_labels_when_resharded(set_name, data_dir, tmp_path):
    before = Dataset(data_dir / "tfrecords" / set_name)
    found, labels = prepare("out", before.path, tmp_path, "--shards-num", 3)
    for index in range(20):
        assert (found[index] == before.image(index)).all()
        assert (labels[index] == before.label(index)).all()


@pytest.mark.parametrize("set_name", ["gansformer_npy_labels", "stylegan2_hdf5_labels"])
def test_zipped_sets_keep_their_labels(set_name, data_dir, tmp_path):
    before = Dataset(data_dir / "tfrecords" / set_name)
    path = shutil.make_archive(str(tmp_path / "set"), "zip", str(data_dir / "tfrecords"), set_name)
    found, labels = prepare("out", path, tmp_path, "--shards-num", 3)
    assert labels.shape == (20, 5)
    for index in range(20):
        assert (found[index] == before.image(index)).all()
        assert (labels[index] == before.label(index)).all()
    _, labels = prepare("none", path, tmp_path, "--labels", "none")
    assert labels.shape == (20, 0)


def rezip(path, change):
    """Write an archive anew with the members, {name: bytes}, as ``change`` has left them."""
    with zipfile.ZipFile(str(path)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(str(path), "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def test_a_zipped_sets_ratio_is_kept(sources, tmp_path):
    def narrow(members):
        info = json.loads(members["records/dataset.json"].decode())
        members["records/dataset.json"] = json.dumps(dict(info, ratio=0.75)).encode()

    prepare("out", rezip(sources["zipped records"](), narrow), tmp_path)
    assert Dataset(tmp_path / "out").ratio == 0.75


def damage(**changes):
    """A change for rezip; None removes a member."""

    def change(there):
        for end, data in changes.items():
            names = [name for name in there if name.endswith(end.replace("__", "."))]
            for name in names or [f"records/{end.replace('__', '.')}"]:
                there.pop(name, None)
                if data is not None:
                    there[name] = data

    return change


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"r04__tfrecords2of5": None}, r"shards \[2\] of 5 are missing at resolution 16"),
        ({"r02__tfrecords2of5": None}, r"shards \[2\] of 5 are missing at resolution 4"),
        ({"other-r04__tfrecords2of5": b""}, "are the same shard; keep one"),
        ({"other-r04__tfrecords": b""}, "belong to different sets"),
        ({f"r04__tfrecords{i}of5": b"" for i in range(1, 6)}, "resolution 16 are empty"),
        ({"dataset__json": b"[]"}, "dataset.json: must be an object"),
        ({"dataset__json": b"{"}, "dataset.json: is not JSON"),
        ({"x-rxx__labels": b""}, "rxx.labels: cannot be read as labels"),
        ({"x-rxx__labels": npy_bytes(np.zeros([11, 2], "<f4"))}, "do not fit 12 images"),
        ({"x-rxx__labels": npy_bytes(np.full([12, 2], "a"))}, "not numbers"),
    ],
)
def test_faulty_zipped_sets_are_refused(changes, message, sources, tmp_path):
    path = rezip(sources["zipped records"](), damage(**changes))
    with pytest.raises(UserError, match=message) as error:
        open_source(path).own_labels()
    assert path in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_head_of_a_zipped_shard_is_one_line(sources):
    path = sources["zipped records"]()
    data = bytearray(path.read_bytes())
    data[data.find(b"records/records-r04.tfrecords2of5") + 3] ^= 1  # before the archive's own list
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"r04\.tfrecords2of5: cannot be read: ") as error:
        open_source(str(path))
    assert "\n" not in str(error.value)


def test_hidden_members_of_a_zip_are_no_shards(sources, images, tmp_path):
    def change(members):
        members["records/._records-rxx.labels"] = b"no labels"
        members["__MACOSX/records/._records-r04.tfrecords1of5"] = b"no shard"

    found, _ = prepare("out", rezip(sources["zipped records"](), change), tmp_path)
    assert (found == images).all()


LABEL_FILES = {
    "ada.json": lambda m: json.dumps({"labels": [[k, i % 3] for i, k in enumerate(m)]}),
    "plain.json": lambda m: json.dumps({k: i % 3 for i, k in enumerate(m)}),
    "names.json": lambda m: json.dumps({k: "abc"[i % 3] for i, k in enumerate(m)}),
    "vectors.json": lambda m: json.dumps({k: np.eye(3)[i % 3].tolist() for i, k in enumerate(m)}),
    "plain.csv": lambda m: "\n".join(f"{k},{i % 3}" for i, k in enumerate(m)),
    "header.csv": lambda m: "file,label\n" + "\n".join(f"{k},{i % 3}" for i, k in enumerate(m)),
    "vectors.csv": lambda m: "\n".join(
        ",".join([k, *(str(v) for v in np.eye(3)[i % 3])]) for i, k in enumerate(m)
    ),
}


@pytest.mark.parametrize("name", LABEL_FILES)
def test_label_files(name, sources, members, tmp_path):
    (tmp_path / name).write_text(LABEL_FILES[name](members))
    _, labels = prepare("out", sources["zip"](), tmp_path, "--labels", tmp_path / name)
    assert (labels == np.eye(3)[np.arange(COUNT) % 3]).all()


def test_an_npy_of_class_numbers(sources, tmp_path):
    np.save(str(tmp_path / "l.npy"), np.arange(COUNT) % 4)
    _, labels = prepare("out", sources["tar"](), tmp_path, "--labels", tmp_path / "l.npy")
    assert (labels == np.eye(4)[np.arange(COUNT) % 4]).all()


def test_bad_labels_are_refused(sources, members, tmp_path, capsys):
    path = sources["folder"]()
    rows = {
        "short": np.zeros(5, int),
        "zero_dim": np.array(5),
        "text": np.full([COUNT, 2], "a"),
        "nan": np.where(np.arange(COUNT) == 7, np.nan, 0)[:, None],
        "huge": np.full([COUNT, 2], 1e300),
        "no_columns": np.zeros([COUNT, 0]),
        "far": np.arange(COUNT) * 10**9,
        "negative": np.arange(COUNT) - 1,
        "fractions": np.zeros([COUNT]),
    }
    for name, array in rows.items():
        np.save(str(tmp_path / f"{name}.npy"), array)
    np.savez(str(tmp_path / "several.npy"), rows["short"])
    shutil.move(str(tmp_path / "several.npy.npz"), str(tmp_path / "several.npy"))
    (tmp_path / "zero_bytes.npy").write_bytes(b"")
    files = {
        "missing.json": json.dumps(dict.fromkeys(list(members)[:-2], 1)),
        "mixed.json": json.dumps({k: [1, "a"][i % 2] for i, k in enumerate(members)}),
        "ragged.json": json.dumps({k: [0] * (i + 1) for i, k in enumerate(members)}),
        "broken.json": "{",
        "null.json": json.dumps({"labels": None}),
        "short.csv": "a.png",
        "text.json": json.dumps({k: [0, "1"] for k in members}),
        "nested.json": json.dumps({k: [[1], [2]] for k in members}),
        "ragged_deep.json": json.dumps({k: [[1], [2, 3]] for k in members}),
        "empty.json": json.dumps({k: [] for k in members}),
        "nan.json": json.dumps({k: [0.5, float("nan")] for k in members}),
        "big.json": json.dumps({k: [1, 10**400] for k in members}),
        "far.json": json.dumps({k: 10**9 * i for i, k in enumerate(members)}),
        "farther.json": json.dumps(dict.fromkeys(members, 1 << 60)),
        "far.csv": "\n".join(f"{k},{10**9 * i}" for i, k in enumerate(members)),
        "nan.csv": "\n".join(f"{k},0,inf" for k in members),
        "what.txt": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    messages = {
        "missing.json": "has no label for 2 of 12 images, the first: set/bee/10.png",
        "mixed.json": "labels must be all class numbers",
        "ragged.json": "labels must be all class numbers",
        "broken.json": "cannot be understood",
        "null.json": "null",
        "short.csv": "has no label",
        "what.txt": "must be none, folders, or a .json",
        "text.json": "must be finite numbers; that of set/ant/00.png holds '1'",
        "nested.json": "must be finite numbers; that of set/ant/00.png holds [1]",
        "ragged_deep.json": "must be finite numbers",
        "empty.json": "empty vectors; leave them out with --labels none",
        "nan.json": "must be finite numbers; that of set/ant/00.png holds [0.5, nan]",
        "big.json": "must be finite numbers",
        "far.json": "11000000001 classes; at most 32768",
        "farther.json": "classes; at most 32768",
        "far.csv": "11000000001 classes; at most 32768",
        "nan.csv": "must be finite numbers",
        "text.npy": "labels must be numbers, found <U1",
        "nan.npy": "must be finite numbers; row 7 is not",
        "huge.npy": "must be finite numbers; row 0 is not",
        "no_columns.npy": "empty vectors",
        "far.npy": "11000000001 classes; at most 32768",
        "negative.npy": "integers from 0 up, found -1",
        "fractions.npy": "class numbers must be integers from 0 up",
        "several.npy": "is an archive of arrays",
        "zero_bytes.npy": "cannot be read",
        "zero_dim.npy": "holds labels [] for 12 images",
        "short.npy": "holds labels [5] for 12 images",
        "nowhere.json": "cannot be read",
    }
    for name, message in messages.items():
        argv = ("--task", "x", "--images-dir", path, "--data-dir", tmp_path)
        assert run(*argv, "--labels", tmp_path / name) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, name


def test_a_byte_order_mark_is_no_part_of_a_name(sources, members, tmp_path):
    for name in ("plain.csv", "header.csv", "ada.json"):
        text = LABEL_FILES[name](members)
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        argv = ("--labels", tmp_path / name, "--overwrite")
        _, labels = prepare("out", sources["zip"](), tmp_path, *argv)
        assert (labels == np.eye(3)[np.arange(COUNT) % 3]).all()


def test_many_classes_need_no_table_of_them_all(members):
    """Two thousand times the labels of 30000 classes, where a table would take 3.6 GB."""
    numbers = {f"{i}.png": i * 15 for i in range(2000)}
    tracemalloc.start()
    table = labels_module._to_labels(numbers, "l.json")
    array = labels_module.from_numbers(np.arange(2000) * 15, "l.npy")
    for labels, key in ((table, "7.png"), (array, 7)):
        row = np.frombuffer(labels.row(key), "<f4")
        assert labels.size == len(row) == 1999 * 15 + 1 and row[7 * 15] == 1 and row.sum() == 1
        assert len(labels.fingerprint()) == 32
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_labels_of_records_must_be_finite(sources, tmp_path, capsys):
    prepare("labelled", sources["folder"](), tmp_path, "--labels", "folders")
    rows = np.where(np.arange(COUNT) == 4, np.nan, 0).astype("<f4")[:, None]
    (tmp_path / "labelled/labelled-rxx.labels").write_bytes(npy_bytes(rows))
    argv = ("--task", "x", "--images-dir", tmp_path / "labelled", "--data-dir", tmp_path)
    assert run(*argv) == 2
    error = capsys.readouterr().err
    assert "must be finite numbers; row 4 is not" in error and error.count("\n") == 1


def test_pictures_outside_the_class_folders_are_refused(sources, tmp_path, capsys):
    path = sources["folder"]()
    shutil.copy(str(path / "set/ant/00.png"), str(path / "set/stray.png"))
    argv = ("--task", "x", "--images-dir", path, "--data-dir", tmp_path, "--labels", "folders")
    assert run(*argv) == 2
    assert "set/stray.png is in no sub-folder" in capsys.readouterr().err


# Arrays of other layouts


@pytest.mark.parametrize("layout", ["NHWC", "NHW", "NCHW4"])
def test_layouts_of_arrays(layout, images, tmp_path):
    arrays_by_layout = {
        "NHWC": images.transpose(0, 2, 3, 1),
        "NHW": images[:, 0],
        "NCHW4": np.concatenate([images, images[:, :1]], axis=1),
    }
    np.save(str(tmp_path / "a.npy"), arrays_by_layout[layout])
    found, _ = prepare("out", tmp_path / "a.npy", tmp_path)
    expected = images[:, :1] if layout == "NHW" else arrays_by_layout["NCHW4"]
    if layout == "NCHW4":  # colours that cannot be seen are black
        expected = np.where(expected[:, 3:] == 0, 0, expected)
    assert (found == (images if layout == "NHWC" else expected)).all()


def test_arrays_that_are_no_images_are_refused(tmp_path):
    for array in (
        np.zeros([3, 3, 4, 4]),
        np.zeros([5], np.uint8),
        np.uint8(5),
        np.zeros([0, 3, 4, 4], np.uint8),
    ):
        np.save(str(tmp_path / "a.npy"), array)
        with pytest.raises(UserError, match="not images: uint8"):
            open_source(str(tmp_path / "a.npy"))
    for data in (b"no array", b""):
        (tmp_path / "a.npy").write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as an npy file"):
            open_source(str(tmp_path / "a.npy"))
    np.savez(str(tmp_path / "a.npz"), np.zeros([3, 3, 4, 4], np.uint8))
    with pytest.raises(UserError, match="is an archive of arrays, not one"):
        open_source(str(tmp_path / "a.npz"), "npy")


def test_groups_of_hdf5_are_no_images(images, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(str(tmp_path / "a.h5"), "w") as file:
        file.create_group("data").create_group("deeper")
        file["data_number"] = 5
        file["data_gone"] = h5py.SoftLink("/nowhere")
        file["data_empty"] = h5py.Empty("f")
    with pytest.raises(UserError, match=r"no array of images .*, only data, data_empty"):
        open_source(str(tmp_path / "a.h5"))
    with h5py.File(str(tmp_path / "a.h5"), "a") as file:
        file["data16x16"] = images
    found, _ = prepare("out", tmp_path / "a.h5", tmp_path)
    assert (found == images).all()


# Damaged and hostile archives


def test_damaged_members_are_skipped_with_their_names(sources, images, tmp_path, capsys):
    path = sources["zip"]()
    data = bytearray(path.read_bytes())
    data[data.find(b"IDAT") + 300] ^= 0xFF  # inside the first stored member, the last by name
    path.write_bytes(bytes(data))
    found, _ = prepare("out", path, tmp_path)
    assert (found == images[:-1]).all()
    assert "set/bee/11.png: Bad CRC-32" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["zip", "tar", "tar.gz", "npy", "hdf5", "zipped records"])
def test_truncated_containers_are_explained(name, sources, tmp_path, capsys):
    path = sources[name]()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    capsys.readouterr()
    status = run("--task", "x", "--images-dir", path, "--data-dir", tmp_path, "--strict")
    error = capsys.readouterr().err
    assert status == 2 and str(path) in error and error.count("\n") == 1


def test_a_truncated_database_is_explained(sources, tmp_path, root):
    """Wherever the cut is; in processes of their own, as a missing page would kill them."""
    path = sources["lmdb"]()
    data = (path / "data.mdb").read_bytes()
    for name in ("few", "half", "most", "file.mdb"):
        size = {"few": 5000, "half": len(data) // 2}.get(name, len(data) - 1)
        folder = tmp_path if name == "file.mdb" else tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / (name if name == "file.mdb" else "data.mdb")).write_bytes(data[:size])
        argv = ("--task", "x", "--images-dir", tmp_path / name, "--data-dir", tmp_path)
        command = [sys.executable, "prepare_data.py", *argv, "--workers", "1"]
        done = subprocess.run(
            [str(word) for word in command], check=False, cwd=str(root), stderr=subprocess.PIPE
        )
        error = done.stderr.decode()
        assert done.returncode == 2 and error.count("\n") == 1
        assert f"{tmp_path / name}: the database is cut short: {size} of {len(data)} bytes" in error


def test_members_that_climb_out_write_nothing_outside(members, tmp_path):
    data = next(iter(members.values()))
    (tmp_path / "deep").mkdir()
    with zipfile.ZipFile(str(tmp_path / "deep/evil.zip"), "w") as archive:
        archive.writestr("../../evil.png", data)
        archive.writestr("/evil2.png", data)
    found, _ = prepare("out", tmp_path / "deep/evil.zip", tmp_path / "deep")
    assert len(found) == 2
    assert [path for path in tmp_path.rglob("*evil*") if path.suffix == ".png"] == []


def test_a_damaged_record_of_a_source_is_skipped_by_name(sources, images, tmp_path, capsys):
    path = sources["records"]()
    shard = path / "records-r04.tfrecords3of5"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(bytes(data))
    found, _ = prepare("out", path, tmp_path)
    keep = [i for i in range(COUNT) if i != 2]
    assert (found == images[keep]).all()
    assert "its data does not match its checksum" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.h5", "a.tfrecords", "data.mdb"])
def test_files_that_are_not_what_they_claim(name, tmp_path):
    if name == "a.h5":
        pytest.importorskip("h5py")
    if name == "data.mdb":
        pytest.importorskip("lmdb")
    (tmp_path / name).write_bytes(b"something else, long enough to have a header" * 20)
    with pytest.raises(UserError, match=name) as error:
        open_source(str(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["zip", "tar", "npy", "hdf5", "tfrecords", "lmdb"])
def test_a_folder_is_no_file(kind, tmp_path):
    (tmp_path / "folder").mkdir()
    if kind in ("hdf5", "lmdb"):
        pytest.importorskip({"hdf5": "h5py"}.get(kind, kind))
    with pytest.raises(UserError, match="folder") as error:
        open_source(str(tmp_path / "folder"), kind)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_names_may_be_any_bytes(kind, workers, members, images, tmp_path, root):
    """With the streams that a terminal has, which take no half characters."""
    folder = tmp_path / "any"
    for i, data in enumerate([*members.values(), b"no picture"]):
        path = os.fsencode(str(folder)) + b"/%s\xe4/%02d\xff.png" % (b"ab"[i % 2 : i % 2 + 1], i)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:  # noqa: PTH123 - names of bytes
            file.write(data)
    place = folder
    if kind == "tar":
        place = shutil.make_archive(str(tmp_path / "any"), "tar", str(folder))
    argv = ("--task", "x", "--images-dir", place, "--data-dir", tmp_path, "--labels", "folders")
    command = [sys.executable, "prepare_data.py", *argv, "--workers", workers]
    environment = dict(os.environ, PYTHONIOENCODING="utf-8:strict")
    done = subprocess.run(
        [str(word) for word in command],
        cwd=str(root),
        stdout=subprocess.PIPE,
        env=environment,
        check=True,
    )
    assert r"12\xff.png: " in done.stdout.decode()
    dataset = Dataset(tmp_path / "x")
    assert dataset.num_images == COUNT and dataset.info["label_names"] == [r"a\xe4", r"b\xe4"]
    assert r"12\xff.png" in dataset.info["skipped"][0]
    found = {dataset.image(i).tobytes(): dataset.label(i).argmax() for i in range(COUNT)}
    assert found == {image.tobytes(): i % 2 for i, image in enumerate(images)}


def test_unknown_files_and_missing_ones(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"?")
    with pytest.raises(UserError, match="not known what this is; --format says it"):
        open_source(str(tmp_path / "a.xyz"))
    with pytest.raises(UserError, match="there is no such file or folder"):
        open_source(str(tmp_path / "b"))


def test_missing_packages_are_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    packages = {"hdf5": "h5py", "lmdb": "lmdb", "tfds": "tensorflow_datasets", "hf": "datasets"}
    for kind, package in packages.items():
        with pytest.raises(UserError, match=f"needs the package {package}: pip install '{package}"):
            open_source(str(tmp_path), kind)


# Looking at sets


def test_verify_accepts_what_was_prepared(sources, tmp_path, capsys):
    prepare("out", sources["folder"](), tmp_path, "--multi-resolution", "--labels", "folders")
    assert run("--task", "out", "--data-dir", tmp_path, "--verify", "--workers", 1) == 0
    assert "all 12 images of resolution 4, 8, 16 are whole" in capsys.readouterr().out


@pytest.mark.parametrize("workers", [1, 2])
def test_verify_counts_bytes(sources, tmp_path, monkeypatch, workers):
    """All shards and labels once against dataset.json, all shards once more record by record."""
    bars = []

    class Bar(inspect_set.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **dict(kwargs, disable=False, file=io.StringIO()))
            bars.append(self)

    prepare("out", sources["folder"](), tmp_path, "--shards-num", 3, "--labels", "folders")
    monkeypatch.setattr(inspect_set, "tqdm", Bar)
    inspect_set.verify(str(tmp_path / "out"), workers)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    shards = sum(size for name, size in sizes.items() if ".tfrecords" in name)
    expected = [shards + sizes["out-rxx.labels"], shards]
    assert [bar.n for bar in bars] == [bar.total for bar in bars] == expected
    assert all(bar.unit == "B" for bar in bars)


def test_verify_accepts_published_sets(data_dir, capsys):
    for name in ("gansformer_npy_labels", "stylegan2_hdf5_labels"):
        assert run("--task", name, "--data-dir", data_dir / "tfrecords", "--verify") == 0
        assert "all 20 images of resolution 4, 8, 16, 32 are whole" in capsys.readouterr().out


def test_verify_names_all_damage(sources, tmp_path, capsys):
    prepare("out", sources["folder"](), tmp_path, "--shards-num", 3, "--labels", "folders")
    shard = tmp_path / "out/out-r04.tfrecords2of3"
    whole = shard.read_bytes()
    record = len(whole) // 4
    damaged = bytearray(whole)
    damaged[record + 50] ^= 1
    damaged[3 * record + 50] ^= 1
    shard.write_bytes(bytes(damaged))
    assert run("--task", "out", "--data-dir", tmp_path, "--verify", "--workers", 1) == 2
    output = capsys.readouterr()
    for offset in (record, 3 * record):
        assert f"2of3: damaged record at byte {offset}: its data does not match" in output.out
    assert "do not match the checksum" in output.out and "3 faults found" in output.err
    shard.write_bytes(whole[:record])
    assert run("--task", "out", "--data-dir", tmp_path, "--verify", "--workers", 1) == 2
    assert "9 images of resolution 16, not 12" in capsys.readouterr().out
    shard.write_bytes(whole)
    (tmp_path / "out/dataset.json").unlink()
    labels = tmp_path / "out/out-rxx.labels"
    np.save(str(tmp_path / "x.npy"), np.zeros([11, 2], np.float32))
    labels.write_bytes((tmp_path / "x.npy").read_bytes())
    assert run("--task", "out", "--data-dir", tmp_path, "--verify", "--workers", 1) == 2
    assert "labels of shape [11, 2] do not fit 12 images" in capsys.readouterr().out


def test_preview_draws_all_images(sources, images, tmp_path):
    prepare("out", sources["folder"](), tmp_path)
    assert run("--task", "out", "--data-dir", tmp_path, "--preview", tmp_path / "p.png") == 0
    sheet = np.asarray(Image.open(str(tmp_path / "p.png")))
    assert sheet.shape == (2 * 16, 8 * 16, 3)
    assert (sheet[16:, :16] == images[8].transpose(1, 2, 0)).all()
