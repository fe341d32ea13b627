//! From acknowledgements to a manifest, and back to what a restart needs.

use std::collections::BTreeMap;

use flott_control::{
    checkpoint::Part,
    job::RestoredCheckpoint,
    splits::{EnumeratorSnapshot, RestoredSource},
};
use flott_core::{
    Error, ErrorKind, OperatorUid, Result, VertexId,
    source::{SPLITS_STATE, Split},
};
use flott_plan::ExecutionPlan;
use flott_state::storage::{
    EnumeratorManifest, ListManifest, Manifest, OperatorManifest, WrittenList, WrittenSnapshot,
};

use super::report::Totals;

/// The manifest of a checkpoint that every task has acknowledged.
pub(super) fn manifest(
    plan: &ExecutionPlan,
    mut manifest: Manifest,
    sources: BTreeMap<VertexId, EnumeratorSnapshot>,
    parts: Vec<Part<WrittenSnapshot>>,
) -> Manifest {
    let mut operators: BTreeMap<OperatorUid, OperatorManifest> = BTreeMap::new();
    for Part { task, snapshot } in parts {
        let parallelism = plan.vertex(task.vertex).parallelism;
        for written in snapshot.operators {
            let operator = operators.entry(written.uid.clone()).or_insert_with(|| OperatorManifest {
                uid: written.uid,
                parallelism,
                files: Vec::new(),
                lists: Vec::new(),
            });
            operator.files.extend(written.file);
            let lists = written.lists.into_iter();
            operator.lists.extend(lists.map(|WrittenList { name, items }| ListManifest {
                name,
                subtask: task.subtask,
                items,
            }));
        }
    }
    manifest.operators = operators.into_values().collect();
    for (vertex, EnumeratorSnapshot { known, is_complete }) in sources {
        if let Some(id) = plan.source_of(plan.vertex(vertex)) {
            let uid = plan.graph.operator(id).uid.clone();
            manifest.enumerators.insert(uid, EnumeratorManifest { known, is_complete });
        }
    }
    manifest
}

/// The counts of all tasks in this attempt, up to their barriers.
pub(super) fn counters(parts: &[Part<WrittenSnapshot>]) -> Totals {
    let mut totals = Totals::new();
    for operator in parts.iter().flat_map(|part| &part.snapshot.operators) {
        *totals.entry(operator.uid.clone()).or_default() += operator.counters;
    }
    totals
}

/// What the JobMaster has to know of the checkpoint that the job goes on from.
///
/// # Errors
/// [`ErrorKind::State`] when this job cannot go on from it.
pub(super) fn restored(plan: &ExecutionPlan, manifest: &Manifest) -> Result<RestoredCheckpoint> {
    check(plan, manifest)?;
    let mut sources = BTreeMap::new();
    for vertex in plan.source_vertices() {
        let uid = &plan.graph.operator(vertex.operators[0]).uid;
        let items = manifest.list_items(uid, SPLITS_STATE);
        let splits = items.iter().map(|item| Split::decode(item)).collect::<Result<Vec<_>>>();
        let splits = splits.map_err(|error| error.context(format!("source {:?}", uid.as_str())))?;
        let enumerator = manifest.enumerators.get(uid).cloned().unwrap_or_default();
        let enumerator = EnumeratorSnapshot { known: enumerator.known, is_complete: enumerator.is_complete };
        sources.insert(vertex.id, RestoredSource { enumerator, splits });
    }
    Ok(RestoredCheckpoint { checkpoint: manifest.checkpoint, is_final: manifest.is_final, sources })
}

fn check(plan: &ExecutionPlan, manifest: &Manifest) -> Result<()> {
    let refuse = |message: String| Err(Error::new(ErrorKind::State, message));
    let checkpoint = manifest.checkpoint;
    if manifest.max_parallelism != plan.graph.max_parallelism {
        return refuse(format!(
            "checkpoint {checkpoint} was taken with max parallelism {} and the job declares {}; it is fixed for the \
             life of a job: set it back, or start from an empty checkpoint directory",
            manifest.max_parallelism.groups(),
            plan.graph.max_parallelism.groups()
        ));
    }
    for operator in &manifest.operators {
        let uid = &operator.uid;
        let has_state =
            !operator.files.is_empty() || operator.lists.iter().any(|list| !list.items.is_empty());
        if has_state && !plan.graph.operators.iter().any(|node| node.uid == *uid) {
            return refuse(format!(
                "checkpoint {checkpoint} holds state of operator {:?}, which the job does not have; give the operator \
                 that continues it this uid, or start from an empty checkpoint directory",
                uid.as_str()
            ));
        }
    }
    Ok(())
}
