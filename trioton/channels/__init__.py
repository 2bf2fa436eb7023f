"""What programs hold: publishing and subscribing, one-to-one channels, merging, and message types."""
