"""The stand-ins that need no network: drawn by code, or taken from an installed package; always the same."""
