"""How a binary starts, resumes, shares its work and hands rows on."""
