"""Whether a build became slower than a baseline says, beyond the noise of the machine."""
