"""How near each stage comes to what the machine could do: operations and bytes of a graph, and measured peaks."""
