"""What capture adds to a forward pass is what the design allows."""

import pytest
from capture_memory import extra_over_bound


@pytest.mark.parametrize(
    ("blocks", "width", "samples", "batch_size"), [(10, 64, 96, 16), (6, 128, 32, 32)]
)
def test_capture_adds_the_pooled_states_and_no_more(blocks, width, samples, batch_size):
    assert extra_over_bound(blocks, width, samples, batch_size) <= 1.2
