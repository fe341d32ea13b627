//! The job under declaration.

use std::sync::{Arc, Mutex};

use flott_core::{MaxParallelism, Result, source::Source};
use flott_operators::watermark::Watermarks;
use flott_plan::{OperatorRole, WatermarkStrategy};
use flott_runtime::program::JobProgram;

use crate::{
    declare::{NodeSpec, Origin, SharedDeclaration, SourceFactory},
    stream::{SourceStream, Stream},
};

/// A job under declaration. `main` gets one, declares sources, operators and sinks on it, and returns; nothing runs
/// before that.
#[derive(Default)]
pub struct Job {
    declaration: SharedDeclaration,
}

impl Job {
    /// An empty job. `#[flott::main]` makes one for you.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a source under a stable name and returns its stream.
    ///
    /// ```
    /// # use flott::prelude::*;
    /// # let mut job = Job::new();
    /// job.source("numbers", CollectionSource::new(vec![1u64, 2, 3])).map(|n| n * 2).sink("out", PrintSink::json());
    /// # flott::plumbing::finish(job).map(|_| ()).unwrap();
    /// ```
    #[track_caller]
    pub fn source<S: Source>(&mut self, uid: &str, source: S) -> SourceStream<S::Out> {
        let watermarks = Arc::new(Mutex::new(Watermarks::none()));
        let spec =
            NodeSpec::new(uid, OperatorRole::Source(WatermarkStrategy::default()), source.description());
        let factory = SourceFactory { source, watermarks: Arc::clone(&watermarks) };
        let operator = self.declaration.add_operator(spec, Arc::new(factory));
        let origin = Origin { operator, side_output: None };
        Stream::of_source(self.declaration.clone(), origin, watermarks)
    }

    /// Sets the number of key groups: the highest parallelism that the job can ever have, fixed for its life. 1024
    /// unless set; set it before the first source.
    pub fn max_parallelism(&mut self, groups: u32) {
        match MaxParallelism::new(groups) {
            Ok(groups) => self.declaration.set_max_parallelism(groups),
            Err(mistake) => self.declaration.mistake(mistake),
        }
    }

    /// The finished declaration.
    ///
    /// # Errors
    /// All mistakes in it.
    pub(crate) fn finish(self) -> Result<JobProgram> {
        self.declaration.finish()
    }
}
