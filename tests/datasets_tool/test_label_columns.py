import json

import pytest

from datasets_tool.label_columns import read_column
from dnnlib.errors import UserError

KEYS = ["x/a.png", "x/b.png", "y/b.png", "y/c.png"]
TABLE = [
    {"id": 1, "image": "a.png", "kind": "cat", "tags": ["u", "v"]},
    {
        "image": "x/b.png",
        "kind": "dog",
        "variants": {"red": {"image": "y/b.png"}, "blue": {"image": "c.png", "kind": "cow"}},
    },
    {"image": "unknown.png", "kind": "none"},
]


def write(tmp_path, table):
    path = tmp_path / "table.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return str(path)


def test_objects_within_objects_inherit(tmp_path):
    table = read_column(write(tmp_path, TABLE), "kind", KEYS)
    assert table == dict(zip(KEYS, ("cat", "dog", "dog", "cow")))
    assert read_column(write(tmp_path, TABLE), "id", KEYS) == {"x/a.png": 1}
    assert read_column(write(tmp_path, {"all": TABLE}), "kind", KEYS) == table


def test_csv_columns(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("mood,file,number\ngood, a.png ,3\nbad,y/c.png,0\n")
    keys = ["x/a.png", "y/c.png"]
    assert read_column(str(path), "mood", keys) == {"x/a.png": "good", "y/c.png": "bad"}
    assert read_column(str(path), "number", keys) == {"x/a.png": 3, "y/c.png": 0}


@pytest.mark.parametrize(
    "table, column, message",
    [
        (TABLE, "kinds", "--label-column: must be one of id, image, kind, .*did you mean 'kind'"),
        ([{"image": "z.png", "kind": 1}], "kind", "no column holds the names of images, such as x"),
        (
            [*TABLE, {"image": "a.png", "kind": "cow"}],
            "kind",
            "a.png has two labels .* cat and cow",
        ),
        ("[", "kind", "cannot be understood"),
    ],
)
def test_faults_are_one_line(tmp_path, table, column, message):
    with pytest.raises(UserError, match=message) as error:
        read_column(write(tmp_path, table), column, KEYS)
    assert "\n" not in str(error.value)
