"""Words every part shares: errors, optional imports, contract, files, pictures."""
