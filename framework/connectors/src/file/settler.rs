use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use flott_core::{
    Error, ErrorKind, JobIdentity, Result, ResultExt,
    sink::{ACCEPT_LOST_OUTPUT, ALLOW_REPEATED_OUTPUT, SettleReport, SettleRequest, Settler, SweepRequest},
};

use super::committable::{PENDING_PREFIX, PendingFile, sync_directory};

/// The file that says who writes here.
const OWNER: &str = ".owner";

/// Unfinished files hold up nobody, and the last sweep of a job finds them as well.
const SWEEP_FOR: Duration = Duration::from_secs(60);

/// Finishes the files that a checkpoint lists and deletes the other unfinished ones.
pub(super) struct FileSettler {
    directory: PathBuf,
}

impl FileSettler {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }
}

impl Settler for FileSettler {
    fn settle(&mut self, request: &SettleRequest) -> Result<SettleReport> {
        let directory = self.directory.join(request.uid.as_str());
        let place = format!("sink {}: {}", request.uid, directory.display());
        let names = names(&directory).or_error(ErrorKind::Transient, &place)?;
        let listed = request.committables.iter().map(|bytes| PendingFile::decode(bytes));
        let listed = listed.collect::<Result<Vec<_>>>()?;
        let owner = owner(&request.job);
        let found = found_owner(&directory).or_error(ErrorKind::Transient, &place)?;
        guard(request, &listed, &names).map_err(|error| error.context(&place))?;
        guard_owner(request, &owner, found.as_deref()).map_err(|error| error.context(&place))?;
        if found.as_ref() != Some(&owner) {
            claim(&directory, &owner).or_error(ErrorKind::Transient, &place)?;
        }

        let mut report = SettleReport { sweep_for: SWEEP_FOR, ..SettleReport::default() };
        for file in &listed {
            if finish(&directory, file).or_error(ErrorKind::Transient, &place)? {
                report.committed += 1;
            } else {
                report.lost_records += file.records;
                report.lost.push(format!(
                    "{place}: checkpoint {}: {} records of {} are gone: neither {} ({} bytes) nor the finished file is there",
                    file.checkpoint, file.records, file.part, file.pending, file.length
                ));
            }
        }
        if !report.lost.is_empty() && !request.accept_lost_output {
            let lost = report.lost.join("\n");
            let message = format!("{lost}\nTo go on without these records: --set {ACCEPT_LOST_OUTPUT}=true");
            return Err(Error::new(ErrorKind::OutputLost, message));
        }
        // Of a run that was taken over nothing is of use. In this one, newer generations are those of a JobManager that
        // has taken over from the one that asks, which may not know it yet.
        let newest = request.generations.iter().map(|(generation, _)| *generation).max();
        let is_of_successor =
            |name: &str| found.as_ref() == Some(&owner) && PendingFile::pending_generation(name) > newest;
        let unfinished = names.iter().filter(|name| name.starts_with(PENDING_PREFIX));
        for name in unfinished.filter(|name| !is_of_successor(name)) {
            remove(&directory.join(name)).or_error(ErrorKind::Transient, &place)?;
        }
        if !names.is_empty() {
            sync_directory(&directory).or_error(ErrorKind::Transient, &place)?;
        }
        Ok(report)
    }

    fn sweep(&mut self, request: &SweepRequest) -> Result<Vec<String>> {
        let directory = self.directory.join(request.uid.as_str());
        let place = format!("sink {}: {}", request.uid, directory.display());
        if found_owner(&directory).or_error(ErrorKind::Transient, &place)? != Some(owner(&request.job)) {
            // Another run has taken over: the files are its own.
            return Ok(Vec::new());
        }
        let mut names = names(&directory).or_error(ErrorKind::Transient, &place)?;
        names.retain(|name| PendingFile::pending_generation(name).is_some_and(|found| found < request.below));
        for name in &names {
            remove(&directory.join(name)).or_error(ErrorKind::Transient, &place)?;
        }
        Ok(names.into_iter().map(|name| format!("{}/{name}", request.uid)).collect())
    }
}

fn owner(job: &JobIdentity) -> String {
    format!("{}\n{}\n", job.name, job.run)
}

fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
    }
}

/// Who writes to the directory: name and run of a job.
fn found_owner(directory: &Path) -> io::Result<Option<String>> {
    match fs::read(directory.join(OWNER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Damaged text must be read as well, to say that it is damaged.
        found => found.map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

/// Writes down who writes here. When it returns, the claim survives a power failure.
fn claim(directory: &Path, owner: &str) -> io::Result<()> {
    create_directory(directory)?;
    let written = directory.join(format!("{OWNER}-{}", std::process::id()));
    let mut file = fs::File::create(&written)?;
    file.write_all(owner.as_bytes())?;
    file.sync_all()?;
    fs::rename(written, directory.join(OWNER))?;
    sync_directory(directory)
}

/// Creates a directory whose name survives a power failure, with the directories above it.
fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    create_directory(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_directory(parent)
}

/// Unfinished files of a job that runs look like those of one that is gone: who writes here is written down.
fn guard_owner(request: &SettleRequest, owner: &str, found: Option<&str>) -> Result<()> {
    let Some(found) = found.filter(|&found| found != owner && !request.allow_repeated_output) else {
        return Ok(());
    };
    let claim = found.strip_suffix('\n').and_then(|claim| claim.split_once('\n'));
    let Some((job, run)) = claim else {
        let message = format!(
            "the file {OWNER}, which says whose output the directory holds, is {}: a power failure or a full disk has cut it \
             off. If the output is that of this job, delete the file and start again; otherwise choose another output \
             directory",
            if found.is_empty() { "empty".to_owned() } else { format!("incomplete ({found:?})") }
        );
        return Err(Error::new(ErrorKind::Settings, message));
    };
    let message = format!(
        "the directory belongs to another run, run {run} of job {job:?}: a JobManager with another checkpoint directory, \
         or an earlier run whose checkpoint directory is gone. Choose another output directory or empty this one; if \
         that other run is gone for good, take it over with --set {ALLOW_REPEATED_OUTPUT}=true"
    );
    Err(Error::new(ErrorKind::Settings, message))
}

/// Finished files that the checkpoint does not know would be written a second time.
fn guard(request: &SettleRequest, listed: &[PendingFile], names: &BTreeSet<String>) -> Result<()> {
    let is_known = |name: &str| listed.iter().any(|file| file.part == name);
    let is_newer = |name: &&String| {
        let checkpoint = PendingFile::part_checkpoint(name);
        checkpoint.is_some_and(|checkpoint| Some(checkpoint) > request.checkpoint) && !is_known(name)
    };
    let Some(newer) = names.iter().find(is_newer).filter(|_| !request.allow_repeated_output) else {
        return Ok(());
    };
    let message = match request.checkpoint {
        None => format!(
            "{newer} was written by an earlier run, and this one starts from nothing; \
             choose another output directory or empty this one"
        ),
        Some(checkpoint) => format!(
            "{newer} is newer than checkpoint {checkpoint}, from which the job would go on: its records would be \
             written again; restore the newer checkpoint, or allow it with --set {ALLOW_REPEATED_OUTPUT}=true"
        ),
    };
    Err(Error::new(ErrorKind::State, message))
}

/// Gives a listed file its final name. `false`: it is gone.
fn finish(directory: &Path, file: &PendingFile) -> io::Result<bool> {
    let (pending, part) = (directory.join(&file.pending), directory.join(&file.part));
    if length(&part)? == Some(file.length) {
        return Ok(true);
    }
    if length(&pending)? != Some(file.length) {
        return Ok(false);
    }
    fs::rename(pending, part).map(|()| true)
}

fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        metadata => Ok(Some(metadata?.len())),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
