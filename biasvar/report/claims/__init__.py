"""The papers' claims: what each says, what measures it, and the verdict by a rule fixed beforehand."""
