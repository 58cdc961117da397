"""What a study wants: quantities read off points, and objectives that criteria them."""
