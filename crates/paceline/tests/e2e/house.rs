//! What the project is made of, read from its own files: what comes in from outside, which crate knows
//! which, whether the commands of the README are run, and whether the tests are there that its pages name.
//!
//! `cargo deny check` says more of the first; it takes minutes to build, and this is always there.

mod licences;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Which crate knows which, as ARCHITECTURE.md draws it. Tests and benches may know more.
const ARROWS: [(&str, &[&str]); 13] = [
    ("core", &["model", "sabotage"]),
    ("exchange", &["model", "proto", "sabotage"]),
    (
        "executor",
        &["exchange", "model", "plan", "proto", "sabotage"],
    ),
    ("frontend", &["model", "telemetry"]),
    ("model", &[]),
    (
        "paceline",
        &[
            "core",
            "exchange",
            "executor",
            "frontend",
            "model",
            "plan",
            "proto",
            "scheduler",
            "store",
            "telemetry",
            "testkit",
        ],
    ),
    ("plan", &["model"]),
    ("proto", &["model"]),
    ("sabotage", &[]),
    (
        "scheduler",
        &[
            "core",
            "exchange",
            "frontend",
            "model",
            "plan",
            "proto",
            "store",
            "telemetry",
        ],
    ),
    ("store", &["core", "model", "proto", "sabotage"]),
    ("telemetry", &[]),
    ("testkit", &[]),
];

/// What the engine, the wire and the ports are made of, and the line of each that this is written for.
/// Another line is a decision, and none that an update of the lock file takes.
const LINES: [(&str, &str); 10] = [
    ("arrow", "59"),
    ("arrow-flight", "59"),
    ("axum", "0.8"),
    ("datafusion", "55.2"),
    ("datafusion-proto", "55.2"),
    ("object_store", "0.13"),
    ("parquet", "59"),
    ("prometheus", "0.14"),
    ("prost", "0.14"),
    ("tonic", "0.14"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn table(path: impl AsRef<Path>) -> toml::Table {
    read(path).parse().unwrap()
}

/// A package that a lock file has.
struct Locked {
    name: String,
    version: String,
    /// None of the workspace's own.
    source: Option<String>,
}

fn locked(path: &str) -> Vec<Locked> {
    let lock = table(path);
    let packages = lock["package"].as_array().unwrap().iter();
    let text = |package: &toml::Value, field: &str| Some(package.get(field)?.as_str()?.to_string());
    packages
        .map(|package| Locked {
            name: text(package, "name").unwrap(),
            version: text(package, "version").unwrap(),
            source: text(package, "source"),
        })
        .collect()
}

/// How many versions of each package there are.
fn versions() -> BTreeMap<String, usize> {
    let mut versions = BTreeMap::new();
    for package in locked("Cargo.lock") {
        *versions.entry(package.name).or_default() += 1;
    }
    versions
}

#[test]
fn what_is_banned_stays_out_and_what_types_meet_in_is_there_once() {
    let (deny, versions) = (table("deny.toml"), versions());
    for ban in deny["bans"]["deny"].as_array().unwrap() {
        let name = ban["crate"].as_str().unwrap();
        let once = ban.get("deny-multiple-versions").is_some();
        let found = versions.get(name).copied().unwrap_or(0);
        assert_eq!(found, usize::from(once), "versions of {name}");
    }
    let engine = |name: &&String| name.starts_with("arrow") || name.starts_with("datafusion");
    let engine: Vec<_> = versions.keys().filter(engine).collect();
    assert!(engine.len() > 30, "{engine:?}");
    for name in engine {
        assert_eq!(versions[name], 1, "versions of {name}");
    }
}

#[test]
fn what_everything_is_made_of_is_there_once_and_of_the_line_it_is_written_for() {
    let all = locked("Cargo.lock");
    for (name, line) in LINES {
        let of_name = all.iter().filter(|package| package.name == name);
        let found: Vec<_> = of_name.map(|package| package.version.as_str()).collect();
        let [version] = found[..] else {
            panic!("versions of {name}: {found:?}");
        };
        let rest = version.strip_prefix(line);
        let fits = rest.is_some_and(|rest| rest.starts_with('.'));
        assert!(fits, "{name} {version} is none of {line}");
    }
}

#[test]
fn everything_comes_from_the_one_registry_and_in_some_version() {
    for lock in ["Cargo.lock", "checks/ownership/Cargo.lock"] {
        for package in locked(lock) {
            let (name, source) = (package.name, package.source.as_deref());
            let ours = name.starts_with("paceline") && source.is_none();
            assert!(ours || source == Some(CRATES_IO), "{name}: {source:?}");
        }
    }
    let workspace = table("Cargo.toml");
    for (name, wanted) in workspace["workspace"]["dependencies"].as_table().unwrap() {
        let version = wanted.as_str().or_else(|| wanted.get("version")?.as_str());
        assert!(version.is_some() || wanted.get("path").is_some(), "{name}");
        assert!(!version.unwrap_or_default().contains('*'), "{name}");
    }
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let packages = locked("Cargo.lock");
    let manifest = |package: &Locked| {
        let folder = format!("{}-{}", package.name, package.version);
        let mut folders = registries().into_iter().map(|all| all.join(&folder));
        folders.find_map(|folder| fs::read_to_string(folder.join("Cargo.toml")).ok())
    };
    // Where sources are vendored, they are elsewhere.
    let toml = packages.iter().find(|package| package.name == "toml");
    if manifest(toml.unwrap()).is_none() {
        return;
    }
    let allowed = licences::Allowed::by(&table("deny.toml"));
    let mut seen = 0;
    for package in &packages {
        // What only other platforms need is not there.
        let Some(manifest) = manifest(package) else {
            continue;
        };
        let manifest: toml::Table = manifest.parse().unwrap();
        let licence = manifest["package"].get("license").and_then(|l| l.as_str());
        let licence = licence.unwrap_or_default();
        assert!(allowed.allows(licence), "{}: '{licence}'", package.name);
        seen += 1;
    }
    assert!(seen > 200, "only {seen} of {}", packages.len());
}

/// Where cargo keeps what it has downloaded.
fn registries() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let folders = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let folders = folders.into_iter().flatten().flatten();
    folders.map(|folder| folder.path()).collect()
}

#[test]
fn arrows_between_crates_are_those_of_the_picture() {
    let folders = fs::read_dir(root().join("crates")).unwrap().flatten();
    let mut names: Vec<_> = folders
        .map(|folder| folder.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(
        names.iter().eq(ARROWS.iter().map(|(name, _)| name)),
        "{names:?}"
    );
    for (name, known) in ARROWS {
        let manifest = table(format!("crates/{name}/Cargo.toml"));
        let empty = toml::Table::new();
        let all = manifest.get("dependencies").and_then(|all| all.as_table());
        let all = all.unwrap_or(&empty);
        let mut ours: Vec<_> = all
            .keys()
            .filter_map(|name| name.strip_prefix("paceline-"))
            .collect();
        ours.sort_unstable();
        assert_eq!(ours, known, "what {name} knows");
        if let Some(broken) = all.get("paceline-sabotage") {
            let optional = broken.get("optional").and_then(|it| it.as_bool());
            assert_eq!(
                optional,
                Some(true),
                "{name}: only checks/sabotage wants it"
            );
        }
    }
    let core = table("crates/core/Cargo.toml");
    let core = core["dependencies"].as_table().unwrap();
    let outside = core.keys().filter(|name| !name.starts_with("paceline-"));
    assert!(
        outside.eq(["thiserror"]),
        "core has no I/O, clock or randomness"
    );
}

/// What a newcomer is told to type is what is run before a change lands, with the Rust that is asked for.
#[test]
fn the_commands_of_the_readme_are_run_before_a_change_lands() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    for command in [
        "cargo run --release -- demo",
        "cargo test --release --workspace",
    ] {
        assert!(readme.lines().any(|line| line == command), "{command}");
        assert!(ci.lines().any(|line| line.ends_with(command)), "{command}");
    }
    let workspace = table("Cargo.toml");
    let oldest = &workspace["workspace"]["package"]["rust-version"];
    let oldest = format!("Rust {}", oldest.as_str().unwrap());
    for page in [readme, read("docs/quick-start.md")] {
        assert!(page.contains(&format!("{oldest} and a C compiler")));
    }
}

/// Every file of Rust below a folder, with its text.
fn gather(folder: &Path, sources: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            sources.push((path, text));
        }
    }
}

/// Whether a test is where its name says: `module::name`, where a file or a folder is called like the module,
/// or the name alone.
fn is_there(sources: &[(PathBuf, String)], named: &str) -> bool {
    let mut modules: Vec<&str> = named.split("::").collect();
    let function = format!("fn {}(", modules.pop().unwrap());
    let fits = |path: &Path| {
        let parts = path.iter().filter_map(|part| part.to_str());
        let parts: Vec<_> = parts.map(|part| part.trim_end_matches(".rs")).collect();
        let mut modules = modules.iter();
        modules.all(|module| *module == "tests" || parts.contains(module))
    };
    let mut sources = sources.iter();
    sources.any(|(path, text)| text.contains(&function) && fits(path))
}

/// Whether a page quotes it as the name of a test. What it quotes else has fewer words.
fn names_a_test(quoted: &str) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
    let metric = quoted.starts_with("paceline_");
    quoted.contains("::")
        || (!metric && quoted.chars().all(is_name) && quoted.matches('_').count() > 2)
}

#[test]
fn the_page_on_faults_names_tests_that_are_there() {
    let mut sources = Vec::new();
    for folder in ["crates", "checks/ownership/tests"] {
        gather(&root().join(folder), &mut sources);
    }
    let page = read("docs/faults.md");
    let quoted = page.split('`').skip(1).step_by(2);
    let mut seen = 0;
    for named in quoted.filter(|quoted| names_a_test(quoted)) {
        assert!(is_there(&sources, named), "docs/faults.md names {named}");
        seen += 1;
    }
    assert!(seen > 100, "only {seen} tests");
    assert!(!is_there(
        &sources,
        "nowhere::the_page_on_faults_names_tests_that_are_there"
    ));
}
