"""Polycrystals: following many grains through time, labelled maps, neighbours."""
