"""The logs of the stack that only this folder's tests share."""

from tests.stack.test_logs import test_no_secret_is_in_any_log as test_no_secret_is_in_any_log
