"""A page's tables and plots, rendered from kept rows."""
