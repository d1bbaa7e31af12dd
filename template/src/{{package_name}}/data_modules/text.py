"""Texts to classify: a CSV, JSONL or Parquet file of your own, or a dataset of the Hugging Face Hub."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from ..utils.limits import PositiveInt
from ..utils.new_data import read_learned
from ..utils.project import UserError, project_root, shown
from .in_memory import ImageTensors, InMemoryDataModule
from .like_lengths import LikeLengthsSampler
from .text_files import (
    are_empty,
    as_table,
    check_exists,
    classes_of,
    read_dataset,
    read_file,
    refuse_unused,
    shortened,
)

LETTERS = 80  # of a text in predictions.csv and in the report
CHUNK = 10_000  # texts that are tokenised at a time, because the tokens of all take much memory in this form

TextBatch = tuple[dict[str, Tensor], Tensor]


class Texts(ImageTensors):
    """Texts as numbers of tokens, and their labels. A batch is padded to its longest text.

    The tensors of this dataset are the positions of the texts, int64 of shape (N,), and their labels.

    Args:
        tokens: The tokens of each text, int32 of shape (length,).
        padding: Number of the token that fills up the shorter texts of a batch.
        labels: Labels, int64 of shape (N,).
        columns: More columns of predictions.csv, by name: a value for each text.
        labelled: Whether predictions.csv has the labels. Without, they only complete a batch.
    """

    def __init__(
        self,
        tokens: Sequence[Tensor],
        padding: int,
        labels: Tensor,
        columns: dict[str, list[Any]],
        labelled: bool = True,
    ) -> None:
        super().__init__(torch.arange(len(labels)), labels, columns=columns, labelled=labelled)
        self.padding = padding
        self.lengths = torch.tensor([len(text) for text in tokens])
        # One tensor for all texts, because a million small ones take far more memory.
        self.tokens = torch.cat(list(tokens))
        self.ends = self.lengths.cumsum(dim=0)  # where each text ends in it

    def __getitems__(self, indices: Sequence[int]) -> TextBatch:  # type: ignore[override]  # its inputs have names
        """Return a whole batch: `input_ids` and `attention_mask`, int64 (N, length), and labels, int64 (N,)."""
        positions = torch.tensor(indices)
        lengths = self.lengths[positions]
        ends = self.ends[positions]
        starts = ends - lengths
        texts = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            texts.append(self.tokens[start:end].long())
        ids = pad_sequence(texts, batch_first=True, padding_value=self.padding)
        is_token = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)
        labels = self.tensors[1][positions]
        return {"input_ids": ids, "attention_mask": is_token.long()}, labels


class TextDataModule(InMemoryDataModule):
    """Texts are tokenised once, and batches have texts of like length.

    A batch is a pair of inputs, a dictionary of `input_ids` and `attention_mask`, int64 of shape (N, length), and
    labels, int64 of shape (N,). The classes are the values of the label column in the training data, sorted: label 0
    is the first. An empty text is a mistake in training, and has no prediction.

    Args:
        tokenizer: Name on the Hugging Face Hub, or folder, of the tokenizer. The command line fills in the network's.
        file: CSV, JSONL or Parquet file of the texts, relative to the working directory; the project's `data/texts.csv`
            if None.
        val_file: File to validate on; `val_size` of the training texts if None.
        test_file: File to test on; `test_size` of the texts if None.
        dataset: Instead of files, name of a dataset on the Hub, or a folder in its format.
        subset: Name of a part (a configuration) of that dataset, if it has several.
        test_split: Split of that dataset to test on. If None, it is `test` if there is one.
        text_column: Column of the texts.
        label_column: Column of the labels.
        max_length: Longest text in tokens, those that the tokenizer adds included. What is longer is cut.
        test_size: Number of texts for testing, or a share below 1, without a file or a split for it.
        val_size: Number, or share, of the other texts for validation, without a file or a split for it.
        split_seed: Seed that chooses the held-out texts.
        fold: Hold out a part for validation instead: 2/5 is the second of five.
        batch_size: Texts per batch and process.
        predict: A file of texts to predict with `predict`. It needs no labels.
        run: Directory of the run that predicts them. The command line fills it in.
        strict: Whether to end at a text that cannot be predicted, instead of leaving its predictions empty.

    Raises:
        UserError: A file, dataset or column is missing, a text or a label is empty, or there is no tokenizer.
    """

    def __init__(
        self,
        tokenizer: str | None = None,
        file: str | None = None,
        val_file: str | None = None,
        test_file: str | None = None,
        dataset: str | None = None,
        subset: str | None = None,
        test_split: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        max_length: PositiveInt = 128,
        test_size: float = 0.2,
        val_size: float = 0.1,
        split_seed: int = 0,
        fold: str | None = None,
        batch_size: int = 32,
        predict: str | None = None,
        run: str | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(
            batch_size, split_seed=split_seed, fold=fold, predict=predict, run=run, strict=strict
        )
        self.text_column = text_column
        self.label_column = label_column
        self.max_length = max_length
        self.input_shape = (max_length,)
        self.sha256: dict[str, str] = {}
        if predict:  # neither the training texts nor the tokenizer's files need be there
            learned = read_learned(run)
            self.tokenizer = tokenizer_of(learned["tokenizer"])
            self.padding = learned["padding"]
            self._set_classes(learned["classes"])
        else:
            self.tokenizer, self.padding = read_tokenizer(tokenizer, max_length)
            refuse_unused(dataset, [file, val_file, test_file], [subset, test_split])
            if dataset:
                tables = self._read_dataset(dataset, subset, test_split)
            else:
                tables = self._read_files(file, val_file, test_file)
            self._set_classes(classes_of(tables["train"][label_column]))
            self._check_classes(tables)
            self.tables = self._with_held_out(tables, test_size, val_size)
        self.tokenizer.enable_truncation(max_length)

    def learned(self) -> dict[str, Any]:
        """Return what predictions of new texts need of the training: the classes, and the tokenizer as JSON."""
        tokenizer = self.tokenizer.to_str()
        return {"classes": self.classes, "padding": self.padding, "tokenizer": tokenizer}

    def load(self, train: bool) -> Texts:
        """Return the texts to train on, or those to test on."""
        return self._tokenised("train" if train else "test")

    def setup(self, stage: str) -> None:
        """Tokenise the texts that the stage, `fit`, `validate`, `test` or `predict`, needs."""
        if self.predict:  # `predict_dataloader` reads them
            return
        if stage in ("fit", "validate"):
            self.train_set = self._tokenised("train")
            self.val_set = self._tokenised("val")
        else:
            self.test_set = self._tokenised("test")

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the training texts, in batches of like length."""
        sampler_class = partial(LikeLengthsSampler, batch_size=self.batch_size)
        sampler = self._sampler(sampler_class, self.train_set, shuffle=True)
        return self._loader(self.train_set, sampler)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return the batch as it is. Images would be scaled and normalised here."""
        return batch

    def new_samples(self, path: str) -> Texts:
        """Return the texts of a file to predict, with their labels if it has some."""
        file = Path(path)
        table = read_file(file)
        check_exists(shown(file), table, self.text_column, "text_column")
        if table.empty:
            raise UserError(f"{shown(file)} has no rows")
        problem = f"column {self.text_column} has no text"
        problems = []
        for row, is_empty in are_empty(table[self.text_column]).items():
            if is_empty and self.strict:
                raise UserError(f"{shown(file)}: {problem} in row {row}")
            problems.append(problem if is_empty else "")
        columns: dict[str, list[Any]] = {"problem": problems}
        if self.label_column in table:
            names = table[self.label_column].astype(str)
            columns["label"] = [self.label_of.get(name) for name in names]
        placeholders = torch.zeros(len(table), dtype=torch.int64)  # because a batch has labels
        return self._as_tokens(table, placeholders, columns, labelled=False)

    def _read_files(
        self, file: str | None, val_file: str | None, test_file: str | None
    ) -> dict[str, pandas.DataFrame]:
        """Return the tables of the files, by the names of the sets."""
        paths = {"train": Path(file) if file else project_root() / "data" / "texts.csv"}
        if val_file:
            paths["val"] = Path(val_file)
        if test_file:
            paths["test"] = Path(test_file)
        tables = {}
        for name, path in paths.items():
            table = read_file(path)
            tables[name] = self._checked(shown(path), table)
            self.sha256[shown(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return tables

    def _read_dataset(
        self, dataset: str, subset: str | None, test_split: str | None
    ) -> dict[str, pandas.DataFrame]:
        """Return the tables of the splits of a dataset of the Hub, by the names of the sets."""
        splits, self.sha256 = read_dataset(dataset, subset)
        names = {"train": "train", "val": "validation", "test": test_split or "test"}
        if test_split == "validation":
            del names["val"]  # it is held out of the training texts
        tables = {}
        for name, split in names.items():
            if split in splits:
                title = f"split {split} of {dataset}"
                tables[name] = self._checked(title, as_table(splits[split], self.label_column))
            elif name == "train" or test_split == split:
                there = ", ".join(splits)
                raise UserError(f"{dataset} has no split {split}: there are {there}")
        return tables

    def _checked(self, title: str, table: pandas.DataFrame) -> pandas.DataFrame:
        """Return the columns of texts and labels. Raise UserError if one is missing, or has an empty cell.

        Args:
            title: Name of the table, for the message.
            table: The table.
        """
        columns = {"text_column": self.text_column, "label_column": self.label_column}
        for option, column in columns.items():
            check_exists(title, table, column, option)
            empty = are_empty(table[column])
            if empty.any():
                row = table.index[empty][0]
                raise UserError(f"{title}: column {column} has no value in row {row}")
        return table[list(columns.values())]

    def _set_classes(self, classes: Sequence[str]) -> None:
        """Set the attributes about classes, whose names are given in the order of the labels."""
        self.classes = list(classes)
        self.num_classes = len(self.classes)
        self.label_of = {name: label for label, name in enumerate(self.classes)}

    def _check_classes(self, tables: dict[str, pandas.DataFrame]) -> None:
        """Raise UserError if a set has a class that the training texts do not have."""
        for name, table in tables.items():
            new = set(table[self.label_column].astype(str)) - set(self.classes)
            if new:
                problem = f"the {name} set has the class {min(new)}"
                raise UserError(f"{problem}, which no training text has")

    def _with_held_out(
        self, tables: dict[str, pandas.DataFrame], test_size: float, val_size: float
    ) -> dict[str, pandas.DataFrame]:
        """Return tables for all sets: those that are missing are held out of the training texts."""
        tables = dict(tables)
        if "test" not in tables:
            tables["train"], tables["test"] = self._split(tables["train"], test_size, "test_size")
        if "val" in tables and self.fold:
            raise UserError("fold is set, but there are texts for validation: leave one out")
        if "val" not in tables:
            tables["train"], tables["val"] = self._split(
                tables["train"], val_size, "val_size", self.fold
            )
        return tables

    def _split(
        self, table: pandas.DataFrame, size: float, name: str, fold: slice | None = None
    ) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        """Split off a held-out set of rows, stratified by class. Returns (remaining, held out).

        Args:
            table: The rows.
            size: Rows to hold out: their number, or their share if less than 1.
            name: Name of that argument, for the message.
            fold: Positions to hold out instead, as in ImageTensors.split.
        """
        count = round(size) if size >= 1 else round(size * len(table))
        if not 0 < count < len(table):
            problem = f"{name} is {size}, which is {count} of {len(table)} texts"
            raise UserError(f"{problem}: hold out some, but not all")
        numbered = ImageTensors(torch.arange(len(table)), self._labels_of(table))
        kept, held_out = numbered.split(count, self.split_seed, fold)
        return rows_of(table, kept), rows_of(table, held_out)

    def _labels_of(self, table: pandas.DataFrame) -> Tensor:
        """Return the labels of rows, int64 of shape (N,)."""
        names = table[self.label_column].astype(str)
        return torch.tensor([self.label_of[name] for name in names])

    def _tokenised(self, name: str) -> Texts:
        """Return the set `train`, `val` or `test`."""
        table = self.tables[name]
        return self._as_tokens(table, self._labels_of(table), {})

    def _as_tokens(
        self,
        table: pandas.DataFrame,
        labels: Tensor,
        columns: dict[str, list[Any]],
        labelled: bool = True,
    ) -> Texts:
        """Return the texts of a table as tokens, and print how many of them are cut.

        Args:
            table: The rows.
            labels: Their labels, int64 of shape (N,).
            columns: More columns of predictions.csv, by name: a value for each row.
            labelled: Whether predictions.csv has the labels.
        """
        texts = table[self.text_column].fillna("").astype(str).tolist()
        tokens: list[Tensor] = []
        cut = 0
        for start in range(0, len(texts), CHUNK):
            for encoding in self.tokenizer.encode_batch(texts[start : start + CHUNK]):
                tokens.append(torch.tensor(encoding.ids, dtype=torch.int32))
                if encoding.overflowing:
                    cut += 1
        if cut:
            longest = f"data.max_length, {self.max_length} tokens"
            rank_zero_info(f"{cut} of {len(texts)} texts are longer than {longest}, and are cut")
        all_columns = {
            "row": table.index.tolist(),
            "text": [shortened(text, LETTERS) for text in texts],
            **columns,
        }
        return Texts(tokens, self.padding, labels, all_columns, labelled)


def tokenizer_of(text: str) -> Any:
    """Return the tokenizer that a run has kept as JSON."""
    from tokenizers import Tokenizer  # not from `transformers`, whose import takes seconds

    return Tokenizer.from_str(text)


def read_tokenizer(name: str | None, max_length: int) -> tuple[Any, int]:
    """Return the tokenizer of a model, and the number of its padding token.

    Raises:
        UserError: There is none of this name, or it does not take texts of this length.
    """
    if name is None:
        advice = (
            "pass -c configs/model/transformer.yaml, or --data.tokenizer for a network of yours"
        )
        raise UserError(f"data.tokenizer is missing: {advice}")
    from transformers import AutoTokenizer  # imported here, because it takes seconds

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the tokenizer of {name} cannot be read: {reason}") from error
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise UserError(f"{name} has no fast tokenizer with a padding token: take another model")
    if max_length > tokenizer.model_max_length:
        longest = tokenizer.model_max_length
        raise UserError(
            f"data.max_length is {max_length}, but {name} takes at most {longest} tokens"
        )
    return tokenizer.backend_tokenizer, tokenizer.pad_token_id


def rows_of(table: pandas.DataFrame, numbered: ImageTensors) -> pandas.DataFrame:
    """Return the rows of a table whose numbers are the images of a dataset, in the table's order."""
    numbers = numbered.tensors[0].sort().values
    return table.iloc[numbers.numpy()]
