//! A job's life against a real directory: write, barrier, crash, settle.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use flott_core::{
    CheckpointId, ErrorKind, Generation, OperatorUid,
    sink::{SettleReport, SettleRequest, Sink, SweepRequest, WriterContext},
    testkit::{WriterHarness, verify_writer, writer_context},
};
use tempfile::TempDir;
use xtask::clock::pause;

use super::FileSink;

struct Job {
    directory: TempDir,
    sink: FileSink<u64>,
}

impl Job {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sink = FileSink::json_lines(directory.path());
        Self { directory, sink }
    }

    fn uid() -> OperatorUid {
        OperatorUid::new("totals").unwrap()
    }

    fn writer(&self, generation: u64) -> WriterHarness<u64> {
        let (uid, generation) = (Self::uid(), Generation(generation));
        let context = WriterContext { uid, generation, ..writer_context() };
        WriterHarness::new(self.sink.writer(&context).unwrap(), pause)
    }

    fn settle(
        &self,
        checkpoint: Option<u64>,
        committables: Vec<Vec<u8>>,
    ) -> flott_core::Result<SettleReport> {
        self.settle_with(checkpoint, committables, |_| {})
    }

    fn settle_with(
        &self,
        checkpoint: Option<u64>,
        committables: Vec<Vec<u8>>,
        change: fn(&mut SettleRequest),
    ) -> flott_core::Result<SettleReport> {
        let mut request = SettleRequest {
            job: flott_core::JobIdentity::default(),
            uid: Self::uid(),
            checkpoint: checkpoint.map(CheckpointId),
            is_fallback: false,
            committables,
            generations: vec![(Generation(0), 1)],
            allow_repeated_output: false,
            accept_lost_output: false,
        };
        change(&mut request);
        self.sink.settler().unwrap().unwrap().settle(&request)
    }

    fn sweep(&self, below: u64, run: &str) -> Vec<String> {
        let job = flott_core::JobIdentity { run: run.into(), ..Default::default() };
        let request = SweepRequest { uid: Self::uid(), job, below: Generation(below) };
        self.sink.settler().unwrap().unwrap().sweep(&request).unwrap()
    }

    fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.directory.path().join("totals")).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap().replace('\n', " ");
        entries
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), read(&entry.path())))
            .collect()
    }

    fn pending(&self) -> usize {
        self.files().keys().filter(|name| name.starts_with(".pending")).count()
    }

    /// Waits until the writers have as many unfinished files: they create them in the background.
    fn until_pending(&self, count: usize) {
        for _ in 0..10_000 {
            if self.pending() == count {
                return;
            }
            pause(Duration::from_millis(1));
        }
        panic!("{} unfinished files instead of {count}", self.pending());
    }

    fn visible(&self) -> String {
        let files = self.files();
        let parts = files.iter().filter(|(name, _)| name.starts_with("part-"));
        parts.map(|(_, content)| content.as_str()).collect()
    }
}

fn write(writer: &mut WriterHarness<u64>, records: impl IntoIterator<Item = u64>) {
    writer.write(records.into_iter().collect()).unwrap();
}

fn precommit(writer: &mut WriterHarness<u64>, checkpoint: u64) -> Vec<Vec<u8>> {
    writer.precommit(checkpoint).unwrap()().unwrap()
}

#[test]
fn the_writer_keeps_its_contract() {
    let job = Job::new();
    let writer = job.sink.writer(&WriterContext { uid: Job::uid(), ..writer_context() }).unwrap();
    verify_writer(writer, |batch| vec![2 * batch, 2 * batch + 1], pause);
    let mut visible: Vec<u64> = job.visible().split_whitespace().map(|line| line.parse().unwrap()).collect();
    visible.sort_unstable();
    assert_eq!(visible, Vec::from_iter(0..16));
    assert_eq!(job.pending(), 0);
}

#[test]
fn output_is_visible_when_its_checkpoint_is_complete() {
    let job = Job::new();
    let mut writer = job.writer(0);
    write(&mut writer, [1, 2]);
    let listed = precommit(&mut writer, 1);
    write(&mut writer, [3]);
    assert_eq!((listed.len(), job.visible().as_str()), (1, ""));
    writer.commit(1).unwrap();
    assert_eq!(job.visible(), "1 2 ");
    // Listed once more: only now is the new name known to be on disk.
    assert_eq!(precommit(&mut writer, 2).len(), 2);
    writer.commit(2).unwrap();
    assert_eq!(precommit(&mut writer, 3).len(), 1);
    assert_eq!(precommit(&mut writer, 4).len(), 0);
    assert_eq!(job.visible(), "1 2 3 ");
    assert_eq!(job.pending(), 0);
}

#[test]
fn the_file_of_a_failed_checkpoint_rides_along() {
    let job = Job::new();
    let mut writer = job.writer(0);
    write(&mut writer, [1]);
    drop(writer.precommit(1).unwrap());
    write(&mut writer, [2]);
    assert_eq!(precommit(&mut writer, 2).len(), 2);
    writer.commit(2).unwrap();
    assert_eq!(job.visible(), "1 2 ");
}

#[test]
fn recovery_finishes_what_is_listed_and_deletes_the_rest() {
    let job = Job::new();
    let mut writer = job.writer(0);
    write(&mut writer, [1, 2]);
    let listed = precommit(&mut writer, 1);
    write(&mut writer, [3]);
    precommit(&mut writer, 2);
    write(&mut writer, [4]);
    job.until_pending(3);
    for _ in 0..2 {
        let report = job.settle(Some(1), listed.clone()).unwrap();
        assert_eq!((report.committed, report.lost_records), (1, 0));
        assert_eq!((job.visible().as_str(), job.pending()), ("1 2 ", 0));
    }
    // The old writer wakes up: its late commit finds the work done.
    writer.commit(1).unwrap();
    let mut next = job.writer(1);
    write(&mut next, [3]);
    precommit(&mut next, 3);
    next.commit(3).unwrap();
    assert_eq!(job.visible(), "1 2 3 ");
}

#[test]
fn a_missing_or_shortened_file_is_lost_output() {
    let job = Job::new();
    let mut writer = job.writer(0);
    write(&mut writer, [1, 2, 3]);
    let listed = precommit(&mut writer, 7);
    let pending = job.files().into_keys().next().unwrap();
    fs::write(job.directory.path().join("totals").join(pending), "1\n").unwrap();
    let error = job.settle(Some(7), listed.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutputLost);
    assert!(error.to_string().contains("checkpoint 7: 3 records"), "{error}");
    let report = job.settle_with(Some(7), listed, |request| request.accept_lost_output = true).unwrap();
    assert_eq!((report.lost_records, report.lost.len()), (3, 1));
}

#[test]
fn output_newer_than_the_checkpoint_is_not_repeated_silently() {
    let job = Job::new();
    let mut writer = job.writer(0);
    write(&mut writer, [1]);
    let listed = precommit(&mut writer, 2);
    writer.commit(2).unwrap();
    assert_eq!(job.settle(Some(1), Vec::new()).unwrap_err().kind(), ErrorKind::State);
    let error = job.settle(None, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("earlier run"), "{error}");
    job.settle_with(Some(1), Vec::new(), |request| request.allow_repeated_output = true).unwrap();
    job.settle(Some(2), listed).unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_is_told_at_the_start() {
    let job = Job::new();
    let file = job.directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = FileSink::<u64>::json_lines(file.join("sub")).check(1000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    job.sink.check(1000).unwrap();
}

#[test]
fn sinks_of_one_directory_can_be_checked_at_once() {
    let job = Job::new();
    std::thread::scope(|scope| {
        let check = || (0..200).try_for_each(|_| job.sink.check(1_000));
        let checks = [(); 4].map(|()| scope.spawn(check));
        checks.into_iter().for_each(|check| check.join().unwrap().unwrap());
    });
    assert_eq!(fs::read_dir(job.directory.path()).unwrap().count(), 0);
}

#[test]
fn a_run_that_has_finished_no_file_yet_is_left_alone() {
    let job = Job::new();
    job.settle(None, Vec::new()).unwrap();
    let mut writer = job.writer(0);
    write(&mut writer, [1]);
    let listed = precommit(&mut writer, 1);
    let other_run = |request: &mut SettleRequest| request.job.run = "another run".into();
    let error = job.settle_with(None, Vec::new(), other_run).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(
        error.to_string().contains("another run") && error.to_string().contains("take it over"),
        "{error}"
    );
    writer.commit(1).unwrap();
    job.settle(Some(1), listed).unwrap();
    assert_eq!(job.visible(), "1 ");

    job.settle_with(None, Vec::new(), |request| {
        request.job.run = "another run".into();
        request.allow_repeated_output = true;
    })
    .unwrap();
    let error = job.settle(Some(1), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("run another run of job"), "{error}");
}

#[test]
fn files_that_zombies_open_after_the_settling_are_swept() {
    let job = Job::new();
    let mut zombie = job.writer(1);
    write(&mut zombie, [1]);
    job.until_pending(1);
    job.settle(None, Vec::new()).unwrap();
    precommit(&mut zombie, 1);
    write(&mut zombie, [2]);
    let mut live = job.writer(2);
    write(&mut live, [1]);
    job.until_pending(2);
    assert_eq!(job.sweep(2, "another run"), Vec::<String>::new());
    assert_eq!(job.sweep(2, ""), ["totals/.pending-1-0-1"]);
    assert_eq!(job.sweep(2, ""), Vec::<String>::new());
    precommit(&mut live, 2);
    live.commit(2).unwrap();
    assert_eq!((job.visible().as_str(), job.pending()), ("1 ", 0));
}

#[test]
fn a_replaced_job_manager_leaves_the_files_of_its_successor_alone() {
    let job = Job::new();
    job.settle(None, Vec::new()).unwrap();
    let (mut old, mut live) = (job.writer(0), job.writer(1));
    write(&mut old, [1]);
    write(&mut live, [2]);
    precommit(&mut live, 1);
    job.until_pending(2);
    job.settle(None, Vec::new()).unwrap();
    live.commit(1).unwrap();
    assert_eq!((job.visible().as_str(), job.pending()), ("2 ", 0));
}

#[test]
fn a_claim_that_was_cut_off_says_what_to_do_and_the_way_out_works() {
    let job = Job::new();
    let settle = || job.settle_with(None, Vec::new(), |request| request.job.run = "19d-00c0ffee".into());
    settle().unwrap();
    let path = job.directory.path().join("totals/.owner");
    let claim = fs::read(&path).unwrap();
    let damaged =
        (0..claim.len()).map(|cut| claim[..cut].to_vec()).chain([vec![0; claim.len()], vec![0xFF; 9]]);
    for damaged in damaged {
        fs::write(&path, &damaged).unwrap();
        let error = settle().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        for part in [".owner", "a power failure", "delete the file and start again"] {
            assert!(error.to_string().contains(part), "{damaged:?}: {error}");
        }
        assert_eq!(fs::read(&path).unwrap(), damaged, "nothing was touched");
    }
    fs::remove_file(&path).unwrap();
    settle().unwrap();
    assert_eq!(fs::read(&path).unwrap(), claim);
}
