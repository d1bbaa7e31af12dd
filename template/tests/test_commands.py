"""These tests are in tests/engine/test_command_line.py now. Delete this file if it holds no tests of your own."""
