//! What the pages tell people to type can be typed.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{Cli, by_name};

/// How pages start this program before it is installed.
const BY_CARGO: &str = "cargo run --release -- ";

/// What stands for the id of a query.
const ID: &str = "019f1d3e-6a00-7c1b-8e15-5d0f1a2b3c4d";

#[test]
fn every_command_in_the_pages_is_understood() {
    let mut seen = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for command in commands(&text) {
            let words = words(&command).into_iter().map(Into::into).collect();
            if let Err(error) = Cli::try_parse_from(by_name(words)) {
                panic!("{}: {command}\n{error}", page.display());
            }
            seen.push(command);
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
    // Each way of writing one down was recognised.
    for known in [
        "paceline demo --chaos",
        "paceline standalone",
        "paceline results ID",
        "paceline-scheduler --state-location",
        "paceline-executor --executor-schedulers",
    ] {
        let found = seen.iter().any(|command| command.starts_with(known));
        assert!(found, "{known}: {seen:?}");
    }
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let entries = fs::read_dir(root.join("docs")).unwrap();
    let mut pages: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|page| root.join(page)));
    pages
}

/// The commands that a page shows, in blocks and between words.
fn commands(page: &str) -> Vec<String> {
    let page = page.replace("\\\n", " ");
    let mut found = Vec::new();
    for (index, part) in page.split("```").enumerate() {
        if index % 2 == 1 {
            found.extend(part.lines().filter_map(command));
            continue;
        }
        for paragraph in part.split("\n\n") {
            let paragraph = paragraph.replace('\n', " ");
            found.extend(paragraph.split('`').skip(1).step_by(2).filter_map(command));
        }
    }
    found
}

/// A line without its prompt and by the program's own name, if it starts the program.
fn command(line: &str) -> Option<String> {
    let line = line.trim();
    let line = line.strip_prefix("$ ").unwrap_or(line);
    if let Some(arguments) = line.strip_prefix(BY_CARGO) {
        return Some(format!("paceline {arguments}"));
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let starts = match words.as_slice() {
        ["paceline-scheduler" | "paceline-executor", ..] => true,
        ["paceline", more @ ..] => !more.is_empty(),
        _ => false,
    };
    starts.then(|| words.join(" "))
}

/// Its words as a shell divides them, up to where the output goes.
fn words(command: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in command.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, ' ') => words.extend(word.take()),
            (None, '>' | '|') => break,
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    for id in words.iter_mut().filter(|word| word.as_str() == "ID") {
        *id = ID.to_string();
    }
    words
}
