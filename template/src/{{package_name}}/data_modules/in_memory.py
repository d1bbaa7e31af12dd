"""Base classes of data modules whose images fit into memory. Subclass them; this file belongs to the template."""

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from lightning.pytorch.utilities.types import EVAL_DATALOADERS
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ..engine.download import download
from ..engine.samplers import ResumableLoader, ShuffledSampler, overfit_order
from ..engine.samples import values_at
from ..utils.project import UserError, project_root

Batch = tuple[Tensor, ...]

IGNORED_LABEL = -100  # by PyTorch's losses


class ImageTensors(TensorDataset):
    """Images, uint8 of shape (N, C, H, W), and labels, whose first dimension is N.

    Labels are whatever the module's loss takes: class numbers, int64 of shape (N,); masks, int64 of shape (N, H, W);
    several classes at once, of shape (N, K); or real numbers, of shape (N,) or (N, K).

    Args:
        tensors: The images, and the labels.
        columns: More columns of predictions.csv, by name, such as files: a value for each sample.
        labelled: Whether predictions.csv has the labels. Without, they only complete a batch.
    """

    def __init__(
        self,
        *tensors: Tensor,
        columns: Mapping[str, Sequence[Any]] | None = None,
        labelled: bool = True,
    ) -> None:
        super().__init__(*tensors)
        self.columns: dict[str, Sequence[Any]] = dict(columns or {})
        self.labelled = labelled

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch at once, because that is faster than sample by sample."""
        device = self.tensors[0].device
        chosen = torch.tensor(indices).to(device, non_blocking=True)  # does not wait for the GPU
        return tuple(tensor.index_select(0, chosen) for tensor in self.tensors)

    def sample_columns(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return the columns about samples for predictions.csv: `columns`, and labels of shape (N,) or (N, K)."""
        found = values_at(self.columns, positions)
        if not self.labelled or len(self.tensors) < 2 or self.tensors[1].ndim > 2:
            return found
        labels = self.tensors[1][list(positions)]
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        return {**found, "label": labels}

    def split(self, size: int, seed: int, fold: slice | None = None) -> tuple[Self, Self]:
        """Split off a held-out set. Returns (remaining, held out).

        The split is stratified if the labels are class numbers. Other labels, such as real numbers, masks of shape
        (N, H, W) and several classes at once, are split at random.

        Args:
            size: Number of samples to hold out.
            seed: Seed of the split. No other random numbers influence it.
            fold: Positions to hold out instead of `size` samples, in the order of `shuffled_by_class`.
        """
        labels = self.tensors[-1]  # or positions, if the samples are read from files
        order = shuffled_by_class(labels, seed)
        is_held_out = torch.zeros(len(labels), dtype=torch.bool)
        if fold:
            is_held_out[fold] = True
        else:
            is_held_out[evenly_spaced(len(labels), size)] = True
        return self.subset(order[~is_held_out]), self.subset(order[is_held_out])

    def subset(self, positions: Tensor) -> Self:
        """Return the samples at the given positions, int64 of shape (K,)."""
        chosen = copy(self)
        chosen.tensors = self[positions]
        numbers = torch.arange(len(self))[positions]
        chosen.columns = values_at(self.columns, numbers.tolist())
        return chosen


def shuffled_by_class(labels: Tensor, seed: int) -> Tensor:
    """Return all positions, shuffled, and then sorted by label if labels are class numbers.

    Evenly spaced positions are then a stratified sample.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    if not are_class_numbers(labels):
        return order
    return order[labels[order].argsort(stable=True)]


def are_class_numbers(labels: Tensor) -> bool:
    """Return whether labels are integers of shape (N,), and a class has at least two samples on average.

    Were each label another one, their order alone would decide what is held out, whatever the seed.
    """
    if labels.ndim != 1 or labels.is_floating_point():
        return False
    distinct = set(labels.tolist())
    return 2 * len(distinct) <= len(labels)


def evenly_spaced(count: int, size: int) -> Tensor:
    """Return `size` evenly spaced positions from 0 to `count` - 1, int64."""
    return torch.linspace(0, count - 1, size).round().long()


def parse_fold(fold: str) -> slice:
    """Return the positions of a fold: for 2/5, every fifth position from the second on.

    Raises:
        UserError: The text is not of the form k/n, with n at least 2 and k from 1 to n.
    """
    number, _, folds = fold.partition("/")
    are_numbers = number.isdecimal() and folds.isdecimal()
    if not are_numbers or int(folds) < 2 or not 1 <= int(number) <= int(folds):
        raise UserError(
            f"fold is {fold}, but must be such as 2/5, which is the second of five parts"
        )
    return slice(int(number) - 1, None, int(folds))


class InMemoryDataModule(LightningDataModule):
    """Serves images from memory, as uint8. On the device, whole batches are scaled to [0, 1], augmented and normalised.

    A subclass sets the class attributes and implements `load`.

    Args:
        batch_size: Samples per batch and process.
        num_workers: Worker processes per loader; 0 is fastest for data in memory.
        val_size: Training samples held out for validation; a tenth if 0.
        split_seed: Seed that chooses the held-out samples.
        on_device: Keep all data on the training device; needs num_workers 0.
        fold: Hold out a part instead: 2/5 is the second of five parts.
        predict: New data for `predict` instead of the test set: a folder of pictures, or a picture.
        run: Directory of the run that predicts new data. The command line fills it in.
        strict: Whether to end at a picture that cannot be read, instead of leaving its predictions empty.

    Raises:
        UserError: `on_device` is given with workers, or `fold` is not such as 2/5.
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
        predict: str | None = None,
        run: str | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__()
        if on_device and num_workers:
            raise UserError(
                f"on_device is without workers, but num_workers is {num_workers}: set one to false or 0"
            )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.val_size = val_size
        self.split_seed = split_seed
        self.on_device = on_device
        self.fold: slice | None = None
        if fold:
            self.fold = parse_fold(fold)
        self.predict = predict
        self.run = run
        self.strict = strict

    @abstractmethod
    def load(self, train: bool) -> ImageTensors:
        """Return the official training set, or the official test set."""

    def setup(self, stage: str) -> None:
        """Load what the stage needs: `fit`, `validate`, `test` or `predict`."""
        if self.predict:  # `predict_dataloader` loads it
            return
        if stage in ("test", "predict"):
            self.test_set = checked_load(self, train=False, has_labels=stage == "test")
            return
        data = checked_load(self, train=True)
        size = self.val_size or len(data) // 10
        if not 0 < size < len(data):
            raise UserError(
                f"val_size is {size}, but only 1 to {len(data) - 1} samples can be held out"
            )
        self.train_set, self.val_set = data.split(size, self.split_seed, self.fold)

    def train_dataloader(self) -> DataLoader[Batch]:
        data = self._on_training_device(self.train_set)
        return self._loader(data, self._sampler(ShuffledSampler, data, shuffle=True))

    def val_dataloader(self) -> EVAL_DATALOADERS:  # one, or a list of them
        return self.evaluation_loader(self.val_set)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.evaluation_loader(self.test_set)

    def predict_dataloader(self) -> DataLoader[Batch]:
        if self.predict:
            return self.evaluation_loader(self.new_samples(self.predict))
        return self.test_dataloader()

    def class_counts(self) -> list[int]:
        """Return the number of training samples of each class (of pixels, if labels are masks).

        `class_weights: balanced` of ClassificationModule follows it. It needs a `train_set` whose labels are class
        numbers; override it for another one.
        """
        labels = labels_of(self.train_set)
        if labels is None or labels.is_floating_point():
            raise UserError(
                f"the training labels of {type(self).__name__} are no class numbers: write its class_counts()"
            )
        # Others are those that the loss ignores, such as -100, or 255 in masks.
        known = labels[(labels >= 0) & (labels < self.num_classes)]
        counts: list[int] = known.bincount(minlength=self.num_classes).tolist()
        return counts

    def learned(self) -> dict[str, Any]:
        """Return what new data need of the training data, as plain values. A subclass reads it with `read_learned`."""
        return {}

    def new_samples(self, path: str) -> Any:
        """Return the dataset of new samples that `predict` names. Override it for other data than pictures."""
        try:
            from ..engine.new_pictures import pictures_at, read_picture
        except ModuleNotFoundError as error:
            raise UserError("pictures are read with Pillow: pip install pillow") from error
        if len(self.input_shape) != 3 or self.input_shape[0] not in (1, 3):
            name = type(self).__name__
            problem = f"data.predict is {path}, but samples of {name} are no pictures"
            raise UserError(f"{problem}: write its new_samples")
        return pictures_at(Path(path), read_picture, self.input_shape, self.strict)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Scale uint8 images to [0, 1], augment them in training, and normalise them, in the network's dtype."""
        images, labels = batch
        dtype = self.trainer.lightning_module.dtype if self.trainer else torch.float32
        images = images.to(dtype) / 255
        if self.trainer and self.trainer.training:
            images, labels = self.augment_batch(images, labels)
        return (images - self.mean) / self.std, labels

    def augment_batch(self, images: Tensor, labels: Tensor) -> Batch:
        """Augment training images in [0, 1], of shape (N, C, H, W), and their labels, such as masks.

        Override it if labels change with their images. The default changes the images alone, by `augment`.
        """
        return self.augment(images), labels

    def augment(self, images: Tensor) -> Tensor:
        """Augment training images in [0, 1], of shape (N, C, H, W). Override it; the default changes nothing."""
        return images

    def evaluation_loader(self, data: Any) -> DataLoader[Batch]:
        """Return a loader of a set for validation or testing: each sample once, in order."""
        data = self._on_training_device(data)
        check_processes(data, self.trainer.world_size if self.trainer else 1)
        # Lightning's default sampler repeats samples to give all processes equally many, which distorts the metrics.
        return self._loader(data, self._sampler(UnrepeatedDistributedSampler, data, shuffle=False))

    def _on_training_device(self, data: Any) -> Any:
        """Move a dataset to the training device if `on_device` is set."""
        if self.on_device and self.trainer and isinstance(data, ImageTensors):
            device = self.trainer.strategy.root_device
            data.tensors = tuple(tensor.to(device) for tensor in data.tensors)
        return data

    def _sampler(self, kind: Callable[..., Any], data: Any, shuffle: bool) -> Any:
        """Return a sampler for this process's share of the data."""
        processes = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        return kind(data, processes, rank, shuffle, seed_of_run())

    def _loader(self, data: Any, sampler: Any) -> DataLoader[Batch]:
        trainer: Any = self.trainer
        if trainer and trainer.overfit_batches and trainer.state.fn == "fit":
            data, sampler = overfit_order(data, seed_of_run())
        return ResumableLoader(
            data,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=tuple,  # because the dataset returns whole batches
            generator=torch.Generator(),  # a separate one, to leave the global random state unchanged
        )


def checked_load(module: InMemoryDataModule, train: bool, has_labels: bool = True) -> ImageTensors:
    """Return what `load` returns. Raise UserError if the module, the images or the labels cannot be used."""
    if type(module).load is InMemoryDataModule.load:
        raise UserError(
            f"{type(module).__name__} has no load: write load(self, train), which returns ImageTensors"
        )
    data = module.load(train=train)
    check_images(module, data)
    check_statistics(module)
    if has_labels:
        check_labels(module, data, f"load(train={train})")
    return data


def check_statistics(module: InMemoryDataModule) -> None:
    """Raise UserError if `mean` or `std` is missing, or cannot normalise a batch."""
    if type(module).on_after_batch_transfer is not InMemoryDataModule.on_after_batch_transfer:
        return  # it may need neither
    for name in ("mean", "std"):
        value = getattr(module, name, None)
        if not isinstance(value, Real | Tensor):
            found = "is missing" if value is None else f"is {value}"
            raise UserError(
                f"{type(module).__name__}.{name} {found}, but must be a number, of the training images in [0, 1], "
                "or a tensor of shape (C, 1, 1)"
            )


def check_labels(module: InMemoryDataModule, data: ImageTensors, origin: str) -> None:
    """Raise UserError if class labels, of shape (N,), are not from 0 to num_classes - 1. The loss ignores -100."""
    classes = getattr(module, "num_classes", None)
    if not isinstance(classes, int) or len(data.tensors) < 2 or data.tensors[1].ndim != 1:
        return
    labels = data.tensors[1]
    if labels.is_floating_point():
        return  # numbers to predict, or labels for a loss of your own
    is_wrong = ((labels < 0) | (labels >= classes)) & (labels != IGNORED_LABEL)
    if is_wrong.any():
        position = int(is_wrong.nonzero()[0])
        source = f"{type(module).__name__}.{origin}"
        raise UserError(
            f"{source} returns the label {labels[position]} for sample {position}, but num_classes is {classes}: "
            f"labels have to be 0 to {classes - 1}"
        )


def check_images(module: InMemoryDataModule, data: Any) -> None:
    """Raise UserError if `load` returned something else than ImageTensors, or images that are scaled already."""
    name = type(module).__name__
    if not isinstance(data, ImageTensors):
        raise UserError(
            f"{name}.load returns {type(data).__name__}, but must return ImageTensors(images, labels)"
        )
    images = data.tensors[0]
    if images.ndim == 4 and images.is_floating_point() and images.numel() and images.max() <= 1:
        raise UserError(
            f"{name}.load returns images from 0 to 1, but must return them from 0 to 255, as uint8: "
            "a batch is divided by 255 on the device"
        )


def labels_of(data: Any) -> Tensor | None:
    """Return the labels of a dataset; None if it is not made of images and labels."""
    tensors: Sequence[Tensor] = getattr(data, "tensors", ())
    return tensors[1] if len(tensors) > 1 else None


def check_processes(data: Any, processes: int) -> None:
    """Raise UserError if there are fewer samples than processes, because each process needs one."""
    if 0 < len(data) < processes:
        raise UserError(
            f"{processes} processes cannot share a set of {len(data)}: pass --trainer.devices {len(data)}"
        )


def seed_of_run() -> int:
    """Return the seed from the command line. With the epoch, it decides the order of the samples."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


class DownloadedDataModule(InMemoryDataModule):
    """Reads files from the folder `name` of the data folder, to which missing ones are downloaded.

    Args:
        data_dir: The data folder, relative to the working directory; the project's `data` if None.
        mirrors: Base URLs to download from, in this order; the class's own if None.
        kwargs: The arguments of InMemoryDataModule.
    """

    name: str
    mirrors: Sequence[str]
    sha256: ClassVar[dict[str, str]]  # of each file

    def __init__(
        self, data_dir: str | None = None, mirrors: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        data_folder = project_root() / "data"
        if data_dir:
            data_folder = Path(data_dir)
        self.folder = data_folder / self.name
        if mirrors is not None:
            self.mirrors = mirrors

    def prepare_data(self) -> None:
        """Download missing files, and check the SHA-256 of all files. Raise UserError if either fails."""
        if self.predict:  # which needs no training data
            return
        for name, sha256 in self.sha256.items():
            download(name, sha256, self.mirrors, self.folder)
