"""Rules as the core walks them: compiled, and long runs of them looked up."""
