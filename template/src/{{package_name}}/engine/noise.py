"""Hides messages that users can do nothing about. Read it if you miss a warning of Lightning's."""

import logging
import re
import warnings

# "… does not have many workers", "LeafSpec is deprecated", "Checkpoint directory … exists and is not empty" (a resumed
# run's is not), "The `srun` command is available …", "… is not resumable" (the template's loader is)
WARNINGS = ".*many workers|.*LeafSpec|.* is not empty|The `srun` command|.* not resumable"
# "💡 Tip: For seamless cloud logging …" and two lines that say what is plain to see
MESSAGES = re.compile(
    r"💡 Tip: |Trainer already configured with model summary|`Trainer\.fit` stopped: `max_epochs="
)


def is_wanted(record: logging.LogRecord) -> bool:
    """Return whether a message of Lightning's is to be shown."""
    return not MESSAGES.match(record.getMessage())


def silence_noise() -> None:
    """Hide such warnings and messages in this process."""
    warnings.filterwarnings("ignore", WARNINGS)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(is_wanted)
