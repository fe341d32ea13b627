//! What is done to all sinks of a job at once: each may wait for another system.

use std::thread;

use flott_core::{Error, OperatorUid, Result};
use flott_plan::OperatorRole;
use flott_runtime::program::{JobProgram, OperatorFactory};

/// Does the same to every sink of the job, side by side. Waits for all of them, also when one fails: none may run on
/// beside what follows.
pub(super) fn for_each_sink<T: Send>(
    program: &JobProgram,
    work: impl Fn(&OperatorUid, &dyn OperatorFactory) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let sinks = program.graph.operators().filter(|(_, node)| matches!(node.role, OperatorRole::Sink(_)));
    thread::scope(|scope| {
        let work = &work;
        let run = |uid: &OperatorUid, factory| {
            work(uid, factory).map_err(|error| error.context(format!("sink {:?}", uid.as_str())))
        };
        let threads: Vec<_> =
            sinks.map(|(id, node)| scope.spawn(move || run(&node.uid, program.operator(id)))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|joined| joined.unwrap_or_else(|_| Err(Error::internal("a sink panicked")))).collect()
    })
}
