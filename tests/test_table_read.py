"""Files as people write them: separators, headers, encodings, kinds of cells, and what is refused."""

import gzip

import polars as pl
import pytest

from fastbp.table.columns import BadCells
from fastbp.table.read import Format, read

PLAIN = "name,x,day\nada,1.5,2024-01-01\nbob,2.5,2024-01-02\n"


@pytest.fixture
def written(tmp_path):
    """written(text or bytes, name="t.csv") -> its path."""

    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


EXPECTED = pl.DataFrame({"name": ["ada", "bob"], "x": [1.5, 2.5], "day": ["2024-01-01", "2024-01-02"]}).with_columns(
    pl.col("day").str.to_datetime("%Y-%m-%d")
)


@pytest.mark.parametrize(
    ("content", "name", "form"),
    [
        (PLAIN, "t.csv", None),
        (PLAIN.replace("\n", "\r\n"), "t.csv", None),
        (PLAIN.replace("\n", "\n\n"), "t.csv", None),
        ("\ufeff" + PLAIN, "t.csv", None),
        (PLAIN.encode("utf-16"), "t.csv", None),
        (gzip.compress(PLAIN.encode(), mtime=0), "t.csv.gz", None),
        (PLAIN.replace(",", "\t"), "t.tsv", None),
        (PLAIN.replace(",", ";").replace(".5", ",5"), "t.csv", Format(decimal=",")),
        (PLAIN.replace(",", ";").replace(".5", ",5"), "t.csv", None),
        (PLAIN.replace("\n", "\r"), "t.csv", None),
        (PLAIN.replace(",", "#"), "t.csv", Format(separator="#")),
        (
            PLAIN.replace("2024-01-0", "0").replace("01\n", "01.01.2024\n").replace("02\n", "02.01.2024\n"),
            "t.csv",
            None,
        ),
    ],
)
def test_one_table_in_many_forms(written, content, name, form):
    assert read(written(content, name), form).frame.equals(EXPECTED)


def test_parquet(tmp_path):
    EXPECTED.write_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").frame.equals(EXPECTED)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("1,2\n3,4\n", ["1", "2"]),
        ("0,1,2\n5,6,7\n8,9,8\n", ["0", "1", "2"]),
        ("a,b\n1,2\n", ["a", "b"]),
        ("a,b\n1,x,2\n3,y,4\n", ["row", "a", "b"]),
        ("a,a,\n1,2,3\n", ["a", "a_", "column 3"]),
        ("ä,日本\n1,2\n", ["ä", "日本"]),
        ("red,small\nblue,big\nred,big\n", ["1", "2"]),
    ],
)
def test_names(written, content, names):
    assert read(written(content)).frame.columns == names


def test_a_header_is_taken_or_not_as_asked(written):
    path = written("1,2\n3,4\n")
    assert read(path, Format(header=True)).frame.columns == ["1", "2"]
    assert len(read(path, Format(header=True)).frame) == 1
    assert len(read(path, Format(header=False)).frame) == 2


def test_the_columns_of_a_model_make_a_header(written):
    path = written("a,b\na,x\n")
    assert read(path).frame.columns == ["1", "2"]
    assert read(path, kinds={"b": "text"}).frame.columns == ["a", "b"]


def test_quotes_hold_separators_and_newlines(written):
    frame = read(written('a,b\n"x, y\nz",1\n"say ""so""",2\n')).frame
    assert frame["a"].to_list() == ["x, y\nz", 'say "so"']
    assert frame["b"].to_list() == [1, 2]


def test_windows_encoding(written):
    assert read(written("name,x\nJosé,1\nZoë,2\n".encode("cp1252"))).frame["name"].to_list() == ["José", "Zoë"]


def test_kinds_of_cells(written):
    frame = read(written("n,b,t,m\n1,true,a,NA\n2,False,b,1.5\n,,,\n")).frame
    assert frame.dtypes == [pl.Int64, pl.Boolean, pl.String, pl.Float64]
    assert frame["m"].to_list() == [None, 1.5, None]


@pytest.mark.parametrize(
    ("content", "form", "values"),
    [
        ('a,b\n"1,234",1\n"-12,345.5",2\n7,3\n', None, [1234, -12345.5, 7]),
        ("a;b\n1.234;1\n12.345,5;2\n7;3\n", Format(decimal=","), [1234, 12345.5, 7]),
        ("a;b\n1,234;1\n2,345;2\n", Format(decimal="."), ["1,234", "2,345"]),
        ('a,b\n"0,123",1\n', None, ["0,123"]),
        ("a,b\n5%,1\n12.5 %,2\n", None, [5, 12.5]),
        ("a,b\n1e3,1\n+2,2\n", None, [1000, 2]),
    ],
)
def test_numbers_as_people_write_them(written, content, form, values):
    assert read(written(content), form).frame["a"].to_list() == values


def rows(bad, n=40):
    return "x,y\n" + "".join(f"{bad.get(i, i)},{i}\n" for i in range(n))


def test_bad_cells_are_counted_and_shown_with_their_lines(written):
    path = written(rows({3: "oops", 30: "1e400"}))
    with pytest.raises(BadCells) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(
        f"{path} has 2 bad cells, where a number was expected: line 5, column 'x': 'oops'; line 32"
    )
    assert "--missing 'oops'" in message
    assert read(path, Format(missing=["oops", "1e400"])).frame["x"].null_count() == 2


def test_five_bad_cells_are_shown(written):
    with pytest.raises(BadCells, match="7 bad cells") as caught:
        read(written(rows(dict.fromkeys(range(7), "?!"), 100)))
    assert str(caught.value).count("line ") == 5


def test_the_kinds_of_a_model_are_kept(written):
    frame = read(written("zip,n\n10115,1\n75001,2\n"), kinds={"zip": "text"}).frame
    assert frame["zip"].to_list() == ["10115", "75001"]
    with pytest.raises(BadCells, match="line 2, column 'n': 'a'"):
        read(written("n,m\na,1\nb,1\n"), kinds={"n": "number"})


def test_a_file_that_does_not_fit_in_memory_is_refused_with_a_figure(written, monkeypatch):
    path = written(PLAIN)
    monkeypatch.setattr("fastbp.table.read.memory", lambda: 4 * len(PLAIN))
    assert len(read(path).frame) == 2
    monkeypatch.setattr("fastbp.table.read.memory", lambda: 4 * len(PLAIN) - 1)
    with pytest.raises(ValueError, match=r"at most 0\.0 GB of text, a quarter of this machine's memory"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b\n", "has no rows"),
        ("a,b\n1,2\n1,2,3\n1,2\n", "line 3 must have 2 fields, got 3"),
        (b"\x00\x01\x02", "is not a text file"),
        (b"\x1f\x8b\x00", "is not a readable gzip file"),
    ],
)
def test_faults_are_named(written, content, message):
    with pytest.raises(ValueError, match=message):
        read(written(content))
