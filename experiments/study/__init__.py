"""From nothing to a page of answers: the demo, and the paper-size run."""
