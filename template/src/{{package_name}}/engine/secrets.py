"""Which settings are credentials, and how a saved configuration leaves them out."""

import os
import re
from typing import Any

from ..utils.project import UserError

# Such as api_key, COMET_API_KEY, aws_secret_access_key, accessToken, client_secret, password, hf_token
CREDENTIAL = re.compile(
    r"(\w*_)?((api|access|auth|client|private|secret)_?(key|token)|secret|password|passwd)|(hf|hub|bot)_token",
    re.IGNORECASE,
)
# Such as token, my_token, which may also be `pad_token: PAD`
TOKEN = re.compile(r"(\w*_)?token", re.IGNORECASE)
# Such as ghp_x8Jk20sLq9Zw71bTn4; not <|endoftext|> and not EOS
RANDOM_TEXT = re.compile(r"(?=\w*\d)[\w.-]{16,}")
# Such as ://ada:secret@ in https://ada:secret@example.org
LOGIN = re.compile(r"://[^/\s@'\"]+@")


def is_secret(key: str, value: object) -> bool:
    """Return whether a setting is a credential, by the last part of its dotted key and by its value."""
    name = key.rpartition(".")[2]
    if not isinstance(value, str) or not value:
        return False
    if CREDENTIAL.fullmatch(name):
        return True
    return bool(TOKEN.fullmatch(name) and RANDOM_TEXT.fullmatch(value))


def without_secrets(config: Any, left_out: list[str], key: str = "") -> Any:
    """Return a configuration without credentials, and append the dotted keys of what is left out.

    The values of environment variables that are named like credentials, and logins in addresses, are cut out of texts.
    """
    if isinstance(config, dict):
        return {
            name: without_secrets(value, left_out, f"{key}.{name}".strip("."))
            for name, value in config.items()
        }
    if isinstance(config, list):
        return [
            without_secrets(value, left_out, f"{key}.{number}")
            for number, value in enumerate(config)
        ]
    if not isinstance(config, str):
        return config
    if is_secret(key, config):
        left_out.append(key)
        return None
    text = without_environment(LOGIN.sub("://", config))
    if text != config:
        left_out.append(key)
    return text


def without_environment(text: str) -> str:
    """Return a text without the values of environment variables that are named like credentials."""
    for name, value in os.environ.items():
        named = CREDENTIAL.fullmatch(name) or TOKEN.fullmatch(name)
        if named and len(value) > 5:
            text = text.replace(value, "")
    return text


def refuse_secrets_of_the_model(config: dict[str, Any]) -> None:
    """Raise UserError if an argument of the model or the data is a credential: checkpoints and loggers would get it."""
    for block in ("model", "data"):
        for key, value in flat_texts(config.get(block), block):
            if CREDENTIAL.fullmatch(key.rpartition(".")[2]) and value:
                raise UserError(
                    f"{key} looks like a credential, and checkpoints and loggers would keep it. Leave it out, and "
                    "read it from an environment variable where it is used."
                )


def flat_texts(config: Any, key: str) -> list[tuple[str, str]]:
    """Return the texts in a configuration with their dotted keys, without `init_args`."""
    if isinstance(config, dict):
        return [
            text for name, value in config.items() for text in flat_texts(value, f"{key}.{name}")
        ]
    if isinstance(config, list):
        return [
            text
            for number, value in enumerate(config)
            for text in flat_texts(value, f"{key}.{number}")
        ]
    return [(key.replace(".init_args", ""), config)] if isinstance(config, str) else []
