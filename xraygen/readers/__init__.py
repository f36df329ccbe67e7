"""Review by readers: what they are shown, how far they agree, and the references that follow."""
