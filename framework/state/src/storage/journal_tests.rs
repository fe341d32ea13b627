use std::{
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use flott_core::{CheckpointId, Generation, LeaderEpoch, OperatorUid, source::Split};
use futures::stream::{BoxStream, StreamExt, iter};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
    PutOptions, PutResult, memory::InMemory,
};
use tempfile::TempDir;

use super::*;
use crate::storage::TerminalRecord;

fn leader(nonce: u64) -> Leader {
    Leader { nonce, host: "here".into(), ..Leader::default() }
}

async fn led_once(directory: &TempDir) -> CheckpointStorage {
    let storage = CheckpointStorage::open(directory.path().to_str().unwrap()).await.unwrap();
    let name_run = |record: &mut JobRecord| record.run = "run".into();
    Journal::lead(storage.clone(), &Observed::default(), leader(0), name_run).await.unwrap();
    storage
}

type Change = fn(&mut JobRecord);

fn same_change(_: &mut JobRecord) {}
fn raise_generation(record: &mut JobRecord) {
    record.generation = Generation(7);
    record.unswept = vec![(Generation(7), 2)];
}
fn keep_first_splits(record: &mut JobRecord) {
    let splits = vec![Split { id: "s-0".into(), state: vec![1] }];
    record.initial_splits.insert(OperatorUid::new("s").unwrap(), splits);
}

#[tokio::test]
async fn of_two_that_read_the_same_newest_entry_one_writes_the_next() {
    // Taking over, and then each change that two JobManagers of one job would make alike.
    for change in [same_change as Change, raise_generation, keep_first_splits] {
        for second_nonce in [1, 2] {
            let directory = TempDir::new().unwrap();
            let storage = led_once(&directory).await;
            let found = newest_readable(&storage).await.unwrap();
            let (mut first, record) = Journal::candidate(&storage, found.clone(), leader(1), change);
            let (mut second, same) = Journal::candidate(&storage, found, leader(second_nonce), change);
            first.append(record).await.unwrap();
            match second.append(same).await {
                // An answer that was lost: the entry is one's own.
                Ok(()) => assert_eq!(second_nonce, 1),
                Err(AppendError::Conflict(Some(reign))) => {
                    assert_eq!((second_nonce, &*reign), (2, &first.record().reign()));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_jobmanagers_that_start_at_once_exactly_one_leads_and_no_epoch_is_led_twice() {
    let directory = TempDir::new().unwrap();
    let storage = led_once(&directory).await;
    let mut epochs = Vec::new();
    for round in 0..100_u64 {
        let observed = Journal::observe(&storage).await.unwrap();
        let starts = (1..=4).map(|nonce| {
            let (storage, observed) = (storage.clone(), observed.clone());
            tokio::spawn(
                async move { Journal::lead(storage, &observed, leader(round * 4 + nonce), |_| {}).await },
            )
        });
        let mut ended = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            ended.push(start.await.unwrap());
        }
        let (led, lost): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
        let [led] = &led[..] else { panic!("{} lead", led.len()) };
        let reign = led.as_ref().unwrap().record().reign();
        for lost in lost {
            let Err(AppendError::Conflict(Some(of))) = lost else { panic!("{lost:?}") };
            assert_eq!(*of, reign, "the loser knows who leads");
        }
        epochs.push(reign.epoch);
    }
    assert!(epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
}

#[tokio::test]
async fn a_leader_that_appends_meanwhile_is_taken_over_all_the_same() {
    let directory = TempDir::new().unwrap();
    let storage = led_once(&directory).await;
    let observed = Journal::observe(&storage).await.unwrap();
    let mut first = Journal::lead(storage.clone(), &observed, leader(1), |_| {}).await.unwrap();
    let observed = Journal::observe(&storage).await.unwrap();
    let record = first.record().clone();
    first.append(JobRecord { last_checkpoint: CheckpointId(9), ..record }).await.unwrap();
    let second = Journal::lead(storage.clone(), &observed, leader(2), |_| {}).await.unwrap();
    assert_eq!(second.record().last_checkpoint, CheckpointId(9));
    let Err(AppendError::Conflict(Some(reign))) = first.confirm_lead().await else { panic!("still leads") };
    assert_eq!(*reign, second.record().reign());
}

#[tokio::test]
async fn a_job_that_ended_after_it_was_observed_is_not_led() {
    let directory = TempDir::new().unwrap();
    let storage = led_once(&directory).await;
    let observed = Journal::observe(&storage).await.unwrap();
    let mut first = Journal::lead(storage.clone(), &observed, leader(1), |_| {}).await.unwrap();
    let observed = Journal::observe(&storage).await.unwrap();
    let terminal = Some(TerminalRecord { status: "FINISHED".into(), at_ms: 1, message: None });
    let record = JobRecord { terminal, ..first.record().clone() };
    first.append(record).await.unwrap();
    let led = Journal::lead(storage, &observed, leader(2), |_| {}).await;
    assert!(matches!(led, Err(AppendError::Conflict(_))), "{led:?}");
}

/// A store over a file system that caches listings: they show what was there when `refresh` was called last.
#[derive(Debug, Default)]
struct StaleListings {
    inner: InMemory,
    listed: Mutex<Vec<ObjectMeta>>,
}

impl StaleListings {
    async fn refresh(&self) {
        let listed = self.inner.list(None).try_collect().await.unwrap();
        *self.listed.lock().unwrap() = listed;
    }
}

impl fmt::Display for StaleListings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaleListings")
    }
}

type Answer<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for StaleListings {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Answer<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Answer<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Answer<GetResult> {
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Answer<Path>>) -> BoxStream<'static, Answer<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Answer<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        let mut listed = self.listed.lock().unwrap().clone();
        listed.retain(|meta| meta.location.prefix_matches(&prefix));
        iter(listed).map(Ok).boxed()
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Answer<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Answer<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn an_old_listing_hides_no_entry() {
    let store = Arc::new(StaleListings::default());
    let storage = CheckpointStorage { store: Arc::clone(&store) as Arc<dyn ObjectStore>, root: None };
    let nobody = Observed::default();
    let mut first = Journal::lead(storage.clone(), &nobody, leader(1), |_| {}).await.unwrap();
    store.refresh().await;
    for generation in 1..=200 {
        let record = JobRecord { generation: Generation(generation), ..first.record().clone() };
        first.append(record).await.unwrap();
        // As a leader does that sees new listings.
        let old = path_of((first.newest() - 1).saturating_sub(ENTRIES_KEPT));
        let _ = store.inner.delete(&Path::from(old)).await;
    }
    assert_eq!(Journal::read(&storage).await.unwrap().as_ref(), Some(first.record()));
    let observed = Journal::observe(&storage).await.unwrap();
    let second = Journal::lead(storage.clone(), &observed, leader(2), |_| {}).await.unwrap();
    assert!(matches!(first.confirm_lead().await, Err(AppendError::Conflict(_))));
    assert_eq!(Journal::read(&storage).await.unwrap().as_ref(), Some(second.record()));
}

#[tokio::test]
async fn an_entry_that_a_jobmanager_has_named_is_found_without_a_listing_and_after_it_was_superseded() {
    let store = Arc::new(StaleListings::default());
    let storage = CheckpointStorage { store: Arc::clone(&store) as Arc<dyn ObjectStore>, root: None };
    store.refresh().await;
    let mut journal = Journal::lead(storage.clone(), &Observed::default(), leader(1), |_| {}).await.unwrap();
    let named = journal.newest();
    assert_eq!(Journal::read_from(&storage, named + 1).await.unwrap(), None);
    for appended in 0..3 * ENTRIES_KEPT {
        let found = Journal::read_from(&storage, named).await.unwrap();
        assert_eq!(found.map(|record| record.epoch), Some(LeaderEpoch(1)), "after {appended} more");
        // Old entries are deleted only where they are listed.
        store.refresh().await;
        journal.append(journal.record().clone()).await.unwrap();
    }
}
