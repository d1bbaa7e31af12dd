"""A dataset to fill in."""

import torch

from .in_memory import ImageTensors, InMemoryDataModule


class BlankDataModule(InMemoryDataModule):
    """Random images of shape (1, 28, 28), and labels from 0 to 9 that nothing can be learned from."""

    # Replace these: how many classes, or numbers to predict, the shape of an image (C, H, W), and the mean and the
    # standard deviation of the training images' pixels, as shares of 255.
    num_classes, num_outputs, input_shape, mean, std = 10, 1, (1, 28, 28), 0.5, 0.29

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
