"""Whether the process of a kit can run here: what is wrong, each with what to do.

`check_kit` is what ``fedswin site check`` does; before a start `run_checks` looks at what can stop it.
"""
