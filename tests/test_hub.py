"""What is special to datasets of the Hugging Face Hub."""

from pathlib import Path
from typing import Any

import pytest
from helpers.datasets import data_module, everything, refused
from PIL import Image

pytestmark = pytest.mark.usefixtures("without_hub")


def write_parquet(folder: Path, split: str, columns: dict[str, list[Any]]) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    rows.to_parquet(folder / f"{split}.parquet")


def test_labels_that_are_texts_become_classes(datasets_package: Path, tmp_path: Path) -> None:
    pictures = [Image.new("L", (8, 8), i) for i in range(20)]
    write_parquet(tmp_path, "train", {"image": pictures, "kind": ["dog", "cat"] * 10})
    write_parquet(tmp_path, "validation", {"image": pictures[:3], "kind": ["cat", "cat", "dog"]})
    write_parquet(tmp_path, "test", {"image": pictures[:1], "kind": ["cow"]})
    data = data_module(
        "huggingface", "HuggingFaceDataModule", str(tmp_path), label_column="kind", image_size=8
    )
    assert (data.num_classes, data.classes) == (2, ["cat", "dog"])
    data.setup("fit")
    assert (len(data.train_set), everything(data.val_set)[1].tolist()) == (20, [0, 0, 1])
    with pytest.raises(
        ValueError, match=r"^test_split of dataset \S+ has the label cow, which is no class$"
    ):
        data.setup("test")


def test_what_is_wrong_with_a_dataset_of_the_hub_is_said_in_one_line(
    datasets_package: Path, parquet_folder: Path, tmp_path: Path
) -> None:
    names = ("huggingface", "HuggingFaceDataModule")
    assert refused(*names, "nobody/nothing").startswith(
        "there is no dataset nobody/nothing to be had: "
    )
    nowhere = str(tmp_path / "nowhere")
    assert refused(*names, nowhere).startswith(f"there is no dataset {nowhere} to be had: ")
    assert "'small' not found" in refused(*names, str(parquet_folder), "small")
    assert refused(*names, str(parquet_folder), image_column="imgae").endswith(
        "no column imgae: did you mean image?"
    )
    assert refused(*names, str(parquet_folder), label_column="lable").endswith(
        "no column lable: did you mean label?"
    )
    for split in ("train", "val", "test"):
        assert "tset" in refused(*names, str(parquet_folder), **{f"{split}_split": "tset"})
    with pytest.raises(ValueError, match=r"^column label of dataset .* has no pictures"):
        data_module(*names, str(parquet_folder), image_column="label").setup("fit")
    broken = [{"bytes": b"text", "path": None}] * 20
    write_parquet(tmp_path, "train", {"image": broken, "label": [0, 1] * 10})
    write_parquet(tmp_path, "test", {"image": broken, "label": [0, 1] * 10})
    data = data_module(*names, str(tmp_path))
    data.setup("test")
    with pytest.raises(ValueError, match=r"^picture 3 is no picture that can be read"):
        data.test_set.__getitems__([3])
