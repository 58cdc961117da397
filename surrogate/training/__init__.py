"""Training: recipes, data from sweep stores, tasks that make batches and losses, and a loop that resumes."""
