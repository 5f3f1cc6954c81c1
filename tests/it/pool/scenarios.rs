//! The scenarios in which fallback stores lose, hide or bring back: each once, by name.
