"""Detects credentials in settings, removes them from saved configurations, and refuses them in other places.

Read this when a setting is refused, or is missing in config.yaml.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from ..utils.project import UserError
from .configs import options, plain_key

# Such as api_key, COMET_API_KEY, aws_secret_access_key, accessToken, client_secret, password, hf_token
CREDENTIAL = re.compile(
    r"(\w*_)?((api|access|auth|client|private|secret)_?(key|token)|secret|password|passwd)|(hf|hub|bot)_token",
    re.IGNORECASE,
)
# Such as token and my_token. The value decides, because `pad_token: PAD` is no credential.
TOKEN = re.compile(r"(\w*_)?token", re.IGNORECASE)
# Such as ://ada:secret@ in https://ada:secret@example.org
LOGIN = re.compile(r"://(?P<login>[^/\s@'\"]+)@")
SHORTEST_RANDOM_TEXT = 12


# Such as ghp and x8Jk20sLq9Zw71 in ghp_x8Jk20sLq9Zw71
LETTERS_AND_DIGITS = re.compile("[A-Za-z0-9]+")


def is_secret(key: str, value: object) -> bool:
    """Return whether a setting is a credential, by the last part of its dotted key and by its value."""
    name = key.rpartition(".")[2]
    if not isinstance(value, str) or not value:
        return False
    if CREDENTIAL.fullmatch(name):
        return True
    return bool(TOKEN.fullmatch(name)) and is_random(value)


def is_random(text: str) -> bool:
    """Return whether a text looks drawn at random: ghp_x8Jk20sLq9Zw71, but not EOS or reserved_token_1."""
    if any(character.isspace() for character in text):
        return False
    for part in LETTERS_AND_DIGITS.findall(text):
        has_digit = any(character.isdigit() for character in part)
        has_letter = any(character.isalpha() for character in part)
        if len(part) >= SHORTEST_RANDOM_TEXT and has_digit and has_letter:
            return True
    return False


def without_login(match: re.Match[str]) -> str:
    """Return the replacement of a login in a URL: `git@` and other names stay, passwords and tokens are removed."""
    login = match["login"]
    if ":" in login or is_random(login):
        return "://"
    return match[0]


def has_login(text: str) -> bool:
    """Return whether a text contains a URL with a password."""
    return LOGIN.sub(without_login, text) != text


def without_secrets(config: Any, left_out: list[str], key: str = "") -> Any:
    """Return a configuration without credentials, and append their dotted keys to `left_out`.

    Texts lose the values of environment variables that are named like credentials, and passwords in URLs.
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
    text = without_environment(LOGIN.sub(without_login, config))
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


def described_secret(key: str, text: str) -> str:
    """Describe how a setting is or contains a credential; return an empty text if it does not."""
    if is_secret(key, text):
        return "looks like a credential"
    if has_login(text):
        return "has a password in its address"
    if without_environment(text) != text:
        return "has the value of an environment variable that is named like a credential"
    return ""


def refuse_secrets_of_the_model(config: dict[str, Any]) -> None:
    """Raise UserError if the model or the data gets a credential, because checkpoints and loggers would keep it."""
    for block in ("model", "data"):
        for key, text in flat_texts(config.get(block), block):
            secret = described_secret(key, text)
            if secret:
                raise UserError(
                    f"{key} {secret}, and checkpoints and loggers would keep it. Leave it out, and "
                    "read it from an environment variable where it is used."
                )


def refuse_secrets_of_the_command(args: Sequence[str]) -> None:
    """Raise UserError if an option contains a credential, because loggers record the command line unchanged."""
    for option, value in options(args):
        for key, text in option_texts(option, value):
            secret = described_secret(key, text)
            if secret:
                raise UserError(
                    f"{key} {secret}, and loggers would record the command line. Give it in a config "
                    "that git ignores, such as configs/local.yaml, or by an environment variable."
                )


def option_texts(option: str, value: str) -> list[tuple[str, str]]:
    """Return the texts in the value of an option, with their dotted keys. The path of a config does not count."""
    key = plain_key(option.lstrip("-"))
    try:
        parsed: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        parsed = value
    if option in ("-c", "--config"):
        if not isinstance(parsed, dict):
            return []
        return flat_texts(parsed, "")
    if isinstance(parsed, dict | list):
        return flat_texts(parsed, key)
    if parsed is None or isinstance(parsed, bool):
        return []
    # Numbers count as texts, because a password may consist of digits.
    return [(key, value)]


def flat_texts(config: Any, key: str) -> list[tuple[str, str]]:
    """Return the texts in a configuration with their dotted keys, without `init_args`."""
    if isinstance(config, str):
        return [(key.replace(".init_args", "").strip("."), config)]
    items: Iterable[tuple[Any, Any]] = []
    if isinstance(config, dict):
        items = config.items()
    elif isinstance(config, list):
        items = enumerate(config)
    texts = []
    for name, value in items:
        texts += flat_texts(value, f"{key}.{name}")
    return texts
