//! Procedural macros of Flott: Record, Operator, operator and main.
