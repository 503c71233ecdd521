"""The commands of ``metarl``, a module each, which ``metarl.cli`` finds as it would find yours."""
