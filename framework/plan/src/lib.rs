//! The job graph and how it becomes an execution plan. Pure data, no I/O.
