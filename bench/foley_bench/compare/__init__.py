"""A checkpoint run by Foley and by its peers, in turns of one run, their outputs compared."""
