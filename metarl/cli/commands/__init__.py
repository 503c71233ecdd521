"""The commands of ``metarl``, found as entry points."""
