"""What every part uses: texts, files, memory, arguments."""
