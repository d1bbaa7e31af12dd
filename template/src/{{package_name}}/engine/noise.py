"""Hides messages that users cannot act on. Read it if a warning of Lightning is missing."""

import logging
import re
import warnings

# "… does not have many workers", "LeafSpec is deprecated", "The `srun` command is available …",
# "Checkpoint directory … exists and is not empty" (normal when a run resumes),
# "… is not resumable" (the template's loader is)
WARNINGS = ".*many workers|.*LeafSpec|.* is not empty|The `srun` command|.* not resumable"
# "💡 Tip: For seamless cloud logging …", and a line that repeats the obvious. Why a training has ended,
# RunRecord says. Lightning counts the steps for the schedule of the learning rate, and says so.
# "[rank: 0] Received SIGTERM: 15" would follow Ctrl-C, because StopAtBatchEnd raises SIGTERM for it.
MESSAGES = re.compile(
    r"💡 Tip: |Trainer already configured with model summary|`Trainer\.fit` stopped: `max_(epochs|steps)="
    r"|(\[rank: \d+\] )?Received SIGTERM|Time limit reached|Loading `train_dataloader` to estimate"
)
LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.trainer.connectors.signal_connector",
)


def is_wanted(record: logging.LogRecord) -> bool:
    """Return whether to show a log message of Lightning."""
    return not MESSAGES.match(record.getMessage())


def silence_noise() -> None:
    """Hide these warnings and messages in this process."""
    warnings.filterwarnings("ignore", WARNINGS)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(is_wanted)
