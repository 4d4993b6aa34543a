"""What every server of this package lets in, and what it hangs up on."""
