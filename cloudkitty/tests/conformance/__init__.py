"""What a driver must do, as tests that its author can run; see doc/source/contributor."""

import pytest

pytest.register_assert_rewrite('cloudkitty.tests.conformance.storage')
