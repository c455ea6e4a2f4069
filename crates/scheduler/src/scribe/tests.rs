use std::path::Path;

use paceline_proto::query_bytes;
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{Finished, Statement};
use paceline_store::Journals;
use tempfile::TempDir;
use uuid::Uuid;

use super::desk::COMPACT_AFTER;
use super::*;
use crate::testing::{journal, journals};
use crate::written;

/// A scribe that writes the journal of `me`.
struct Scene {
    scribe: Scribe,
    journals: Journals,
    me: SchedulerId,
    directory: TempDir,
}

impl Scene {
    fn begin() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journals = journals(directory.path());
        let me = SchedulerId::new("me");
        let (scribe, writing) = Scribe::new(journal(&journals, &me));
        tokio::spawn(writing);
        Scene {
            scribe,
            journals,
            me,
            directory,
        }
    }
}

fn query(n: u8) -> QueryId {
    QueryId::from_slice(&[n; 16]).unwrap()
}

/// What is claimed for a record is claimed in the name that decided on it.
#[tokio::test]
async fn a_record_goes_into_no_later_journal_than_it_was_meant_for() {
    let directory = tempfile::tempdir().unwrap();
    let journals = journals(directory.path());
    let [former, present] = ["former", "present"].map(SchedulerId::new);
    let begin = |id: &SchedulerId| journal(&journals, id);
    let (scribe, writing) = Scribe::new(begin(&former));
    tokio::spawn(writing);
    let accepted = |n: u8| {
        let query = query(n);
        (query, written::accepted(query, Default::default()))
    };
    let (first, record) = accepted(1);
    scribe.durable(&former, first, record).await.unwrap();
    let mut needed = scribe.begin(begin(&present));
    let (late, record) = accepted(2);
    assert!(scribe.durable(&former, late, record).await.is_err());
    assert!(needed.try_recv().is_err(), "nothing is written yet");
    let (second, record) = accepted(3);
    scribe.durable(&present, second, record).await.unwrap();
    assert_eq!(needed.try_recv(), Ok(()));
    for (journal, holds) in [(former, first), (present, second)] {
        let replayed = journals.replay(&journal).await.unwrap();
        let held: Vec<QueryId> = replayed.book.queries().map(|(query, _)| query).collect();
        assert_eq!(held, [holds], "{journal}");
    }
}

/// What the journal holds, as it lies there.
fn segments(directory: &Path, of: &SchedulerId) -> Vec<Vec<u8>> {
    let folder = directory.join("journal").join(of.as_str());
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .map(|file| std::fs::read(file.path()).unwrap_or_default())
        .collect()
}

fn says(segments: &[Vec<u8>], text: &str) -> bool {
    let within = |bytes: &Vec<u8>| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    segments.iter().any(within)
}

#[tokio::test]
async fn what_was_withdrawn_makes_no_journal_long() {
    let scene = Scene::begin();
    let (scribe, journals, me) = (&scene.scribe, &scene.journals, &scene.me);
    let accepted = |n: usize| {
        let query = QueryId(Uuid::from_u128(n as u128));
        (query, written::accepted(query, Statement::default()))
    };
    for n in 1..=2 * COMPACT_AFTER {
        let (query, record) = accepted(n);
        scribe.step(query, record, Duration::from_secs(3600));
        scribe.settled(query);
    }
    let (query, record) = accepted(0);
    scribe.durable(me, query, record).await.unwrap();
    assert_eq!(journals.replay(me).await.unwrap().next, 1);
}

/// A beat passes, and whether the journal is open is asked: neither writes all of it once more.
#[tokio::test]
async fn a_large_journal_is_not_written_again_for_little() {
    let scene = Scene::begin();
    let (scribe, journals, me) = (&scene.scribe, &scene.journals, &scene.me);
    for (n, size) in [(1, 2 << 20), (2, 10)] {
        let statement = Statement {
            sql: "x".repeat(size),
            ..Statement::default()
        };
        let record = written::accepted(query(n), statement);
        scribe.durable(me, query(n), record).await.unwrap();
    }
    scribe.shorten();
    scribe.flush().await.unwrap();
    scribe.flush().await.unwrap();
    let replayed = journals.replay(me).await.unwrap();
    assert_eq!((replayed.base, replayed.next), (0, 4));
}

#[tokio::test]
async fn what_ended_goes_from_a_journal_that_is_to_be_short() {
    let scene = Scene::begin();
    let (scribe, journals, me) = (&scene.scribe, &scene.journals, &scene.me);
    let accepted = |n: u8| {
        let statement = Statement {
            sql: format!("SELECT {n}"),
            ..Statement::default()
        };
        written::accepted(query(n), statement)
    };
    // A query that ended within its linger is noted and withdrawn.
    let linger = Duration::from_secs(3600);
    scribe.step(query(9), accepted(9), linger);
    scribe.settled(query(9));
    scribe.shorten();
    for n in 1..=3 {
        scribe.durable(me, query(n), accepted(n)).await.unwrap();
    }
    let replayed = journals.replay(me).await.unwrap();
    assert_eq!(replayed.next, 3, "there was nothing to make shorter");

    for n in [1, 3] {
        let finished = Kind::Finished(Finished {
            query: query_bytes(query(n)),
            ..Finished::default()
        });
        let record = Some(finished);
        scribe.over(query(n), Record { record });
    }
    let short = async {
        loop {
            scribe.shorten();
            let left = segments(scene.directory.path(), me);
            if left.len() == 1 && !says(&left, "SELECT 1") && !says(&left, "SELECT 3") {
                return left;
            }
            tokio::task::yield_now().await;
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(60), short).await;
    assert!(says(&left.unwrap(), "SELECT 2"), "it has not ended");
}
