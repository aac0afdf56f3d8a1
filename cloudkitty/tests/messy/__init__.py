"""Sources as the world has them: what they tell, and what the right bill is."""
