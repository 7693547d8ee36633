"""What Foley takes before it has made a sound: disk, import, memory, cold start; beside diffusers where asked."""
