"""The demo model: procedural sounds, their captions, and the recipe that trains a small model of Auffusion's layout."""
