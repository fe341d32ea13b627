//! Looks again at committed output that readers may not get.

use std::{collections::BTreeSet, sync::Arc};

use flott_core::{
    Error, MonotonicTime, Result,
    sink::{AuditReport, AuditRequest},
};
use flott_runtime::program::JobProgram;
use tokio::task::spawn_blocking;

use super::sinks::for_each_sink;

/// The items that settlements and audits have left open.
#[derive(Debug, Default)]
pub(super) struct Audits {
    open: BTreeSet<Vec<u8>>,
    is_running: bool,
}

impl Audits {
    /// More is open.
    pub(super) fn add(&mut self, open: impl IntoIterator<Item = Vec<u8>>) {
        self.open.extend(open);
    }

    /// The items to audit now; none if there is nothing to audit or an audit is under way.
    pub(super) fn start(&mut self) -> Option<Vec<Vec<u8>>> {
        if self.is_running || self.open.is_empty() {
            return None;
        }
        self.is_running = true;
        Some(std::mem::take(&mut self.open).into_iter().collect())
    }

    /// This is open still.
    pub(super) fn on_audited(&mut self, open: Vec<Vec<u8>>) {
        self.is_running = false;
        self.open.extend(open);
    }
}

/// One audit of all sinks.
pub(super) struct Auditing {
    pub(super) program: Arc<JobProgram>,
    pub(super) begun: MonotonicTime,
    pub(super) to_audit: Vec<Vec<u8>>,
}

/// The result of an audit.
#[derive(Default)]
pub(super) struct Audited {
    /// When it began. It knows nothing of what was found since.
    pub(super) begun: MonotonicTime,
    pub(super) hanging: Vec<String>,
    pub(super) to_audit: Vec<Vec<u8>>,
    /// Not everything could be looked at.
    pub(super) is_partial: bool,
    /// The errors of sinks that could not be audited.
    pub(super) failures: Vec<String>,
}

impl Auditing {
    pub(super) async fn run(self) -> Audited {
        let (begun, asked) = (self.begun, self.to_audit.clone());
        let results = spawn_blocking(move || self.audit_sinks()).await;
        let results =
            results.unwrap_or_else(|error| vec![Err(Error::internal(format!("an audit panicked: {error}")))]);
        let mut audited = Audited { begun, ..Audited::default() };
        for result in results {
            match result {
                Ok(report) => {
                    audited.hanging.extend(report.hanging);
                    audited.is_partial |= report.is_partial;
                    audited.to_audit.extend(report.to_audit);
                }
                Err(error) => {
                    audited.is_partial = true;
                    audited.failures.push(error.to_string());
                }
            }
        }
        if !audited.failures.is_empty() {
            audited.to_audit = asked;
        }
        audited
    }

    fn audit_sinks(&self) -> Vec<Result<AuditReport>> {
        for_each_sink(&self.program, |uid, factory| match factory.settler()? {
            Some(mut settler) => {
                settler.audit(&AuditRequest { uid: uid.clone(), to_audit: self.to_audit.clone() })
            }
            None => Ok(AuditReport::default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_looked_at_by_one_audit_at_a_time_until_it_is_closed() {
        let mut audits = Audits::default();
        assert_eq!(audits.start(), None);
        audits.add([vec![1], vec![2], vec![1]]);
        assert_eq!(audits.start(), Some(vec![vec![1], vec![2]]));
        audits.add([vec![3]]);
        assert_eq!(audits.start(), None, "one is running");
        audits.on_audited(vec![vec![2]]);
        assert_eq!(audits.start(), Some(vec![vec![2], vec![3]]));
        audits.on_audited(Vec::new());
        assert_eq!(audits.start(), None);
    }
}
