"""From a selection to a plan: the block grammar, ranks, memory, controls, and what peft takes."""
