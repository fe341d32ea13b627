//! Built-in operators, written against the core contracts.
