"""Decode pictures once, for training at the speed of data in memory: `python -m <package>.pack -c configs/data/….yaml`.

It takes the configs and options of `fit` that are about the data, and writes a folder for configs/data/packed.yaml.
"""

import json
import os
import shutil
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ...engine.import_path import forget_working_directory
from ...engine.noise import silence_noise
from ...utils.project import UserError, project_root, shown, write
from ..data_options import build_data
from ..options import command_parser, mistakes_end_in_a_line, stop_like_ctrl_c
from .decode import Decoder
from .files import INFO, PackedInfo

USAGE = "%(prog)s -c configs/data/<name>.yaml [--data.<argument> VALUE] [--to FOLDER]"
SETS = ("train", "val", "test")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    stop_like_ctrl_c()
    silence_noise()
    with mistakes_end_in_a_line():
        options, of_data = parse(args)
        folder = options.to or project_root() / "data" / "packed"
        if folder.exists():
            advice = "remove it, or name another folder with --to"
            raise UserError(f"{shown(folder)} is there already: {advice}")
        data = build_data(of_data)
        check_pictures(data)
        pack(data, folder)


def parse(args: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    """Return the command's own options, and those about the data."""
    parser = command_parser("pack", usage=USAGE, description=__doc__)
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="the new folder; data/packed, if left out"
    )
    return parser.parse_known_args(args)


def check_pictures(data: Any) -> None:
    """Raise UserError if a data module does not read pictures from files."""
    try:
        from ...data_modules.pictures import PictureDataModule
    except ModuleNotFoundError as error:
        raise UserError(f"the project has no data module for pictures ({error})") from error
    if not isinstance(data, PictureDataModule):
        problem = f"{type(data).__name__} does not read a picture of a class from each file"
        raise UserError(f"{problem}: name a config such as configs/data/image_folder.yaml")


def pack(data: Any, folder: Path) -> None:
    """Write all pictures of a data module into a new folder. It appears when it is complete.

    Raises:
        UserError: A picture cannot be read, or the disk has too little space.
    """
    sets, left_out = sets_of(data)
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    part.mkdir(parents=True)
    try:
        check_space(part, sets, data.input_shape)
        decoder = Decoder(data)
        for name, pictures in sets.items():
            (part / name).mkdir()
            decoder.decode(name, pictures, part / name)
        decoder.check_all_are_read()
        info = packed_info(data, sets, decoder)
        write(part / INFO, json.dumps(asdict(info), ensure_ascii=False, indent=2) + "\n")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    report(folder, info, left_out)


def sets_of(data: Any) -> tuple[dict[str, Any], str]:
    """Return the sets by their names, and why there is no test set; an empty text if there is one."""
    sets = {}
    left_out = ""
    for name in SETS:
        if name == "val" and not data.has_val:
            continue
        try:
            sets[name] = data.part(name)
        except UserError as error:
            if name != "test":  # training needs the others
                raise
            left_out = str(error)
    for name, pictures in sets.items():
        labels = pictures.tensors[1]
        if labels.dtype != torch.int64 or labels.ndim != 1:
            found = f"{labels.dtype} {tuple(labels.shape)}"
            raise UserError(f"labels of {name} are {found}, but must be class numbers, int64 (N,)")
    return sets, left_out


def check_space(folder: Path, sets: dict[str, Any], shape: Sequence[int]) -> None:
    """Raise UserError if the disk has no space for the pictures."""
    count = sum(map(len, sets.values()))
    needed = count
    for size in shape:
        needed *= size
    free = shutil.disk_usage(folder).free
    if needed > free:
        problem = f"the pictures need {megabytes(needed)}, but the disk has {megabytes(free)}"
        raise UserError(f"{problem}: name another folder with --to, or a smaller --data.image_size")


def packed_info(data: Any, sets: dict[str, Any], decoder: Decoder) -> PackedInfo:
    """Return what info.json says."""
    numbers = [str(number) for number in range(data.num_classes)]
    mean, std = decoder.mean_and_std()
    return PackedInfo(
        shape=list(data.input_shape),
        classes=list(getattr(data, "classes", numbers)),
        mean=mean,
        std=std,
        sets={name: len(pictures) for name, pictures in sets.items()},
        origin=dict(getattr(data, "sha256", {})),
    )


def report(folder: Path, info: PackedInfo, left_out: str) -> None:
    """Print what was packed."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    counts = [f"{name} {count:,}" for name, count in info.sets.items()]
    shape = "x".join(map(str, info.shape))
    print(f"Pictures: {', '.join(counts)}, each {shape}")
    if left_out:
        print(f"Left out: test ({left_out})")
    print(f"Training pixels: mean {info.mean:.4f}, std {info.std:.4f}")
    print(f"Packed: {shown(folder)} ({megabytes(size)})")


def megabytes(size: int) -> str:
    """Return a number of bytes as MB."""
    return f"{size / 1e6:,.1f} MB"
