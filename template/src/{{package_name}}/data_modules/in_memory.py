"""Base of the data modules whose images fit into memory."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from ..utils.project import UserError, shown

Batch = tuple[Tensor, ...]


class ImageTensors(TensorDataset):
    """Images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,)."""

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch at once, so that the loader does not handle samples one by one."""
        chosen = torch.as_tensor(indices)
        return tuple(tensor[chosen] for tensor in self.tensors)


def stratified_split(labels: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Choose so many samples, of each label the share that it has; return the others' indices and theirs."""
    # a generator of its own: the same samples are chosen whatever else draws random numbers
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].argsort(stable=True)]
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[torch.linspace(0, len(labels) - 1, size).round().long()] = True
    return order[~chosen], order[chosen]


def download(folder: Path, sha256: Mapping[str, str], mirrors: Sequence[str]) -> None:
    """Check files by SHA-256, and download the missing ones; raise UserError if one is wrong or cannot be had."""
    for name, expected in sha256.items():
        path, failures = folder / name, []
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise UserError(f"{shown(path)} has a wrong SHA-256: delete it, and it is downloaded again")
        for url in (mirror.rstrip("/") + "/" + name for mirror in mirrors if not path.exists()):
            import pooch  # only here: every other start is faster without

            try:
                pooch.retrieve(url, expected, name, folder, None, pooch.HTTPDownloader(progressbar=True, timeout=30))
            except (OSError, ValueError) as error:  # no connection, broken off, refused; wrong SHA-256
                failures.append(f"{url}: {str(error).splitlines()[0][:99]}")
        if not path.exists():
            raise UserError(f"cannot download {name}: put it into {shown(folder)} by hand ({'; '.join(failures)})")


class InMemoryDataModule(LightningDataModule):
    """Serves images from memory and prepares each batch on the device.

    A subclass sets the class attributes and implements `load`. The loaders give uint8 images; scaling to [0, 1],
    augmentation (in training) and normalisation happen on the device, on the whole batch.

    Args:
        batch_size: Samples per batch and process.
        num_workers: Worker processes per loader; 0 is fastest for data in memory.
        val_size: Samples of the training set that are held out for validation; a tenth of it if 0.
        split_seed: Seed of the choice of these samples.
        max_shift: In training, shift each image by up to so many pixels in each direction.
    """

    num_classes: int
    input_shape: tuple[int, ...]  # of an image: (C, H, W)
    mean: float  # of the training images, whose pixels are in [0, 1]
    std: float

    def __init__(
        self, batch_size: int = 64, num_workers: int = 0, val_size: int = 0, split_seed: int = 0, max_shift: int = 0
    ) -> None:
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers
        self.val_size, self.split_seed, self.max_shift = val_size, split_seed, max_shift

    @abstractmethod
    def load(self, train: bool) -> ImageTensors:
        """Return the official training set, or the official test set."""

    def setup(self, stage: str) -> None:
        """Load what the stage, `fit`, `validate`, `test` or `predict`, needs."""
        if stage in ("test", "predict"):
            self.test_set = self.load(train=False)
            return
        images, labels = self.load(train=True).tensors
        size = self.val_size or len(labels) // 10
        if not 0 < size < len(labels):
            raise UserError(f"val_size is {size}, but only 1 to {len(labels) - 1} samples can be held out")
        parts = stratified_split(labels, size, self.split_seed)
        self.train_set, self.val_set = (ImageTensors(images[part], labels[part]) for part in parts)

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train_set, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.val_set)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.test_set)

    predict_dataloader = test_dataloader

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn uint8 images on the device into what the network gets: float32, normalised."""
        images, labels = batch
        images = images.float() / 255
        if self.trainer is not None and self.trainer.training:
            images = self.augment(images)
        return (images - self.mean) / self.std, labels

    def augment(self, images: Tensor) -> Tensor:
        """Return training images, float32 in [0, 1] of shape (N, C, H, W), changed at random. Override at will."""
        if not self.max_shift:
            return images
        windows = F.pad(images, [self.max_shift] * 4).unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
        down, right = torch.randint(2 * self.max_shift + 1, (2, len(images)), device=images.device)
        return windows[torch.arange(len(images), device=images.device), :, down, right]

    def _loader(self, dataset: ImageTensors, shuffle: bool = False) -> DataLoader[Batch]:
        sampler = None
        if self.trainer is not None and self.trainer.world_size > 1 and not shuffle:
            # Lightning's sampler would repeat samples until every process has as many, and so distort the metrics
            sampler = UnrepeatedDistributedSampler(dataset, self.trainer.world_size, self.trainer.global_rank, False)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=tuple,  # the dataset has made the batch
            persistent_workers=self.num_workers > 0,
        )
