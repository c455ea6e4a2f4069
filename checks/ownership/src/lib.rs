//! Nothing of its own: the checks are in `tests/`.
