//! A sink that writes lines to files, exactly once.
//!
//! Each subtask writes to a pending file, `.pending-{generation}-{subtask}-{sequence}`. At a barrier the file is synced
//! and listed in the checkpoint; when the checkpoint is complete it is renamed to
//! `part-{checkpoint}-{generation}-{subtask}.jsonl`. Readers look at `part-*` and nothing else. Recovery renames what
//! the checkpoint lists and deletes what it does not, but for files of generations newer than it knows; sweeps delete what
//! tasks of older generations begin after that.
//!
//! The slot's thread only encodes. Files are created, written, synced and renamed by a [`Worker`](crate::io::Worker) of the
//! writer; up to 8 MiB wait for it.
//!
//! All processes of the job must see the same directory.

mod committable;
mod output_files;
mod settler;
mod sink;
#[cfg(test)]
mod tests;
mod writer;

pub use sink::FileSink;
