"""What the tests share: the template, rendered projects, their commands, and what several test files use."""

import pytest

pytest.register_assert_rewrite("helpers.commands", "helpers.migrating", "helpers.template")
