"""Half precision: a float32 graph becomes one in which every node computes in half or in float32."""
