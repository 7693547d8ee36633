"""Plans on disk: what each was built from, whether it may be loaded here, and how it comes and goes whole."""
