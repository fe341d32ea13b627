//! Local runs and the command line: what a person sees, and what bad input gets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use flott_cards::{Answers, Comparison, Output, PaymentGenerator, Reference, Rule, process::JobProcess};
use flott_tests::{Scene, card_alerts, interrupt, not_tested, said, wait_for_code};
use xtask::clock::pause;

const PAYMENTS: u64 = 2_000_000;

/// A process of the job that gets into trouble when told to.
fn troubles(scene: &Scene, flags: &[&str]) -> JobProcess {
    let binary = Path::new(env!("CARGO_BIN_EXE_troubles"));
    JobProcess::start(binary, scene.directory(), "troubles", flags).unwrap()
}

/// Runs a command to its end: exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn card_alerts_in(directory: &Path) -> Command {
    let mut command = Command::new(card_alerts());
    command.current_dir(directory);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLOTT_")) {
        command.env_remove(name);
    }
    command
}

#[test]
fn a_local_run_writes_files_exactly_once_and_tells_how_it_goes() {
    let scene = Scene::new(PAYMENTS);
    let mut local = scene.local("local");
    let text = wait_for_code(&mut local, 0);
    scene.assert_right();
    assert_eq!(local.output(), "", "results go to files");
    assert!(!text.contains('\x1b'), "plain lines where there is no terminal: {text}");
    assert!(
        text.lines().any(|line| line.starts_with("card-alerts RUNNING") && line.contains(" | payments ")),
        "{text}"
    );
    let summary: Vec<_> =
        text.lines().skip_while(|line| !line.starts_with("card-alerts finished after")).collect();
    let counted = |uid: &str| {
        let line = summary.iter().find(|line| line.trim_start().starts_with(&format!("{uid} ")));
        let numbers = line.unwrap().split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(counted("payments").last(), Some(&PAYMENTS), "{text}");
    assert_eq!(counted("card-totals"), [PAYMENTS, PAYMENTS], "{text}");
    assert_eq!(counted("totals").first(), Some(&PAYMENTS), "{text}");
}

#[test]
fn a_local_run_that_stood_still_goes_on() {
    let scene =
        Scene::new(PAYMENTS).with(["--set", "heartbeat_interval=100ms", "--set", "heartbeat_timeout=300ms"]);
    let mut local = scene.local("local");
    scene.reach(0.1);
    local.freeze().unwrap();
    pause(Duration::from_secs(1));
    local.thaw().unwrap();
    let text = wait_for_code(&mut local, 0);
    assert!(text.contains("checkpoints, 0 restarts"), "{text}");
    scene.assert_right();
}

/// The answers that a run has printed. Which output a line belongs to shows in its fields.
fn printed(local: &JobProcess) -> Answers {
    let mut answers = Answers::default();
    for line in local.output().lines() {
        let added = Output::ALL.iter().any(|&output| answers.add(output, line.as_bytes()).is_ok());
        assert!(added, "{line}");
    }
    answers
}

#[test]
fn other_amounts_give_other_alerts() {
    let payments = || (0..20_000).map(|n| PaymentGenerator::new(7).payment(n));
    let answers = |rule| Reference::answers_to(rule, payments()).unwrap();
    let usual = answers(Rule::default()).alerts.len();
    let scene = Scene::new(1);
    for (tiny_cents, large_cents) in [(3_000, 50_000), (100, 20_000)] {
        let (tiny, large) = (tiny_cents.to_string(), large_cents.to_string());
        let flags = ["--embedded", "--generate", "20000", "--seed", "7"];
        let mut local =
            scene.start("local", &[&flags[..], &["--tiny-cents", &tiny, "--large-cents", &large]].concat());
        wait_for_code(&mut local, 0);
        let expected = answers(Rule { tiny_cents, large_cents, ..Rule::default() });
        assert_ne!(expected.alerts.len(), usual, "both parameters matter");
        let comparison = Comparison::new(&expected, &printed(&local));
        assert!(comparison.is_equal(), "{tiny_cents} {large_cents}: {comparison}");
    }
}

#[test]
fn without_a_directory_results_go_to_standard_output() {
    let scene = Scene::new(20_000);
    let flags = ["--embedded", "--generate", "20000", "--seed", "7", "--parallelism", "2"];
    let mut local = scene.start("local", &flags);
    wait_for_code(&mut local, 0);
    let comparison = scene.compare_with(&printed(&local));
    assert!(comparison.is_equal(), "{comparison}");
    let left: Vec<_> =
        fs::read_dir(scene.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing is left but what it said: {left:?}");
}

#[test]
fn control_c_stops_with_a_checkpoint_and_the_next_run_resumes() {
    let scene = Scene::new(PAYMENTS).with(["--checkpoint-interval", "1h"]);
    let mut first = scene.local("first");
    scene.reach(0.2);
    interrupt(&first);
    let text = wait_for_code(&mut first, 130);
    assert!(text.contains("asked to end: taking a last checkpoint"), "{text}");
    assert!(text.contains("stopped by a signal; its state is kept"), "{text}");
    let given = scene.comparison().totals.given;
    assert!(given > 0 && given < PAYMENTS, "{given}");
    let mut second = scene.local("second");
    let text = wait_for_code(&mut second, 0);
    assert!(text.contains("from checkpoint 1"), "{text}");
    scene.assert_right();
}

#[test]
fn control_c_twice_ends_at_once_and_nothing_is_lost() {
    let scene = Scene::new(PAYMENTS);
    let mut first = scene.local("first");
    scene.reach_visible(0.2);
    interrupt(&first);
    said(&mut first, "asked to end");
    // Signals in quick succession are one request.
    pause(Duration::from_millis(600));
    interrupt(&first);
    wait_for_code(&mut first, 130);
    let mut second = scene.local("second");
    wait_for_code(&mut second, 0);
    scene.assert_right();
}

#[test]
fn signals_in_quick_succession_are_one_request() {
    let scene = Scene::new(PAYMENTS).with(["--checkpoint-interval", "1h"]);
    let mut first = scene.local("first");
    scene.reach(0.2);
    (0..3).for_each(|_| interrupt(&first));
    let text = wait_for_code(&mut first, 130);
    assert!(text.contains("checkpoint 1 complete") && !text.contains("asked to end twice"), "{text}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_job_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = card_alerts_in(directory.path());
    command.args(["--embedded", "--generate", "100000000", "--rate", "100000"]);
    let mut job = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut results = BufReader::new(job.stdout.take().unwrap()).lines();
    assert!(results.by_ref().take(3).all(|line| line.is_ok()));
    drop(results);
    let output = job.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{text}");
    let complaints = text.lines().filter(|line| line.contains("error") || line.contains("warning: task"));
    assert_eq!(complaints.count(), 0, "{text}");
}

#[test]
fn a_finished_local_run_says_so_and_complains_of_nothing() {
    let scene = Scene::new(1000);
    wait_for_code(&mut scene.local("first"), 0);
    let text = wait_for_code(&mut scene.local("second"), 0);
    assert!(text.contains("had already finished; nothing was run. --again runs it again"), "{text}");
    assert!(!text.contains("error"), "{text}");
}

#[test]
fn a_killed_local_run_resumes() {
    let scene = Scene::new(PAYMENTS);
    let mut first = scene.local("first");
    scene.reach_visible(0.3);
    first.kill9();
    let mut second = scene.local("second");
    wait_for_code(&mut second, 0);
    scene.assert_right();
}

#[test]
fn wrong_flags_are_usage_errors() {
    let directory = tempfile::tempdir().unwrap();
    for flags in [&["--no-such-flag"][..], &["--role", "worker"], &["--generate", "many"]] {
        let (code, _, errors) = run(card_alerts_in(directory.path()).args(flags));
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains(flags[0]), "{errors}");
    }
}

#[test]
fn unknown_and_malformed_settings_name_their_source() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |command: &mut Command, parts: &[&str]| {
        let (code, _, errors) = run(command.arg("--embedded"));
        assert_eq!(code, 3, "{errors}");
        assert!(parts.iter().all(|part| errors.contains(part)), "{errors}");
        assert!(errors.starts_with("error: "), "a job that has not begun has not failed: {errors}");
    };
    let command = || card_alerts_in(directory.path());
    refused(command().env("FLOTT_SLOT", "3"), &["`slot`", "variable FLOTT_SLOT", "did you mean `slots`"]);
    refused(command().env("FLOTT_SLOTS", "many"), &["`slots`", "variable FLOTT_SLOTS"]);
    refused(command().env("FLOTT_PARAMS__SEEED", "3"), &["seeed", "FLOTT_PARAMS__SEEED"]);
    refused(command().args(["--set", "slot_timeot=3s"]), &["slot_timeot", "--set"]);
    refused(command().args(["--set", "heartbeat_timeout=soon"]), &["heartbeat_timeout", "soon"]);
    refused(command().args(["--set", "heartbeat_timeout=100ms"]), &["`heartbeat_timeout` must be longer"]);
    fs::write(directory.path().join("flott.toml"), "parallelizm = 2\n").unwrap();
    refused(&mut command(), &["`parallelizm`", "flott.toml", "did you mean `parallelism`"]);
    fs::write(directory.path().join("flott.toml"), "[params]\nsead = 2\n").unwrap();
    refused(&mut command(), &["`sead`", "[params] in flott.toml", "did you mean `seed`"]);
    refused(command().args(["--set", "log=loud"]), &["`log`", "--set log", "\"loud\" is no level", "info"]);
    let file =
        "parallelizm = 2\ncheckpoint_interval = 2\nslots = 'two'\n[params]\nsead = 2\ngenerate = 'all'\n";
    fs::write(directory.path().join("flott.toml"), file).unwrap();
    let all =
        ["`parallelizm`", "`checkpoint_interval`", "write \"2s\" for seconds", "`slots`", "`sead`", "'all'"];
    refused(&mut command(), &all);
    fs::write(directory.path().join("flott.toml"), "parallelism = \n").unwrap();
    refused(&mut command(), &["flott.toml is not valid TOML"]);
}

#[test]
fn settings_come_from_file_variables_and_flags() {
    let directory = tempfile::tempdir().unwrap();
    let parallelism = |command: &mut Command| {
        let (code, output, errors) = run(command.args(["plan", "--format", "json", "--embedded"]));
        assert_eq!(code, 0, "{errors}");
        let plan: serde_json::Value = serde_json::from_str(&output).unwrap();
        plan["slots_needed"].as_u64().unwrap()
    };
    let command = || card_alerts_in(directory.path());
    assert_eq!(parallelism(&mut command()), 1);
    fs::write(directory.path().join("flott.toml"), "parallelism = 2\n").unwrap();
    assert_eq!(parallelism(&mut command()), 2);
    assert_eq!(parallelism(command().env("FLOTT_PARALLELISM", "3")), 3);
    let (code, output, _) = run(command().env("FLOTT_PARALLELISM", "3").args([
        "plan",
        "--format",
        "json",
        "--embedded",
        "--parallelism",
        "4",
    ]));
    assert_eq!(code, 0);
    assert!(output.contains("\"slots_needed\": 4"), "{output}");
}

#[test]
fn plan_explains_the_job_and_contacts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing listens there: whoever contacts it fails or waits.
    let plan = |format: &str| {
        let flags = ["plan", "--format", format, "--brokers", "127.0.0.1:1", "--parallelism", "3"];
        let (code, output, errors) = run(card_alerts_in(directory.path()).args(flags));
        assert_eq!((code, errors.as_str()), (0, ""), "{errors}");
        output
    };
    let uids = [
        "payments",
        "card-totals",
        "small-then-large",
        "minutes-of-merchants",
        "totals",
        "alerts",
        "merchant-minutes",
    ];
    for format in ["text", "mermaid", "json"] {
        let text = plan(format);
        assert!(uids.iter().all(|uid| text.contains(uid)), "{text}");
        assert!(text.contains("hash") && text.contains("exactly"), "{text}");
    }
    let text = plan("text");
    assert!(text.contains("(parallelism 3)") && text.contains("(chained)"), "{text}");
    assert!(text.contains("slots needed: 3"), "{text}");
    assert!(plan("mermaid").starts_with("flowchart"));
    let json: serde_json::Value = serde_json::from_str(&plan("json")).unwrap();
    assert_eq!(json["slots_needed"], 3);
    assert!(json["vertices"].as_array().unwrap().len() >= 4, "{json:#}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn help_shows_the_jobs_own_words_and_parameters() {
    let directory = tempfile::tempdir().unwrap();
    let (code, output, _) = run(card_alerts_in(directory.path()).arg("--help"));
    assert_eq!(code, 0);
    for part in [
        "Counts and adds up the payments of each card",
        "Job parameters",
        "--transaction-timeout",
        "--large-cents",
        "--checkpoint-dir",
        "--jobmanager",
        "Exit codes",
        "plan",
        "[default: 1s]",
        "[default: local]",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    let (code, output, _) = run(card_alerts_in(directory.path()).arg("--version"));
    assert_eq!((code, output.trim()), (0, concat!("card-alerts ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn user_code_that_panics_or_fails_ends_the_job_and_is_named() {
    let scene = Scene::new(1);
    for (flag, why) in
        [("--panic-at", "troubles.rs:"), ("--panic-at", "told to panic"), ("--fail-at", "told to fail")]
    {
        let flags = [flag, "500", "--set", "restart_attempts=2", "--set", "restart_initial_delay=10ms"];
        let mut process = troubles(&scene, &flags);
        let text = wait_for_code(&mut process, 1);
        assert!(text.contains(why) && text.contains("operator \"trouble\", subtask 0"), "{text}");
        assert!(text.contains("troubles failed after") && text.contains("2 restarts"), "{text}");
    }
}

#[test]
fn user_code_that_never_returns_does_not_keep_the_process_alive() {
    let scene = Scene::new(1);
    let mut process = troubles(
        &scene,
        &["--hang-at", "500", "--set", "cancel_timeout=500ms", "--set", "stop_timeout=500ms"],
    );
    said(&mut process, "deploying");
    flott_tests::wait_until("the job runs", || process.errors().contains("RUNNING"));
    interrupt(&process);
    said(&mut process, "asked to end");
    let status = process.wait(flott_tests::PATIENCE).unwrap();
    let text = process.errors();
    assert!(status.code().is_some_and(|code| code != 0), "{status} {text}");
    assert!(text.contains("did not stop within"), "{text}");
}

#[test]
fn a_checkpoint_directory_that_cannot_be_used_is_a_settings_error() {
    let scene = Scene::new(1);
    fs::write(scene.directory().join("file"), "").unwrap();
    let below_a_file = format!("file://{}/file/below", scene.directory().display());
    let mut urls = vec![below_a_file, "s3://bucket/job".into(), "file://relative".into()];
    let read_only = scene.directory().join("read-only");
    fs::create_dir(&read_only).unwrap();
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(read_only.join("probe"), "").is_err() {
        urls.push(format!("file://{}", read_only.display()));
    } else {
        // Permissions do not bind the superuser, but no process may make files here.
        urls.push("file:///proc/flott".into());
    }
    for url in urls {
        let mut process = scene.start("local", &["--embedded", "--checkpoint-dir", &url]);
        let text = wait_for_code(&mut process, 3);
        assert!(text.contains(url.trim_start_matches("file://").trim_start_matches("s3")), "{text}");
        assert!(text.lines().any(|line| line.starts_with("error: ")), "{text}");
    }
}

#[test]
fn an_output_directory_that_cannot_be_used_is_a_settings_error() {
    let scene = Scene::new(1);
    fs::write(scene.directory().join("file"), "").unwrap();
    let mut process = scene.start("local", &["--embedded", "--output", "file/below"]);
    let text = wait_for_code(&mut process, 3);
    assert!(text.contains("file/below"), "{text}");
}

#[test]
fn one_checkpoint_directory_is_one_job() {
    let scene = Scene::new(1);
    let url = scene.checkpoint_url();
    wait_for_code(&mut troubles(&scene, &["--checkpoint-dir", &url]), 0);
    let mut other = scene.local("other");
    let text = wait_for_code(&mut other, 3);
    assert!(text.contains("belongs to job") && text.contains("choose another"), "{text}");
}

#[test]
fn a_second_job_in_one_output_directory_is_refused_and_the_first_unharmed() {
    let scene = Scene::new(PAYMENTS).with(["--checkpoint-interval", "1h"]);
    let mut first = scene.local("first");
    scene.reach(0.05);
    // Nothing of the first is visible yet, and the second keeps its checkpoints elsewhere.
    for name in ["second-try-1", "second-try-2"] {
        let url = format!("file://{}/elsewhere", scene.directory().display());
        let arguments = scene.arguments();
        let flags: Vec<_> =
            ["--checkpoint-dir", &url].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let text = wait_for_code(&mut scene.start(name, &flags), 3);
        assert!(
            text.contains("belongs to another run") && text.contains("another output directory"),
            "{text}"
        );
    }
    wait_for_code(&mut first, 0);
    scene.assert_right();
}

/// A small file system of its own, where this user may have one.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        let is_mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        is_mounted.then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_fails_checkpoints_and_loses_nothing() {
    let scene = Scene::new(PAYMENTS).with(["--set", "tolerable_failed_checkpoints=1000000"]);
    let checkpoints = scene.checkpoints();
    let Some(_disk) = SmallDisk::mount(&checkpoints, "60m") else {
        not_tested("a full disk: this user may not mount a small file system");
        return;
    };
    let mut local = scene.local("local");
    scene.reach_visible(0.1);
    let ballast = checkpoints.join("ballast");
    // Takes whatever is free, again and again.
    let fill = || {
        let zeros = vec![0; 1 << 16];
        let mut file = fs::File::options().create(true).append(true).open(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    };
    flott_tests::wait_until("a checkpoint fails", || {
        fill();
        local.errors().contains("failed: ")
    });
    let text = local.errors();
    assert!(text.contains("No space left") && text.contains("free some space"), "{text}");
    assert!(local.is_running());
    fs::remove_file(&ballast).unwrap();
    wait_for_code(&mut local, 0);
    scene.assert_right();
}
