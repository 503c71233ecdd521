"""The commands of ``metarl``, a module each, which ``metarl.cli.main`` finds as it would find yours."""
