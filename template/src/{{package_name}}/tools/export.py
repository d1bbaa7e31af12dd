"""Export the model of a run, checked on real data: `python -m <package>.export --run exp1 --format onnx`."""

import json
import logging
import os
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..cli import CLI
from ..engine.checkpoints import best_or_last
from ..engine.import_path import forget_working_directory
from ..engine.new_data import learned_text
from ..engine.run_directory import chosen_folder
from ..engine.runs import find_run
from ..engine.samples import samples_in
from ..utils.project import UserError, shown
from .options import RUN_HELP, add_logs_option, command_parser, mistakes_end_in_a_line, tolerance

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}
CHECKED = 256  # largest number of test samples for the check
ANY = torch.export.Dim.DYNAMIC  # a size that is free

# Options of the trainer that override the hardware settings of the run
ON_THIS_CPU = (
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.num_nodes=1",
    "--trainer.strategy=auto",
    "--trainer.precision=32-true",
    "--trainer.fast_dev_run=1",
)
QUIET = (
    "--trainer.callbacks=null",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
    "--trainer.profiler=null",
)
# Their messages are about training, or about the libraries themselves
NOISY_LOGGERS = ("lightning.pytorch", "lightning.fabric", "torch.onnx")

Inputs = Tensor | dict[str, Tensor]
Outputs = dict[str, Tensor]
Predict = Callable[[Inputs], Outputs]
Metadata = dict[str, str]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    with mistakes_end_in_a_line():
        options = parse(args)
        run = find_run(options.run, chosen_folder(options.logs))
        checkpoint = options.checkpoint or checkpoint_of(run)
        path = options.output or run / f"{checkpoint}{SUFFIXES[options.format]}"
        export(run, checkpoint, options.format, path, options.tolerance, options.new_data)


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Return the options of the command line."""
    parser = command_parser("export", description=__doc__)
    parser.add_argument("--run", default="last", help=RUN_HELP)
    add_logs_option(parser)
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), help="best, if left out and there is one"
    )
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="onnx, if left out")
    parser.add_argument("--output", type=Path, help="the file; in the run's directory, if left out")
    parser.add_argument(
        "--data.predict",
        dest="new_data",
        metavar="DATA",
        help="check it on new data, as predict takes them: the training data need not be there",
    )
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        default=1e-4,
        help="largest difference of predictions; 1e-4, if left out",
    )
    return parser.parse_args(arguments)


def checkpoint_of(run: Path) -> str:
    """Return which checkpoint a command takes by default: best, or last for a run that keeps no best one."""
    found = best_or_last(run)
    return found.stem if found else "best"


class Exported(nn.Module):
    """The exported module. It maps samples of the dataset, such as uint8 pixels, to the output of `predict_step`.

    Args:
        model: The module.
        data: The data module. Its `on_after_batch_transfer` prepares a batch, for instance normalises images.
        label: A label to complete a batch. Predictions do not depend on it.
    """

    label: Tensor

    def __init__(self, model: nn.Module, data: Any, label: Tensor) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.register_buffer("label", label.clone(), persistent=False)

    def forward(self, inputs: Inputs) -> Outputs:
        """Return the predictions by name, each of shape (N, ...), for inputs of shape (N, *input_shape).

        Inputs that have names, such as those of texts, are all of shape (N, length).
        """
        count = next(iter(named(inputs).values())).shape[0]
        labels = self.label.expand(count, *self.label.shape)
        batch = self.data.on_after_batch_transfer((inputs, labels), 0)
        model = cast("Any", self.model)
        return cast("Outputs", model.predict_step(batch, 0))


def export(
    run: Path, checkpoint: str, kind: str, path: Path, tolerance: float, new_data: str | None
) -> None:
    """Export a model to a file. Raise UserError, and write no file, if its predictions differ from the model's.

    Args:
        run: The run's directory.
        checkpoint: best or last.
        kind: One of the formats.
        path: The file to write.
        tolerance: Largest difference of predictions.
        new_data: New data to check it on, as `predict --data.predict` takes them. If None, it is the test set.
    """
    exported, batches = load(run, checkpoint, new_data)
    classes = json.dumps(class_names(exported.data), ensure_ascii=False)
    name_and_id = "/".join(run.parts[-2:])
    metadata = {"classes": classes, "learned": learned_text(exported.data), "run": name_and_id}

    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = SUFFIXES[kind]  # torch.export requires this suffix
    part = path.with_name(f".{os.getpid()}{suffix}")
    try:
        # Eager mode, because compiled code cannot be exported.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            predict = FORMATS[kind](exported, batches[0], part, metadata)
            largest = check(exported, predict, batches, tolerance)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    count = sum(map(samples_in, batches))
    print(f"Largest difference of {count} samples: {largest:.1e}")
    print(f"Exported: {shown(path)}")


def load(run: Path, checkpoint: str, new_data: str | None) -> tuple[Exported, list[Inputs]]:
    """Return the module to export, and inputs from the test set or from new data, in batches."""
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint")
    command = ["predict", f"--run={run}", f"--ckpt_path={checkpoint}"]
    if new_data:
        command.append(f"--data.predict={new_data}")
    cli = CLI([*command, *ON_THIS_CPU, *QUIET])
    batches, label = test_samples(cli.datamodule)
    exported = Exported(cli.model, cli.datamodule, label).eval()
    exported.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not declared
    return exported, batches


def test_samples(data: Any) -> tuple[list[Inputs], Tensor]:
    """Return inputs from the test set or from new data, in batches, and one label.

    Inputs without names are one batch. Those with names stay in the batches in which they come, because each is padded
    to a length of its own.

    Raises:
        UserError: Batches are not pairs of inputs and labels, or have samples of different shapes.
    """
    batches: list[Inputs] = []
    labels: list[Tensor] = []
    count = 0
    for batch in data.predict_dataloader():
        if not is_pair(batch):
            problem = "a batch is no pair of tensors, inputs and labels"
            raise UserError(f"{problem}: only a model of such batches can be exported")
        batches.append(batch[0])
        labels.append(batch[1])
        count += len(batch[1])
        if count >= CHECKED:
            break
    first_label = labels[0][0]
    tensors = [batch for batch in batches if isinstance(batch, Tensor)]
    if tensors:
        check_shapes(tensors)
        return [torch.cat(tensors)[:CHECKED]], first_label
    return batches, first_label


def check_shapes(batches: Sequence[Tensor]) -> None:
    """Raise UserError if the samples of two batches have different shapes, such as texts padded batch by batch."""
    one = tuple(batches[0].shape[1:])
    for batch in batches:
        another = tuple(batch.shape[1:])
        if one != another:
            problem = f"the inputs have the shape {one} in one batch and {another} in another"
            advice = "have the data module's predict_dataloader pad all to one length"
            raise UserError(f"{problem}, but the exported model takes one shape: {advice}")


def is_pair(batch: Any) -> bool:
    """Return whether a batch begins with inputs, a tensor or tensors by name, and a tensor of labels."""
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        return False
    inputs, labels = batch[:2]
    parts = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    return bool(parts) and all(isinstance(part, Tensor) for part in [*parts, labels])


def named(inputs: Inputs) -> dict[str, Tensor]:
    """Return inputs by their names. A tensor without a name is called `inputs`."""
    if isinstance(inputs, Tensor):
        return {"inputs": inputs}
    return dict(inputs)


def first_samples(inputs: Inputs, count: int) -> Inputs:
    """Return the inputs of the first samples."""
    if isinstance(inputs, Tensor):
        return inputs[:count]
    return {name: values[:count] for name, values in inputs.items()}


def free_sizes(inputs: Inputs) -> dict[str, Any]:
    """Return which sizes of the inputs are free, as torch.export takes it: N, and the length of those with names."""
    if isinstance(inputs, Tensor):
        return {"inputs": {0: ANY}}
    return {
        "inputs": {name: dict.fromkeys(range(values.ndim), ANY) for name, values in inputs.items()}
    }


def class_names(data: Any) -> list[str]:
    """Return the names of the classes, or their numbers; an empty list for a regression."""
    numbers = range(getattr(data, "num_classes", 0))
    return [str(name) for name in getattr(data, "classes", numbers)]


def check(
    exported: Exported, predict: Predict, batches: Sequence[Inputs], tolerance: float
) -> float:
    """Compare the file's and the model's predictions for several batch sizes. Return the largest difference.

    Raises:
        UserError: The difference is larger than the tolerance.
    """
    largest = 0.0
    few = [first_samples(batches[0], size) for size in (1, 2)]
    for batch in [*few, *batches]:
        apart = difference(exported(batch), predict(batch))
        if not apart <= tolerance:  # also true for NaN
            problem = f"the exported model differs by {apart:.1e}"
            raise UserError(f"{problem}, more than --tolerance {tolerance:g}")
        largest = max(largest, apart)
    return largest


def difference(expected: Outputs, found: Outputs) -> float:
    """Return the largest difference. It is relative to an output's largest absolute value if that is above 1."""
    differences = [torch.zeros(())]
    for name, value in expected.items():
        if value.is_floating_point():
            scale = value.abs().max().clamp(min=1)
            apart = (found[name] - value).abs()
            differences.append(apart.max() / scale)
    return torch.stack(differences).max().item()


def export_onnx(exported: Exported, inputs: Inputs, path: Path, metadata: Metadata) -> Predict:
    """Write an ONNX file. Return a function that predicts with ONNX Runtime."""
    from onnxruntime import InferenceSession

    names = list(exported(inputs))
    options: dict[str, Any] = {
        "input_names": list(named(inputs)),
        "output_names": names,
        "dynamo": True,
        "verbose": False,
    }
    sizes = free_sizes(inputs)
    # By its name, because a dictionary at the end of the arguments would be taken for arguments by name.
    program = torch.onnx.export(
        exported, (), kwargs={"inputs": inputs}, dynamic_shapes=sizes, **options
    )
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(path)
    session = InferenceSession(path, providers=["CPUExecutionProvider"])

    def predict(inputs: Inputs) -> Outputs:
        given = {name: values.numpy() for name, values in named(inputs).items()}
        arrays = session.run(names, given)
        tensors = [torch.from_numpy(array) for array in arrays]
        return dict(zip(names, tensors, strict=True))

    return predict


def export_program(exported: Exported, inputs: Inputs, path: Path, metadata: Metadata) -> Predict:
    """Write a program of torch.export. Return the program as loaded from the file."""
    sizes = free_sizes(inputs)
    program = torch.export.export(exported, (inputs,), dynamic_shapes=sizes, strict=False)
    torch.export.save(program, path, extra_files=metadata)
    return torch.export.load(path).module()


def export_weights(exported: Exported, inputs: Inputs, path: Path, metadata: Metadata) -> Predict:
    """Write only the weights, by their names in the module. Return a function that predicts with them."""
    from safetensors.torch import load_file, save

    copies = {}
    for name, value in exported.model.state_dict().items():
        copies[name] = value.clone().contiguous()  # the format allows no shared memory
    path.write_bytes(save(copies, metadata))
    weights = {}
    for name, value in load_file(path).items():
        weights[f"model.{name}"] = value

    def predict(inputs: Inputs) -> Outputs:
        return cast("Outputs", torch.func.functional_call(exported, weights, (inputs,)))

    return predict


FORMATS = {"onnx": export_onnx, "torch_export": export_program, "safetensors": export_weights}
