"""What every part uses and no reader looks for: texts, files, memory, arguments."""
