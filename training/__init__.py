"""How the shipped networks are made: material, synthesised pairs, optimiser, recipe."""
