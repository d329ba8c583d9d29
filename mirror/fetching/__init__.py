"""Gets contents from the master and from other mirrors, and knows who sent what."""
