"""Everything that is to be known of a GPU, in one command and one file."""
