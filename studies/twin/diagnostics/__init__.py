"""Does the model explain the frames, and what do they determine?"""
