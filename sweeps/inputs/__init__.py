"""What users write: strict models of YAML files, and errors that name file, line and key. Shared by all rooms."""
