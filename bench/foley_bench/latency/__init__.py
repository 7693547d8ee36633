"""How long a clip takes, stage by stage, warm and cold."""
