"""The digital twin: frames in, posterior and forecast out."""
