"""From bytes on disk to arrays, safely: nothing that a file holds is run."""
