"""Models: plain `torch.nn.Module`s, one a file."""
