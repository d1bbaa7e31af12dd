"""Export the model of a run, checked on real data: `python -m <package>.export --run exp1 --format onnx`."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..cli import CLI
from ..engine.import_path import forget_working_directory
from ..engine.run_directory import OPTION, OPTION_HELP, chosen_folder
from ..engine.runs import find_run
from ..utils.project import UserError, shown
from .options import PACKAGE, Parser, tolerance

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}
CHECKED = 256  # samples of the test set, at most
HERE = (
    "accelerator=cpu",
    "devices=1",
    "num_nodes=1",
    "strategy=auto",
    "precision=32-true",
    "fast_dev_run=1",
)
ANY_SIZE = {"inputs": {0: torch.export.Dim.DYNAMIC}}  # of a batch
QUIET = (
    "callbacks=null",
    "enable_progress_bar=false",
    "enable_model_summary=false",
    "logger=false",
    "profiler=null",
)

Outputs = dict[str, Tensor]
Predict = Callable[[Tensor], Outputs]


class Exported(nn.Module):
    """What is exported: from what the data set holds, such as pixels as uint8, to what `predict_step` returns.

    Args:
        model: The module.
        data: The data module, whose `on_after_batch_transfer` prepares a batch: it normalises images.
        label: A label, which completes a batch; the predictions do not depend on it.
    """

    label: Tensor

    def __init__(self, model: nn.Module, data: Any, label: Tensor) -> None:
        super().__init__()
        self.model, self.data = model, data
        self.register_buffer("label", label.clone(), persistent=False)

    def forward(self, inputs: Tensor) -> Outputs:
        """Return the predictions by name, each of shape (N, ...), for inputs of shape (N, *input_shape)."""
        labels = self.label.expand(inputs.shape[0], *self.label.shape)
        batch = self.data.on_after_batch_transfer((inputs, labels), 0)
        return cast("Outputs", cast("Any", self.model).predict_step(batch, 0))


def load(run: Path, checkpoint: str) -> tuple[Exported, Tensor]:
    """Return what a run's model is exported as, and inputs from its test set; raise UserError if it has none such."""
    for name in (
        "lightning.pytorch",
        "lightning.fabric",
        "torch.onnx",
    ):  # what they say is about training, and others
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint")
    options = [f"--trainer.{option}" for option in (*HERE, *QUIET)]
    cli = CLI(["predict", f"--run={run}", f"--ckpt_path={checkpoint}", *options])
    batches, count = [], 0
    for batch in cli.datamodule.predict_dataloader():
        if not isinstance(batch, tuple | list) or not all(
            isinstance(part, Tensor) for part in batch[:2]
        ):
            raise UserError(
                "what can be exported are models of batches that are pairs of tensors: inputs and labels"
            )
        batches.append(batch)
        check_shapes(batches[0][0], batch[0])
        count += len(batch[0])
        if count >= CHECKED:
            break
    inputs = torch.cat([batch[0] for batch in batches])[:CHECKED]
    exported = Exported(cli.model, cli.datamodule, batches[0][1][0]).eval()
    exported.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not declared
    return exported, inputs


def check_shapes(first: Tensor, other: Tensor) -> None:
    """Raise UserError if the samples of two batches have different shapes, as texts that are padded batch by batch."""
    shapes = [tuple(inputs.shape[1:]) for inputs in (first, other)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"the inputs have the shape {shapes[0]} in one batch and {shapes[1]} in another, but the exported model "
            "takes one shape: have the data module's predict_dataloader pad all to one length"
        )


def export_onnx(
    exported: Exported, inputs: Tensor, path: Path, metadata: dict[str, str]
) -> Predict:
    """Write an ONNX file, and return what ONNX Runtime makes of it."""
    from onnxruntime import InferenceSession

    names = list(exported(inputs))
    options: dict[str, Any] = {
        "input_names": ["inputs"],
        "output_names": names,
        "dynamo": True,
        "verbose": False,
    }
    program = torch.onnx.export(exported, (inputs,), dynamic_shapes=ANY_SIZE, **options)
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(path)
    session = InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(inputs: Tensor) -> Outputs:
        found = session.run(names, {"inputs": inputs.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

    return run


def export_program(
    exported: Exported, inputs: Tensor, path: Path, metadata: dict[str, str]
) -> Predict:
    """Write a program of torch.export, and return it as it is read again."""
    program = torch.export.export(exported, (inputs,), dynamic_shapes=ANY_SIZE, strict=False)
    torch.export.save(program, path, extra_files=metadata)
    return torch.export.load(path).module()


def export_weights(
    exported: Exported, inputs: Tensor, path: Path, metadata: dict[str, str]
) -> Predict:
    """Write the weights alone, by their names in the module, and return the module with them."""
    from safetensors.torch import load_file, save

    # a copy of each: the format knows no memory that weights share
    copies = {
        name: value.clone().contiguous() for name, value in exported.model.state_dict().items()
    }
    path.write_bytes(save(copies, metadata))
    weights = {f"model.{name}": value for name, value in load_file(path).items()}
    return lambda inputs: cast("Outputs", torch.func.functional_call(exported, weights, (inputs,)))


FORMATS = {"onnx": export_onnx, "torch_export": export_program, "safetensors": export_weights}


def difference(expected: Outputs, found: Outputs) -> float:
    """Return how far numbers are apart at most, as a share of the largest one of an output if that is over 1."""
    apart = [torch.zeros(())]
    for name, value in expected.items():
        if value.is_floating_point():
            apart.append((found[name] - value).abs().max() / value.abs().max().clamp(min=1))
    return torch.stack(apart).max().item()


def export(run: Path, checkpoint: str, kind: str, path: Path, tolerance: float) -> None:
    """Write the file if what it holds predicts as the model does; raise UserError if not."""
    exported, inputs = load(run, checkpoint)
    classes = [
        str(name)
        for name in getattr(
            exported.data, "classes", range(getattr(exported.data, "num_classes", 0))
        )
    ]
    metadata = {"classes": json.dumps(classes, ensure_ascii=False), "run": "/".join(run.parts[-2:])}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}{SUFFIXES[kind]}")  # torch.export asks for its own suffix
    try:
        with (
            torch.no_grad(),
            torch.compiler.set_stance("force_eager"),
        ):  # also if it was trained as a compiled one
            run_again = FORMATS[kind](exported, inputs, part, metadata)
            for size in (1, 2, len(inputs)):
                apart = difference(exported(inputs[:size]), run_again(inputs[:size]))
                if not apart <= tolerance:  # NaN is not either
                    raise UserError(
                        f"the exported model differs by {apart:.1e}, more than --tolerance {tolerance:g}"
                    )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    print(f"Largest difference of {len(inputs)} samples: {apart:.1e}\nExported: {shown(path)}")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    parser = Parser(f"python -m {PACKAGE}.export", allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "--run", default="last", help="<directory|id|name|last>, as --run of the other commands"
    )
    parser.add_argument(OPTION, dest="logs", metavar="FOLDER", help=OPTION_HELP)
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), default="best", help="best, if left out"
    )
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="onnx, if left out")
    parser.add_argument("--output", type=Path, help="the file; in the run's directory, if left out")
    parser.add_argument(
        "--tolerance", type=tolerance, default=1e-4, help="how far predictions may be apart; 1e-4"
    )
    try:
        given = parser.parse_args(args)
        run = find_run(given.run, chosen_folder(given.logs))
        path = given.output or run / f"{given.checkpoint}{SUFFIXES[given.format]}"
        export(run, given.checkpoint, given.format, path, given.tolerance)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
