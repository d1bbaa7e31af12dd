"""Render a project with default answers, train it on real data and test it: `make demo`.

The folder is build/demo. What an earlier demo logged there stays.
"""

import re
import subprocess
import sys
from pathlib import Path

from copier import run_copy

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "build" / "demo"
CONFIGS = "-c configs/data/digits.yaml -c configs/model/simplenet.yaml"


def main() -> None:
    """Render, install, train and test; exit with an error if the accuracy is below 97 %."""
    run_copy(str(ROOT), PROJECT, vcs_ref="HEAD", defaults=True, overwrite=True, quiet=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--editable",
    ]
    subprocess.run([*pip, str(PROJECT)], check=True)

    command = f"python src/main.py fit {CONFIGS} --name demo --test_after_fit true"
    print(
        f"A project with default answers is in {PROJECT.relative_to(ROOT)}. In it:\n\n$ {command}\n",
        flush=True,
    )
    arguments = [sys.executable, *command.split()[1:]]
    output = ""
    with subprocess.Popen(
        arguments, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.stdout and (text := process.stdout.read(1)):
            print(text, end="", flush=True)
            output += text
    accuracy = re.search(r"test/acc\s*│\s*([\d.]+)", output)
    tested = re.search(r"Tested: (\S+)/checkpoints/best\.ckpt", output)
    if process.returncode or accuracy is None or tested is None:
        sys.exit("The demo failed: see above.")
    print(f"""
Test accuracy: {float(accuracy[1]):.4f} on 360 handwritten digits that were held out
Run directory: {PROJECT.relative_to(ROOT)}/{tested[1]}

Next, with the environment on: source .venv/bin/activate && cd {PROJECT.relative_to(ROOT)}

  python src/main.py test {CONFIGS} --name demo
  python src/main.py fit {CONFIGS} --name mine --model.optimizer.weight_decay 0.1
  tensorboard --logdir logs
""")
    if float(accuracy[1]) < 0.97:
        sys.exit("That is less than the 97 % that it should be.")


if __name__ == "__main__":
    main()
