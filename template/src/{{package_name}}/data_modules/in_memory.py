"""Bases of the data modules whose images fit into memory."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from ..utils.project import UserError, project_root, shown

Batch = tuple[Tensor, ...]


class ImageTensors(TensorDataset):
    """Images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,)."""

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch at once: the loader does not handle samples one by one."""
        chosen = torch.tensor(indices).to(
            self.tensors[0].device, non_blocking=True
        )  # no step waits for the device
        return tuple(part.index_select(0, chosen) for part in self.tensors)

    def sample_columns(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return what predictions.csv says of samples beside their predictions, by column: their labels."""
        if len(self.tensors) < 2 or self.tensors[1].ndim > 2:
            return {}
        labels = self.tensors[1][list(positions)]
        is_single_target = labels.ndim == 2 and labels.shape[1] == 1
        return {"label": labels[:, 0] if is_single_target else labels}

    def split(self, size: int, seed: int, fold: slice | None = None) -> tuple[Self, Self]:
        """Split off `size` samples, or a fold, and return the others and them.

        Labels of shape (N,) are stratified. Labels of another shape, such as masks (N, H, W), are split at random.
        """
        labels = self.tensors[1]
        # a generator of its own: the same samples are chosen whatever else draws random numbers
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        if labels.ndim == 1:
            order = order[labels[order].argsort(stable=True)]
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        chosen[fold or torch.linspace(0, len(labels) - 1, size).round().long()] = True
        others, held_out = copy(self), copy(self)
        others.tensors, held_out.tensors = self[order[~chosen]], self[order[chosen]]
        return others, held_out


class Shuffle(DistributedSampler[int]):
    """The order of torch's own, kept as a tensor: a list of millions of numbers takes long and hundreds of MB."""

    order: Tensor | None = None  # of the last epoch; the next one takes its memory

    def __iter__(self) -> Iterator[int]:
        generator, size = (
            torch.Generator().manual_seed(self.seed + self.epoch),
            len(cast("Any", self.dataset)),
        )
        self.order = order = torch.randperm(
            size, generator=generator, dtype=torch.int32, out=self.order
        )
        # every process gets as many: some samples once more
        order = order.repeat(-(-self.total_size // size)) if self.total_size > size else order
        for part in torch.split(order[self.rank : self.total_size : self.num_replicas], 10_000):
            yield from part.tolist()


class ResumableLoader(DataLoader[Batch]):
    """Begins with the batch before which a run stopped within an epoch, if `skip` says how many were before it."""

    skip = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch declares a class of its own
        skip, self.skip = self.skip, 0
        yield from islice(super().__iter__(), skip, None)


def parse_fold(fold: str) -> tuple[int, int]:
    """Return the number of a part and how many parts there are: 2/5 is the second of five."""
    number, _, folds = fold.partition("/")
    if (
        number.isdecimal()
        and folds.isdecimal()
        and 1 <= int(number) <= int(folds)
        and int(folds) > 1
    ):
        return int(number), int(folds)
    raise UserError(f"fold is {fold}, but must be such as 2/5, which is the second of five parts")


class InMemoryDataModule(LightningDataModule):
    """Serves images from memory, as uint8; on the device, whole batches are scaled to [0, 1], augmented and normalised.

    A subclass sets the class attributes and implements `load`.

    Args:
        batch_size: Samples per batch and process.
        num_workers: Worker processes per loader; 0 is fastest for data in memory.
        val_size: Samples of the training set that are held out for validation; a tenth of it if 0.
        split_seed: Seed of the choice of these samples.
        fold: Hold out one of several parts instead: 2/5 is the second of five, which together are all samples.
        on_device: Whether to keep all data on the device that trains; only without workers.
    """

    num_classes: int
    input_shape: tuple[int, ...]  # of an image: (C, H, W)
    mean: float  # of the training images, whose pixels are in [0, 1]
    std: float

    def __init__(
        self,
        batch_size: int = 64,
        num_workers: int = 0,
        val_size: int = 0,
        split_seed: int = 0,
        on_device: bool = False,
        fold: str | None = None,
    ) -> None:
        super().__init__()
        if on_device and num_workers:
            raise UserError(
                f"on_device is without workers, but num_workers is {num_workers}: set one to false or 0"
            )
        number, folds = parse_fold(fold) if fold else (1, 2)
        self.batch_size, self.num_workers, self.on_device = batch_size, num_workers, on_device
        self.val_size, self.split_seed = val_size, split_seed
        self.fold = slice(number - 1, None, folds) if fold else None

    @abstractmethod
    def load(self, train: bool) -> ImageTensors:
        """Return the official training set, or the official test set."""

    def setup(self, stage: str) -> None:
        """Load what the stage, `fit`, `validate`, `test` or `predict`, needs."""
        if stage in ("test", "predict"):
            self.test_set = self.load(train=False)
            return
        data = self.load(train=True)
        size = self.val_size or len(data) // 10
        if not 0 < size < len(data):
            raise UserError(
                f"val_size is {size}, but only 1 to {len(data) - 1} samples can be held out"
            )
        self.train_set, self.val_set = data.split(size, self.split_seed, self.fold)

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train_set, Shuffle, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        # Lightning's own sampler would repeat samples until every process has as many, and so distort the metrics
        return self._loader(self.val_set, UnrepeatedDistributedSampler)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.test_set, UnrepeatedDistributedSampler)

    predict_dataloader = test_dataloader

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn uint8 images on the device into what the network gets: floating point of its precision, normalised."""
        images, labels = batch
        images = (
            images.to(self.trainer.lightning_module.dtype if self.trainer else torch.float32) / 255
        )
        if self.trainer is not None and self.trainer.training:
            images = self.augment(images)
        return (images - self.mean) / self.std, labels

    def augment(self, images: Tensor) -> Tensor:
        """Return training images, float32 in [0, 1] of shape (N, C, H, W), changed at random. Override at will."""
        return images

    def _loader(self, data: Any, sampler: type[Any], shuffle: bool = False) -> DataLoader[Batch]:
        trainer: Any = self.trainer
        processes, rank = getattr(trainer, "world_size", 1), getattr(trainer, "global_rank", 0)
        if self.on_device and trainer and isinstance(data, ImageTensors):
            data.tensors = tuple(part.to(trainer.strategy.root_device) for part in data.tensors)
        seed = int(
            os.environ.get("PL_GLOBAL_SEED", 0)
        )  # the order depends on it and the epoch alone
        order = sampler(data, processes, rank, shuffle, seed)
        if trainer and trainer.overfit_batches and trainer.state.fn == "fit":
            # the same batches in every epoch, of all labels: mixed once, and in the one order that Lightning asks for
            mixed = torch.randperm(
                len(data), generator=torch.Generator().manual_seed(seed)
            ).tolist()
            data, order = Subset(data, mixed), SequentialSampler(mixed)
        workers: dict[str, Any] = {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
        }
        workers["generator"] = (
            torch.Generator()
        )  # of its own, which leaves the global one to what else draws from it
        # the dataset makes whole batches
        return ResumableLoader(
            data, batch_size=self.batch_size, sampler=order, collate_fn=tuple, **workers
        )


class DownloadedDataModule(InMemoryDataModule):
    """Reads files from the folder `name` of the data folder, where those that are missing are downloaded to.

    Args:
        data_dir: The data folder, relative to the working directory; `data` in the project's root if None.
        mirrors: Base URLs to download from, tried in this order; those of the class if None.
    """

    name: str
    mirrors: Sequence[str]
    sha256: ClassVar[dict[str, str]]  # of each file

    def __init__(
        self, data_dir: str | None = None, mirrors: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.folder = (Path(data_dir) if data_dir else project_root() / "data") / self.name
        self.mirrors = self.mirrors if mirrors is None else mirrors

    def prepare_data(self) -> None:
        """Check files by SHA-256, and download the missing ones; raise UserError if one is wrong or cannot be had."""
        for name, expected in self.sha256.items():
            path, errors = self.folder / name, []
            if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
                raise UserError(
                    f"{shown(path)} has a wrong SHA-256: delete it, and it is downloaded again"
                )
            for url in (
                mirror.rstrip("/") + "/" + name for mirror in self.mirrors if not path.exists()
            ):
                import pooch  # only here: every other start is faster without

                try:
                    downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
                    pooch.retrieve(url, expected, name, self.folder, downloader=downloader)
                except (
                    OSError,
                    ValueError,
                ) as error:  # no connection, broken off, refused; wrong SHA-256
                    errors.append(f"{url}: {str(error).splitlines()[0][:99]}")
            if not path.exists():
                reasons = "; ".join(errors)
                raise UserError(
                    f"cannot download {name}: put it into {shown(self.folder)} by hand ({reasons})"
                )
