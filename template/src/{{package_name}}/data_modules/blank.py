"""A dataset to fill in."""

import torch

from .in_memory import ImageTensors, InMemoryDataModule


class BlankDataModule(InMemoryDataModule):
    """Random images of shape (1, 28, 28), and labels from 0 to 9 that nothing can be learned from."""

    # Replace these.
    num_classes = 10
    num_outputs = 1  # numbers to predict, for a regression
    input_shape = (1, 28, 28)  # of an image: (C, H, W)
    mean = 0.5  # of the training images, in [0, 1]
    std = 0.29

    def load(self, train: bool) -> ImageTensors:
        """Return 1,000 images for training and validation, or 200 for testing."""
        # Replace these lines: read your files, the same at every call. Of images that need no scaling to [0, 1], such
        # as rows of a table, override `on_after_batch_transfer` too: it gets a batch, and returns it.
        count = 1000 if train else 200
        generator = torch.Generator().manual_seed(int(train))
        shape = (count, *self.input_shape)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(self.num_classes, (count,), generator=generator)
        return ImageTensors(images, labels)
