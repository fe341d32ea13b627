//! Sources and sinks, one folder and one feature each.
