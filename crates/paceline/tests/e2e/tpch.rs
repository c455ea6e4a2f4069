use paceline_testkit::tpch_queries;

use crate::answers::agrees;
use crate::support::{Running, tpch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scheduler_answers_all_22_queries_as_one_process_does() {
    let running = Running::with_tpch().await;
    let scale = tpch(0.1).scale();
    let mut wrong = Vec::new();
    let mut tasks = 0;
    for query in tpch_queries() {
        let sql = query.sql(scale);
        for scheduler in 0..2 {
            let mut flight = running.flight(scheduler).await;
            let started = flight.start(&sql).await.unwrap();
            let id = started.query.unwrap();
            let outcome = match flight.finish(started).await {
                Ok(answer) => agrees(&sql, &answer).await,
                Err(error) => Err(error.to_string()),
            };
            if let Err(problem) = outcome {
                wrong.push(format!(
                    "{query} through scheduler {}: {problem}",
                    scheduler + 1
                ));
            }
            let report = running.http(scheduler).query(id).await.unwrap();
            tasks += report.stages.iter().map(|stage| stage.tasks).sum::<u32>();
            assert!(report.stages.len() > 1, "{query} was not cut");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        tasks > 22 * 2 * 3,
        "only {tasks} tasks: the work was not divided"
    );

    // Each executor had its share, and data moved between them.
    for executor in running.cluster.executors() {
        let address = &executor.announced().metrics;
        assert!(Running::metric(address, "paceline_exchange_received_bytes_total").await > 0.0);
        assert!(Running::metric(address, "paceline_exchange_served_bytes_total").await > 0.0);
    }
    let address = &running.cluster.schedulers()[0].announced().metrics;
    assert!(Running::metric(address, "paceline_queries_total").await >= 22.0);
}
