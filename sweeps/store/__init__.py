"""The store on disk: locations, layout, status table, lock, integrity and repair."""
