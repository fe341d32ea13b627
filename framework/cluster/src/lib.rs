//! JobManager and TaskManager processes: they drive the decisions of control.
