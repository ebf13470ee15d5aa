"""The mutation gate: each guard of the appliance is removed once, and a named test has to notice (FAULTS.md, head).

`python -m tests.mutations [--only WORD] [--json FILE]` works in a copy of the tree; the tree itself is never touched.
A guard is one entry of `guards.py`; `tests/unit/test_mutation_list.py` sees to it that the list does not rot.
"""
