"""budan completes every paid order exactly once, whatever breaks."""
