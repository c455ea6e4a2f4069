//! The data set and the queries, as one DataFusion process sees them.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Dataset, GenerateError, Reference, Scale, Table, compare, tpch_queries};

#[tokio::test]
async fn all_queries_run_on_generated_tables_and_the_data_is_reused() {
    let parent = tempfile::tempdir().unwrap();
    let scale = Scale::new(0.01).unwrap();
    assert!(Dataset::find(parent.path(), scale).is_none());

    let rows = AtomicU64::new(0);
    let count = |written| {
        rows.fetch_add(written, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    let dataset = Dataset::find_or_generate(parent.path(), scale, 2, &count).unwrap();
    let expected: u64 = Table::ALL.iter().map(|table| table.rows(scale)).sum();
    let written = rows.swap(0, Ordering::Relaxed);
    // The lines of an order vary in number.
    assert!(
        written.abs_diff(expected) < expected / 100,
        "{written} rows"
    );

    let again = Dataset::find_or_generate(parent.path(), scale, 2, &count).unwrap();
    assert_eq!(again.directory(), dataset.directory());
    assert_eq!(rows.load(Ordering::Relaxed), 0, "it was generated again");
    let left: Vec<_> = std::fs::read_dir(parent.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let one = Reference::with_tables(&dataset, 1).await.unwrap();
    let four = Reference::with_tables(&dataset, 4).await.unwrap();
    for query in tpch_queries() {
        let sql = query.sql(scale);
        let (a, b) = (one.run(&sql).await.unwrap(), four.run(&sql).await.unwrap());
        let rows: usize = a.batches.iter().map(|batch| batch.num_rows()).sum();
        // At this scale a few queries select nothing; what they compute has a row all the same.
        assert!(
            rows > 0 || [2, 18, 20, 21].contains(&query.number()),
            "{query} is empty"
        );
        // What is written beside the query must be what the query says.
        assert_eq!(a.order, query.order(), "{query}");
        compare(
            (&a.schema, &a.batches),
            (&b.schema, &b.batches),
            &query.order(),
        )
        .unwrap_or_else(|difference| panic!("{query}: {difference}"));
    }
}

#[test]
fn what_somebody_else_wrote_meanwhile_is_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let scale = Scale::new(0.001).unwrap();
    let other = std::sync::Once::new();
    let written_by_another = |_| {
        other.call_once(|| {
            let go_on = |_| ControlFlow::Continue(());
            let theirs = Dataset::find_or_generate(parent.path(), scale, 1, &go_on).unwrap();
            std::fs::write(theirs.directory().join("theirs"), "").unwrap();
        });
        ControlFlow::Continue(())
    };
    let found = Dataset::find_or_generate(parent.path(), scale, 1, &written_by_another).unwrap();
    assert!(other.is_completed());
    assert!(found.directory().join("theirs").exists());
}

#[test]
fn a_half_written_directory_is_not_used() {
    let parent = tempfile::tempdir().unwrap();
    let scale = Scale::new(0.001).unwrap();
    let broken = parent.path().join("tpch-sf0.001");
    std::fs::create_dir_all(broken.join("lineitem")).unwrap();
    assert!(Dataset::find(parent.path(), scale).is_none());
    let stop = Dataset::find_or_generate(parent.path(), scale, 1, &|_| ControlFlow::Break(()));
    assert!(matches!(stop, Err(GenerateError::Interrupted)));
    let left: Vec<_> = std::fs::read_dir(parent.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let go_on = |_| ControlFlow::Continue(());
    let dataset = Dataset::find_or_generate(parent.path(), scale, 1, &go_on).unwrap();
    assert_eq!(dataset.directory(), broken);
    assert!(
        dataset
            .location(Table::Region)
            .join("part-0000.parquet")
            .is_file()
    );
}
