"""Reads rows of Parquet files when they are needed. Read it if a row is missing, or if reading takes too much memory.

A Parquet file consists of row groups. One is read as a whole, whichever of its rows is needed, and it stays in memory
until all of its rows have been used. Where the groups begin stands at the end of each file.
"""

from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, NamedTuple

import fsspec
import pyarrow
import pyarrow.parquet

from .project import UserError, shown

LARGEST_GROUP = 2**30  # bytes; eight of them are open at a time
FILES_AT_A_TIME = 16  # whose ends are read, because those of remote files take their time
READING_ERRORS = (OSError, pyarrow.ArrowException, RuntimeError, ValueError)


class RowError(UserError):
    """A row that cannot be read or used.

    PyTorch raises a worker's error again with its traceback in the text. Only the message is kept here.
    """

    def __init__(self, text: str) -> None:
        message = text.rpartition("RowError: ")[2]
        super().__init__(message.strip())


class Piece(NamedTuple):
    """Rows of one row group."""

    file: str  # a path or a URL
    group: int  # number of the row group in its file
    first: int  # number of the first row in the group
    rows: int


class ParquetRows:
    """Rows of Parquet files as dictionaries, by their positions.

    Args:
        pieces: The rows, in their order.
        columns: Names of the columns to read.
        most_rows: Rows that may be kept in memory. Row groups that were not used for the longest time make room.
    """

    def __init__(self, pieces: Sequence[Piece], columns: Sequence[str], most_rows: int) -> None:
        self.pieces = pieces
        self.columns = list(columns)
        self.most_rows = most_rows
        self.ends = list(accumulate(piece.rows for piece in pieces))
        # both by the numbers of pieces; the table that was used last is the last one
        self.tables: dict[int, pyarrow.Table] = {}
        self.unused: dict[int, int] = {}  # rows that nobody has asked for

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Return the row at a position. Raise RowError if its file cannot be read."""
        number = bisect_right(self.ends, position)
        table = self._table(number)
        row = position - (self.ends[number] - self.pieces[number].rows)
        values = {name: table.column(name)[row].as_py() for name in self.columns}
        self.unused[number] -= 1
        if self.unused[number] == 0:
            self._forget(number)
        return values

    def _table(self, number: int) -> pyarrow.Table:
        """Return the rows of a piece, from memory or else from its file."""
        if number in self.tables:
            table = self.tables.pop(number)
        else:
            piece = self.pieces[number]
            self._make_room(piece.rows)
            table = read_piece(piece, self.columns)
            self.unused[number] = piece.rows
        self.tables[number] = table
        return table

    def _make_room(self, rows: int) -> None:
        """Forget the tables that were not used for the longest time, until so many rows fit in."""
        kept = sum(len(table) for table in self.tables.values())
        for number in list(self.tables):
            if kept + rows <= self.most_rows:
                return
            kept -= len(self.tables[number])
            self._forget(number)

    def _forget(self, number: int) -> None:
        del self.tables[number]
        del self.unused[number]


def read_piece(piece: Piece, columns: Sequence[str]) -> pyarrow.Table:
    """Return columns of a piece's rows. Raise RowError if the file cannot be read."""
    try:
        with fsspec.open(piece.file, "rb") as file:
            group = pyarrow.parquet.ParquetFile(file).read_row_group(piece.group, list(columns))
    except READING_ERRORS as error:
        reason = " ".join(str(error).split())
        raise RowError(f"{shown(piece.file)} cannot be read: {reason}") from error
    return group.slice(piece.first, piece.rows)


def pieces_of(files: Sequence[str]) -> list[Piece]:
    """Return the row groups of Parquet files, in their order. Raise RowError if one cannot be read or is too large."""
    with ThreadPoolExecutor(FILES_AT_A_TIME) as threads:
        found = threads.map(groups_of, files)
        return [piece for pieces in found for piece in pieces]


def groups_of(file: str) -> list[Piece]:
    """Return the row groups of a Parquet file. Raise RowError if it cannot be read, or a group is too large."""
    try:
        with fsspec.open(file, "rb") as opened:
            metadata = pyarrow.parquet.read_metadata(opened)
    except READING_ERRORS as error:
        reason = " ".join(str(error).split())
        raise RowError(f"{shown(file)} is no Parquet file that can be read: {reason}") from error
    pieces = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if group.total_byte_size > LARGEST_GROUP:
            size = f"{group.total_byte_size / 2**30:.1f} GiB"
            problem = f"{shown(file)} has a row group of {size}, which is read as a whole"
            raise RowError(f"{problem}: write smaller ones, of 100 MB")
        pieces.append(Piece(file, number, 0, group.num_rows))
    return pieces


def schema_of(file: str) -> pyarrow.Schema:
    """Return the columns of a Parquet file and their types. Raise RowError if it cannot be read."""
    try:
        with fsspec.open(file, "rb") as opened:
            return pyarrow.parquet.read_schema(opened)
    except READING_ERRORS as error:
        reason = " ".join(str(error).split())
        raise RowError(f"{shown(file)} is no Parquet file that can be read: {reason}") from error


def rows_between(pieces: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    """Return the pieces of the rows from `start` to before `stop`, the outer ones cut."""
    found = []
    end = 0
    for piece in pieces:
        begin = end
        end = begin + piece.rows
        first = max(start, begin)
        rows = min(stop, end) - first
        if rows > 0:
            cut = piece._replace(first=piece.first + first - begin, rows=rows)
            found.append(cut)
    return found
