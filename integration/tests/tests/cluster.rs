//! Clusters of real processes, without Kafka: formed, killed, frozen, stopped, damaged. Whatever happens, every answer is
//! visible exactly once in the end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use flott_cards::process::{Cluster, JobProcess};
use flott_tests::{
    PATIENCE, Scene, card_alerts_of_another_build, free_port, said, wait_for_code, wait_until,
};
use xtask::clock::{Stopwatch, pause};

/// Enough to hurt the job while it works.
const PAYMENTS: u64 = 3_000_000;

/// Where the job is hurt: some checkpoints are complete, much is left to do.
const MIDWAY: f64 = 0.3;

/// Goal: 2 s on an idle machine. These tests share two cores.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// Goal: 1 s on an idle machine.
const START_MAX: Duration = Duration::from_secs(5);

fn finish(scene: &Scene, cluster: &mut Cluster) {
    cluster.wait_until_finished(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    scene.assert_right();
}

#[test]
fn a_cluster_forms_and_finishes_its_job() {
    let scene = Scene::new(PAYMENTS);
    let watch = Stopwatch::start();
    let mut cluster = scene.cluster(3);
    let formed = watch.elapsed();
    scene.wait_for_record_after(0);
    let first = watch.elapsed();
    println!("start to first record: {first:?}, of which the JobManager took {formed:?} to listen");
    assert!(first < START_MAX, "{first:?}");
    finish(&scene, &mut cluster);
    assert_eq!(cluster.restarts(), Some(0));
    let said = cluster.jobmanager().errors();
    for uid in ["payments", "card-totals", "small-then-large", "minutes-of-merchants", "totals", "alerts"] {
        assert!(said.contains(uid), "the summary names {uid}");
    }
    assert!(said.lines().any(|line| line.starts_with("card-alerts finished after")));
}

#[test]
fn a_killed_taskmanager_is_replaced_by_the_standby() {
    let scene = Scene::new(PAYMENTS);
    let mut cluster = scene.cluster(3);
    scene.reach_visible(MIDWAY);
    let generation = scene.generation();
    cluster.busiest_taskmanager().unwrap().kill9();
    let recovered = scene.wait_for_record_after(generation);
    println!("kill to first new record: {recovered:?}");
    assert!(recovered < RECOVERY_MAX, "{recovered:?}");
    finish(&scene, &mut cluster);
    assert_eq!(cluster.restarts(), Some(1));
}

#[test]
fn without_a_standby_the_job_waits_for_a_new_taskmanager() {
    let scene = Scene::new(PAYMENTS);
    let mut cluster = scene.cluster(2);
    scene.reach_visible(MIDWAY);
    let generation = scene.generation();
    cluster.busiest_taskmanager().unwrap().kill9();
    said(cluster.jobmanager(), "lost");
    cluster.add_taskmanager().unwrap();
    scene.wait_for_record_after(generation);
    finish(&scene, &mut cluster);
}

#[test]
fn taskmanagers_killed_again_and_again_do_no_harm() {
    let scene = Scene::new(PAYMENTS);
    let mut cluster = scene.cluster(3);
    for share in [0.1, 0.2, 0.3, 0.4, 0.5] {
        scene.reach_visible(share);
        cluster.busiest_taskmanager().unwrap().kill9();
        cluster.taskmanagers().retain_mut(JobProcess::is_running);
        cluster.add_taskmanager().unwrap();
    }
    finish(&scene, &mut cluster);
}

#[test]
fn a_frozen_taskmanager_is_given_up_and_does_no_harm_when_it_wakes() {
    let scene =
        Scene::new(PAYMENTS).with(["--set", "heartbeat_interval=200ms", "--set", "heartbeat_timeout=1s"]);
    let mut cluster = scene.cluster(3);
    scene.reach_visible(MIDWAY);
    let generation = scene.generation();
    let busiest = cluster.busiest_taskmanager().unwrap();
    busiest.freeze().unwrap();
    let frozen = busiest.id();
    scene.wait_for_record_after(generation);
    let is_frozen = |taskmanager: &&mut JobProcess| taskmanager.id() == frozen;
    let woken = cluster.taskmanagers().iter_mut().find(is_frozen).unwrap();
    woken.thaw().unwrap();
    // It learns that it was given up, and joins again.
    finish(&scene, &mut cluster);
    assert!(cluster.restarts().unwrap() >= 1);
}

#[test]
fn a_killed_jobmanager_resumes_by_itself_and_its_taskmanagers_come_back() {
    let scene = Scene::new(PAYMENTS);
    let mut cluster = scene.cluster(2);
    scene.reach_visible(MIDWAY);
    let generation = scene.generation();
    cluster.jobmanager().kill9();
    let watch = Stopwatch::start();
    cluster.restart_jobmanager().unwrap();
    scene.wait_for_record_after(generation);
    println!("restart of the JobManager to first new record: {:?}", watch.elapsed());
    finish(&scene, &mut cluster);
    assert!(cluster.jobmanager().errors().contains("deploying attempt 1 from checkpoint"));
}

#[test]
fn everything_killed_at_once_resumes() {
    let scene = Scene::new(PAYMENTS);
    let mut cluster = scene.cluster(2);
    scene.reach_visible(MIDWAY);
    cluster.jobmanager().kill9();
    cluster.taskmanagers().iter_mut().for_each(JobProcess::kill9);
    cluster.taskmanagers().clear();
    cluster.restart_jobmanager().unwrap();
    cluster.add_taskmanager().unwrap();
    cluster.add_taskmanager().unwrap();
    finish(&scene, &mut cluster);
}

#[test]
fn a_terminated_taskmanager_says_goodbye_and_the_job_goes_on() {
    let scene = Scene::new(PAYMENTS);
    let mut cluster = scene.cluster(3);
    scene.reach_visible(MIDWAY);
    let busiest = cluster.busiest_taskmanager().unwrap();
    busiest.terminate().unwrap();
    wait_for_code(busiest, 143);
    cluster.taskmanagers().retain_mut(JobProcess::is_running);
    assert_eq!(cluster.taskmanagers().len(), 2);
    finish(&scene, &mut cluster);
    assert!(cluster.jobmanager().errors().contains("leaves"));
}

#[test]
fn a_terminated_jobmanager_takes_a_last_checkpoint_and_a_later_one_resumes() {
    let scene = Scene::new(PAYMENTS).with(["--checkpoint-interval", "1h"]);
    let mut cluster = scene.cluster(2);
    scene.reach(MIDWAY);
    cluster.jobmanager().terminate().unwrap();
    let first = wait_for_code(cluster.jobmanager(), 143);
    assert!(first.contains("stopped by a signal; its state is kept"), "{first}");
    assert!(first.contains("checkpoint 1 complete"), "{first}");
    // All that was written is in that checkpoint, and visible.
    assert!(scene.progress() >= MIDWAY);
    let comparison = scene.comparison();
    assert_eq!((comparison.duplicated(), comparison.wrong()), (0, 0), "{comparison}");
    assert!(comparison.totals.given > 0);
    let given = comparison.totals.given;

    cluster.restart_jobmanager().unwrap();
    finish(&scene, &mut cluster);
    let second = cluster.jobmanager().errors();
    assert!(second.contains("deploying attempt 1 from checkpoint 1 "), "{second}");
    // It has not begun from the beginning.
    let line = second.lines().find(|line| line.trim_start().starts_with("payments ")).unwrap();
    let read: u64 = line.split_whitespace().last().unwrap().parse().unwrap();
    assert_eq!(read, PAYMENTS - given, "{second}");
}

#[test]
fn a_finished_job_says_so_and_again_runs_it_anew() {
    let scene = Scene::new(50_000);
    let mut cluster = scene.cluster(2);
    finish(&scene, &mut cluster);
    cluster.restart_jobmanager().unwrap();
    let text = wait_for_code(cluster.jobmanager(), 0);
    assert!(text.contains("had already finished; nothing was run. --again runs it again"), "{text}");
    scene.assert_right();

    // It writes its output again, on purpose, and beside what is there.
    let mut scene = scene;
    scene.set(["--again"]);
    let mut again = scene.cluster(2);
    again.wait_until_finished(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert!(again.jobmanager().errors().contains("from the beginning"));
    let comparison = scene.comparison();
    assert_eq!((comparison.missing(), comparison.wrong()), (0, 0), "{comparison}");
    assert_eq!(comparison.totals.duplicated, 50_000, "{comparison}");

    fs::remove_dir_all(scene.output()).unwrap();
    let mut again = scene.cluster(2);
    finish(&scene, &mut again);
}

#[test]
fn a_job_resumes_with_another_parallelism() {
    let mut scene = Scene::new(PAYMENTS);
    for (step, parallelism) in ["2", "3", "1"].into_iter().enumerate() {
        scene.set(["--parallelism", parallelism]);
        let mut cluster = scene.cluster(parallelism.parse().unwrap());
        if step == 2 {
            finish(&scene, &mut cluster);
            break;
        }
        scene.reach_visible(0.25 * (step as f64 + 1.0));
        cluster.jobmanager().terminate().unwrap();
        wait_for_code(cluster.jobmanager(), 143);
    }
}

#[test]
fn taskmanagers_wait_for_a_jobmanager_that_is_not_there_yet() {
    let scene = Scene::new(50_000);
    let address = format!("127.0.0.1:{}", free_port());
    let mut first = scene.taskmanager("first", &address);
    let mut second = scene.taskmanager("second", &address);
    pause(Duration::from_millis(700));
    assert!(first.is_running() && second.is_running());
    let mut jobmanager = scene.jobmanager("jobmanager", &address);
    for process in [&mut jobmanager, &mut first, &mut second] {
        wait_for_code(process, 0);
    }
    scene.assert_right();
}

#[test]
fn a_taskmanager_without_a_jobmanager_gives_up() {
    let scene = Scene::new(1);
    let address = format!("127.0.0.1:{}", free_port());
    let flags = ["--role", "taskmanager", "--jobmanager", &address, "--set", "jobmanager_timeout=700ms"];
    let watch = Stopwatch::start();
    let mut taskmanager = scene.start("taskmanager", &flags);
    let text = wait_for_code(&mut taskmanager, 6);
    assert!(text.contains(&address) && text.contains("check `--jobmanager`"), "{text}");
    assert!(watch.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_taskmanager_needs_to_know_whom_to_join() {
    let scene = Scene::new(1);
    let mut taskmanager = scene.start("taskmanager", &["--role", "taskmanager"]);
    assert!(wait_for_code(&mut taskmanager, 3).contains("--jobmanager HOST:PORT"));
    let mut jobmanager = scene.start("jobmanager", &["--role", "jobmanager", "--listen", "127.0.0.1:0"]);
    assert!(wait_for_code(&mut jobmanager, 3).contains("--checkpoint-dir"));
}

#[test]
fn a_taskmanager_of_another_build_is_refused() {
    let scene = Scene::new(PAYMENTS);
    let mut cluster = scene.cluster(1);
    let address = cluster.address().to_string();
    let other = card_alerts_of_another_build(scene.directory());
    let flags = ["--role", "taskmanager", "--jobmanager", &address];
    let mut stranger = JobProcess::start(&other, scene.directory(), "stranger", flags).unwrap();
    let refused = wait_for_code(&mut stranger, 5);
    assert!(refused.contains("started from different binaries"), "{refused}");
    // The stranger is told no more; the JobManager's log names both builds.
    let text = cluster.jobmanager().errors();
    let builds: Vec<_> = text.split("build \"").skip(1).map(|rest| &rest[..16]).collect();
    assert!(builds.len() == 2 && builds[0] != builds[1], "{text}");
    assert!(builds.iter().all(|id| id.chars().all(|c| c.is_ascii_hexdigit())), "{text}");
    assert!(cluster.jobmanager().is_running());
    cluster.add_taskmanager().unwrap();
    finish(&scene, &mut cluster);
}

#[test]
fn garbage_on_any_port_does_nothing_to_the_job() {
    let scene = Scene::new(PAYMENTS);
    let mut cluster = scene.cluster(2);
    let control = cluster.address().to_string();
    scene.reach(0.1);
    let exchanges = exchange_addresses(&cluster.jobmanager().errors());
    assert_eq!(exchanges.len(), 2);
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut oversized_control = b"FLTC\x01\x00".to_vec();
    oversized_control.extend([0xff; 64]);
    let mut garbled_control = b"FLTC\x01\x00\x10\x00\x00\x00".to_vec();
    garbled_control.extend([0xee; 16]);
    let mut oversized_exchange = b"FLTX\x01\x00".to_vec();
    oversized_exchange.extend([0xff; 200]);
    let messages: [&[u8]; 7] = [
        &noise,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"",
        &oversized_control,
        &garbled_control,
        &oversized_exchange,
        b"FLTC\x01\x00\x00\x00\x00\x00",
    ];
    let mut connections = Vec::new();
    for address in exchanges.iter().chain([&control]) {
        for message in messages {
            let mut stream = TcpStream::connect(address).unwrap();
            // The other side may hang up while we still speak.
            let _ = stream.write_all(message);
            connections.push(stream);
        }
    }
    // Whoever speaks no sense is hung up on; whoever says nothing at all, a little later.
    for stream in &mut connections {
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => assert!(answer.is_empty(), "{answer:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    finish(&scene, &mut cluster);
    assert_eq!(cluster.restarts(), Some(0));
}

fn exchange_addresses(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| line.split_once("exchange at "));
    lines.map(|(_, address)| address.trim().to_owned()).collect()
}

#[test]
fn of_two_jobmanagers_in_one_directory_the_first_steps_down() {
    let scene = Scene::new(PAYMENTS).with(["--set", "jobmanager_timeout=3s"]);
    let mut first = scene.cluster(2);
    scene.reach_visible(MIDWAY);
    let mut second = scene.cluster(2);
    let text = first.jobmanager().wait_for_code(5, PATIENCE).map(|()| first.jobmanager().errors()).unwrap();
    assert!(text.contains("this JobManager was deposed: the JobManager at 127.0.0.1:"), "{text}");
    let process = format!("(process {} on ", second.jobmanager().id());
    assert!(text.contains(&process), "{process} is not in {text}");
    finish(&scene, &mut second);
    assert!(second.jobmanager().errors().contains("from checkpoint"));
}

/// Stops a cluster midway, with some checkpoints taken, all processes gone and nothing open.
fn stopped_midway(scene: &Scene) {
    let mut cluster = scene.cluster(2);
    scene.reach_visible(MIDWAY);
    cluster.jobmanager().terminate().unwrap();
    wait_for_code(cluster.jobmanager(), 143);
}

/// Directories of checkpoints, oldest first.
fn checkpoints(scene: &Scene) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.checkpoints().join("checkpoints")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// The newest checkpoint is damaged. Going on from the one before would repeat what is visible already: the job does
/// so only when told to.
fn falls_back_with_a_guard(damage: impl Fn(&Path)) {
    let mut scene = Scene::new(PAYMENTS);
    stopped_midway(&scene);
    let before = scene.comparison().totals.given;
    let checkpoints = checkpoints(&scene);
    // One that is not kept any more may lie there still.
    assert!(checkpoints.len() >= 2, "{checkpoints:?}");
    damage(checkpoints.last().unwrap());

    let mut refused = scene.jobmanager("refused", "127.0.0.1:0");
    let address = refused.wait_for_address(PATIENCE).unwrap().to_string();
    let _helpers = [scene.taskmanager("helper-1", &address), scene.taskmanager("helper-2", &address)];
    let text = wait_for_code(&mut refused, 4);
    assert!(text.contains("written again") && text.contains("allow_repeated_output"), "{text}");
    assert_eq!(scene.comparison().totals.given, before, "nothing was lost or added");

    scene.set(["--set", "allow_repeated_output=true"]);
    let mut cluster = scene.cluster(2);
    cluster.wait_until_finished(PATIENCE).unwrap();
    let text = cluster.jobmanager().errors();
    assert!(text.contains("cannot be read") && text.contains("trying an older one"), "{text}");
    let comparison = scene.comparison();
    assert_eq!((comparison.missing(), comparison.wrong()), (0, 0), "{comparison}");
    assert!(comparison.duplicated() > 0, "{comparison}");
}

#[test]
fn a_corrupt_snapshot_makes_it_fall_back_with_a_guard() {
    falls_back_with_a_guard(|checkpoint| {
        for path in files(checkpoint, "snap") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            fs::write(&path, bytes).unwrap();
        }
    });
}

#[test]
fn a_truncated_snapshot_makes_it_fall_back_with_a_guard() {
    falls_back_with_a_guard(|checkpoint| {
        let path = &files(checkpoint, "snap")[0];
        let length = fs::metadata(path).unwrap().len();
        fs::File::options().write(true).open(path).unwrap().set_len(length / 2).unwrap();
    });
}

#[test]
fn a_corrupt_manifest_makes_it_fall_back_with_a_guard() {
    falls_back_with_a_guard(|checkpoint| {
        let path = &files(checkpoint, "json")[0];
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replacen('0', "1", 1)).unwrap();
    });
}

#[test]
fn a_job_without_any_readable_checkpoint_stops_for_a_person() {
    let scene = Scene::new(PAYMENTS);
    stopped_midway(&scene);
    for checkpoint in checkpoints(&scene) {
        files(&checkpoint, "json").iter().for_each(|path| fs::write(path, "{}").unwrap());
    }
    let mut refused = scene.jobmanager("refused", "127.0.0.1:0");
    let text = wait_for_code(&mut refused, 4);
    assert!(text.contains("no other checkpoint is kept"), "{text}");
}

#[test]
fn a_truncated_journal_stops_the_job_for_a_person() {
    let scene = Scene::new(PAYMENTS);
    stopped_midway(&scene);
    let journal = scene.checkpoints().join("journal");
    let newest = files(&journal, "json").into_iter().max().unwrap();
    let length = fs::metadata(&newest).unwrap().len();
    fs::File::options().write(true).open(&newest).unwrap().set_len(length / 2).unwrap();
    let mut refused = scene.jobmanager("refused", "127.0.0.1:0");
    let text = wait_for_code(&mut refused, 4);
    let name = newest.file_name().unwrap().to_str().unwrap();
    assert!(text.contains(name), "names the file: {text}");
    let after: Vec<_> = files(&journal, "json");
    assert!(after.iter().max() == Some(&newest), "nothing was written over it");
}

#[test]
fn an_idle_cluster_is_quiet_and_small() {
    let scene = Scene::new(1_000).with(["--parallelism", "2"]);
    let mut cluster = scene.cluster(1);
    said(cluster.jobmanager(), "joined");
    pause(Duration::from_secs(2));
    let ticks = |cluster: &mut Cluster| {
        let jobmanager = cluster.jobmanager().processor_ticks();
        [jobmanager, cluster.taskmanagers()[0].processor_ticks()]
    };
    let before = ticks(&mut cluster);
    pause(Duration::from_secs(2));
    let after = ticks(&mut cluster);
    let used: u64 = after.iter().sum::<u64>() - before.iter().sum::<u64>();
    let mebibytes = |process: &JobProcess| process.resident_bytes() >> 20;
    let sizes = [mebibytes(cluster.jobmanager()), mebibytes(&cluster.taskmanagers()[0])];
    println!("waiting: {used} ticks of 10 ms in 2 s, JobManager and TaskManager {sizes:?} MiB");
    assert!(used <= 20, "a job that waits for slots uses {used} ticks in 2 s");
    assert!(sizes.iter().all(|&size| size <= 60), "{sizes:?}");
    wait_until("the cluster waits", || cluster.jobmanager().is_running());
    cluster.jobmanager().terminate().unwrap();
    wait_for_code(cluster.jobmanager(), 143);
}
