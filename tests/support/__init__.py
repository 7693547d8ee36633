"""What several tests share: a generated bundle, its model in numpy, and ways to run the command line."""
