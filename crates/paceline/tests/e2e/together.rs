//! A statement of every kind that writes, under way at one scheduler at the same time: what strikes it
//! strikes all of them.

use std::path::PathBuf;

use paceline_model::{QueryId, StageProgress};
use paceline_testkit::Reference;
use tempfile::TempDir;

use crate::answers::check;
use crate::held::Held;
use crate::stored::{entries_of, hold_commit, hold_outcome, objects_below, stored_and_named};
use crate::support::{Running, until};
use crate::writes::{READ, Write, count, finished, insert, started, took_effect_once};

/// The rows of a table that is made and of files that are copied: few, from a join.
const MADE: &str = "select l.l_orderkey as k, o.o_custkey as c, l.l_extendedprice as p, \
     l.l_shipdate as d, l.l_comment as t from lineitem l join orders o on l.l_orderkey = o.o_orderkey \
     where l.l_orderkey % 30 = 0";

/// `INSERT INTO written`, `CREATE TABLE made AS` and `COPY`, sent to the first scheduler.
pub(crate) struct Together {
    insert: Write,
    made: Write,
    copied: Write,
    /// Where it is copied to.
    out: TempDir,
}

impl Together {
    /// Starts them. The first two have no commit before the first hold lets go; the third one, which
    /// has none, no outcome before the second one does.
    pub(crate) async fn start(running: &Running) -> (Together, Held, Held) {
        let out = tempfile::tempdir().unwrap();
        let commit = hold_commit(running);
        let insert = started(running, 0, &insert()).await;
        let made = started(running, 0, &format!("create table made as {MADE}")).await;
        let location = out.path().display();
        let copy = format!("copy ({MADE}) to '{location}/' stored as parquet");
        let copied = started(running, 0, &copy).await;
        // Its tasks have others before them, and a join to make.
        let outcome = hold_outcome(running, copied.1);
        let together = Together {
            insert,
            made,
            copied,
            out,
        };
        (together, commit, outcome)
    }

    /// Waits until each of them has written a file.
    pub(crate) async fn have_files(&self, running: &Running) {
        until("each has written a file", || async {
            let (stored, _) = stored_and_named(running);
            let wrote = |query: QueryId| {
                let query = query.to_string();
                stored
                    .iter()
                    .any(|path| path.display().to_string().contains(&query))
            };
            let all = wrote(self.insert.1) && wrote(self.made.1) && !self.copies().is_empty();
            all.then_some(())
        })
        .await;
    }

    /// Waits until nothing of the `INSERT` is left to do but its commit.
    pub(crate) async fn an_insert_waits_for_its_commit(&self, running: &Running) {
        is_written(running, 0, self.insert.1).await;
    }

    pub(crate) fn any_is_committed(&self, running: &Running) -> bool {
        let all = [&self.insert, &self.made, &self.copied].into_iter();
        all.map(|(_, query)| entries_of(running, *query))
            .any(|entries| !entries.is_empty())
    }

    /// Waits until all of them are done with all but their outcomes, which the returned holds and that
    /// of the copy put off.
    pub(crate) async fn come_to_their_outcomes(
        &self,
        running: &Running,
        commit: Held,
    ) -> [Held; 2] {
        for (_, query) in [&self.insert, &self.made, &self.copied] {
            is_written(running, 0, *query).await;
        }
        let committed = [self.insert.1, self.made.1];
        let outcomes = committed.map(|query| hold_outcome(running, query));
        commit.let_go();
        until("they are committed", || async {
            let mut all = committed.iter();
            all.all(|query| !entries_of(running, *query).is_empty())
                .then_some(())
        })
        .await;
        outcomes
    }

    /// They end, by the word of a scheduler, and their owner was that of the epoch.
    pub(crate) async fn end_at(&self, running: &Running, scheduler: usize, epoch: u64) {
        let http = running.http(scheduler);
        for (started, query) in [&self.insert, &self.made, &self.copied] {
            assert!(count(&finished(running, scheduler, started).await) > 0);
            let report = http.query(*query).await.unwrap();
            assert_eq!(report.epoch.0, epoch, "{report:?}");
        }
    }

    /// All rows are there once in the eyes of each scheduler, and nothing else is. Looks once.
    pub(crate) async fn took_effect_once(&self, running: &Running, reference: &Reference) {
        took_effect_once(running, reference, self.insert.1).await;
        let entries = entries_of(running, self.made.1);
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!(entries[0]["kind"], "create_table");
        // A file is named after the query and the partition, so a repeat leaves no second one.
        let query = self.copied.1.to_string();
        for file in self.copies() {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with(&query), "{file:?} is not of {query}");
        }
        let location = self.out.path().display();
        let external =
            format!("create external table copied stored as parquet location '{location}/'");
        running.flight(0).await.run(&external).await.unwrap();
        for table in ["made", "copied"] {
            let create = format!("create table {table} as {MADE}");
            reference.run(&create).await.unwrap();
            let read = READ.replace("written", table);
            for scheduler in 0..2 {
                let answer = running.flight(scheduler).await.run(&read).await.unwrap();
                check(reference, &read, &answer).await.unwrap();
            }
        }
    }

    fn copies(&self) -> Vec<PathBuf> {
        objects_below(self.out.path())
    }
}

/// Waits until the tasks of a write are done that write its files, by the word of a scheduler.
pub(crate) async fn is_written(running: &Running, scheduler: usize, query: QueryId) {
    let http = running.http(scheduler);
    until("its tasks are done", || async {
        let report = http.query(query).await.unwrap();
        assert!(!report.state.is_final(), "nothing held it up: {report:?}");
        let done = |stage: &StageProgress| stage.tasks > 0 && stage.done == stage.tasks;
        report.stages.last().is_some_and(done).then_some(())
    })
    .await;
}
