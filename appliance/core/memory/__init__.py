"""What is known of people beyond a conversation (DESIGN 10)."""
