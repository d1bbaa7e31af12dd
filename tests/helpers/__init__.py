"""What the tests share: the template, rendered projects, their commands, and what two test files use."""
