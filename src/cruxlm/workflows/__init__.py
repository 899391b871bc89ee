"""One file a verb: the only place where criteria, models and actions meet."""
