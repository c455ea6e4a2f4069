use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};

use super::*;

#[derive(Clone)]
struct All;
impl ForRole for All {
    const ROLE: Role = Role::Standalone;
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with(
    file: Option<&Path>,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> Result<Configuration, ConfigError> {
    let command = RoleFlags::<All>::augment_args(Command::new("test").no_binary_name(true));
    let flags = RoleFlags::<All>::from_arg_matches(&command.get_matches_from(flags)).unwrap();
    let variables = variables
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_string()));
    load(Role::Standalone, file, variables, &flags.flags)
}

fn from_file(text: &str) -> Result<Configuration, ConfigError> {
    with(Some(file(text).path()), &[], &[])
}

/// Clients, scrapers and other processes rely on these where nobody says otherwise.
#[test]
fn the_defaults_are_those_that_everybody_expects() {
    let found = with(None, &[], &[]).unwrap();
    assert_eq!(found, Configuration::default());
    let listen = &found.listen;
    let ports = [
        listen.http_port,
        listen.flight_port,
        listen.metrics_port,
        listen.cluster_port,
    ];
    assert_eq!(ports, [8090, 50051, 9090, 50052]);
    assert_eq!(found.executor.schedulers, ["127.0.0.1:50052"]);
    assert_eq!(found.scheduler.small_plan_bytes.to_string(), "32MiB");
    let second = Duration::from_secs(1);
    assert_eq!(found.scheduler.no_executor_grace.0, 30 * second);
    assert_eq!(found.scheduler.takeover_after.0, 3 * second);
    assert_eq!(found.scheduler.linger.0, second / 20);
    assert_eq!(found.scheduler.max_attempts, 4);
}

#[test]
fn each_layer_overrides_the_one_before() {
    let file = file(
        "[scheduler]\nsmall_plan_bytes = \"1MiB\"\nheartbeat = \"700ms\"\ninline_limit = \"2MiB\"\n",
    );
    let variables = [
        ("PACELINE_SCHEDULER_HEARTBEAT", "800ms"),
        ("PACELINE_SCHEDULER_INLINE_LIMIT", "3MiB"),
        ("PACELINE_SCHEDULER_PORT", "tcp://10.0.0.1:50051"),
        ("HOME", "/"),
    ];
    let flags = [
        "--scheduler-inline-limit",
        "4MiB",
        "--executor-schedulers",
        "a:1, b:2",
    ];
    let found = with(Some(file.path()), &variables, &flags).unwrap();
    assert_eq!(found.scheduler.small_plan_bytes.to_string(), "1MiB");
    assert_eq!(found.scheduler.heartbeat.0, Duration::from_millis(800));
    assert_eq!(found.scheduler.inline_limit.to_string(), "4MiB");
    assert_eq!(found.scheduler.max_attempts, 4);
    assert_eq!(found.executor.schedulers, ["a:1", "b:2"]);
}

#[test]
fn unknown_keys_are_refused_with_the_file_and_the_nearest_key() {
    let written = file("[scheduler]\nsmall_plan_byte = \"1MiB\"\n");
    let error = with(Some(written.path()), &[], &[])
        .unwrap_err()
        .to_string();
    for part in [
        "scheduler.small_plan_byte",
        "did you mean 'small_plan_bytes'?",
        &written.path().display().to_string(),
    ] {
        assert!(error.contains(part), "{error}");
    }
    for (text, part) in [
        ("[schedular]\n", "did you mean 'scheduler'?"),
        ("[xyzzy]\n", "known ones are listen, state"),
        ("scheduler = 3\n", "scheduler"),
        (
            "[[tables]]\nname = \"t\"\nform = \"csv\"\nlocation = \"/\"\n",
            "tables[0].form",
        ),
        ("[listen\n", "line 1"),
    ] {
        let error = from_file(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    for (text, part) in [
        ("[listen]\nhttp_port = 70000\n", "listen.http_port"),
        ("[listen]\nhost = \"here\"\n", "an IP address"),
        ("[scheduler]\nheartbeat = \"soon\"\n", "a duration"),
        // Twice as long is more than a duration can be.
        (
            "[scheduler]\nbeat = \"10000000000000000000s\"\n",
            "a century at most",
        ),
        ("[scheduler]\nresult_ttl = \"101y\"\n", "a century at most"),
        ("[executor]\nslots = \"many\"\n", "or 'auto'"),
        ("[executor]\nmemory_limit = \"1 parsec\"\n", "a size"),
        ("[executor]\ncompression = \"rar\"\n", "none, lz4 or zstd"),
        ("[executor]\nschedulers = [1]\n", "a list"),
        ("[log]\njson = \"yes\"\n", "true or false"),
        (
            "[[tables]]\nname = \"t\"\nformat = \"xls\"\nlocation = \"/t\"\n",
            "format 'xls'",
        ),
        ("[[tables]]\nname = \"t\"\n", "name, format and location"),
    ] {
        let error = from_file(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let error = with(None, &[("PACELINE_LISTEN_HTTP_PORT", "x")], &[]).unwrap_err();
    assert!(
        error.to_string().contains("PACELINE_LISTEN_HTTP_PORT"),
        "{error}"
    );
    let error = with(None, &[], &["--listen-http-port", "x"]).unwrap_err();
    assert!(error.to_string().contains("--listen-http-port"), "{error}");
    let error = with(Some(Path::new("/nowhere/p.toml")), &[], &[]).unwrap_err();
    assert!(error.to_string().contains("/nowhere/p.toml"), "{error}");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for (flags, part) in [
        (vec!["--listen-http-port", "9090"], "both 9090"),
        (
            vec!["--scheduler-executor-timeout", "900ms"],
            "executor_timeout",
        ),
        (vec!["--scheduler-takeover-after", "1s"], "takeover_after"),
        (vec!["--scheduler-beat", "0s"], "beat must be above zero"),
        (vec!["--scheduler-max-attempts", "0"], "max_attempts"),
        (vec!["--executor-drain-timeout", "2days"], "drain_timeout"),
        (vec!["--scheduler-garbage-after", "1m"], "garbage_after"),
        (vec!["--executor-slots", "0"], "slots"),
        (vec!["--executor-heartbeat", "3s"], "executor.heartbeat"),
        (
            vec![
                "--executor-memory-limit",
                "1MiB",
                "--executor-exchange-memory",
                "2MiB",
            ],
            "exchange_memory",
        ),
    ] {
        let error = with(None, &[], &flags).unwrap_err().to_string();
        assert!(error.contains(part), "{flags:?}: {error}");
    }
    let text = "[[tables]]\nname='t'\nformat='csv'\nlocation='/t'\n";
    let error = from_file(&text.repeat(2)).unwrap_err().to_string();
    assert!(error.contains("'t' twice"), "{error}");
    let any_free = ["--listen-http-port", "0", "--listen-metrics-port", "0"];
    assert!(with(None, &[], &any_free).is_ok());
    let flags = Flags::default();
    let wildcard = [("PACELINE_LISTEN_HOST".to_string(), "0.0.0.0".to_string())];
    for role in [Role::Scheduler, Role::Executor, Role::Standalone] {
        let error = load(role, None, wildcard.iter().cloned(), &flags).unwrap_err();
        assert!(error.to_string().contains("advertise_host"), "{error}");
    }
}

#[test]
fn no_secret_is_shown() {
    let text = "[state]\noptions = { secret_access_key = \"hush\", region = \"eu\" }\n\
                [[tables]]\nname='t'\nformat='csv'\nlocation='/t'\noptions={'aws.session_token'='hush'}\n";
    let found = from_file(text).unwrap();
    assert_eq!(found.state.options.0["secret_access_key"], "hush");
    let printed = toml(&found, None);
    for shown in [printed.clone(), format!("{found:?}")] {
        assert!(!shown.contains("hush") && shown.contains("***"), "{shown}");
    }
    assert!(printed.contains("region = \"eu\""), "{printed}");
    let broken = "[state]\noptions = { secret_access_key = \"hush\" \n";
    assert!(!from_file(broken).unwrap_err().to_string().contains("hush"));
    let wrong = "[state]\noptions = [\"hush\"]\n";
    assert!(!from_file(wrong).unwrap_err().to_string().contains("hush"));
}

#[test]
fn what_is_printed_is_read_back() {
    let text = "[listen]\nzone = \"a\"\n[executor]\nslots = 7\n\
                [[tables]]\nname='t'\nformat='csv'\nlocation='/t'\noptions={has_header='true'}\n";
    let found = from_file(text).unwrap();
    assert_eq!(from_file(&toml(&found, None)).unwrap(), found);
    assert_eq!(
        from_file(&toml(&Configuration::default(), None)).unwrap(),
        Configuration::default()
    );
    let executor = toml(&found, Some(Role::Executor));
    assert!(!executor.contains("[scheduler]") && executor.contains("slots = 7"));
}

#[test]
fn a_table_becomes_a_statement() {
    let text = "[[tables]]\nname='s.o\"x'\nformat='CSV'\nlocation=\"/it's\"\noptions={has_header='true'}\n";
    assert_eq!(
        from_file(text).unwrap().tables[0].create_statement(),
        "CREATE OR REPLACE EXTERNAL TABLE \"s\".\"o\"\"x\" STORED AS CSV LOCATION '/it''s' \
         OPTIONS ('has_header' 'true')"
    );
}

/// Wherever its files lie.
#[tokio::test]
async fn every_table_that_the_page_shows_can_be_made() {
    let page = markdown();
    let (_, shown) = page.split_once("```\n[[tables]]").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let tables = from_file(&format!("[[tables]]{shown}")).unwrap().tables;
    assert_eq!(tables.len(), 2);
    let directory = tempfile::tempdir().unwrap();
    let engine = datafusion::prelude::SessionContext::new();
    for mut table in tables {
        let folder = directory.path().join(&table.name);
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join(format!("part.{}", table.format));
        if table.format == "csv" {
            std::fs::write(file, "a;b\n1;2\n").unwrap();
        } else {
            let rows = format!("COPY (SELECT 1 AS a, 2 AS b) TO '{}'", file.display());
            engine.sql(&rows).await.unwrap().collect().await.unwrap();
        }
        table.location = format!("{}/", folder.display());
        engine.sql(&table.create_statement()).await.unwrap();
        let made = engine.table(table.name.as_str()).await.unwrap();
        assert_eq!(made.schema().fields().len(), 2, "{table:?}");
    }
}

#[test]
fn the_page_in_the_manual_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == markdown(),
        "run: cargo run --release -- config --markdown > docs/configuration.md"
    );
}
