use paceline_testkit::tpch_queries;

use crate::answers::agrees_on_something;
use crate::divided::{SLOTS, number, told, well_divided};
use crate::support::{Running, of_schedulers, tpch};

async fn start() -> Running {
    let running = Running::start_with(|plan| plan.slots = SLOTS).await;
    running.create_tpch().await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scheduler_answers_all_22_queries_as_one_process_does() {
    let running = start().await;
    let scale = tpch(0.1).scale();
    let mut wrong = Vec::new();
    let (mut tasks, mut fat) = (0, 0);
    for query in tpch_queries() {
        let sql = query.sql(scale);
        for scheduler in 0..2 {
            let mut flight = running.flight(scheduler).await;
            let started = flight.start(&sql).await.unwrap();
            let id = started.query.unwrap();
            let outcome = match flight.finish(started).await {
                Ok(answer) => agrees_on_something(&sql, &answer).await,
                Err(error) => Err(error.to_string()),
            };
            let report = running.http(scheduler).query(id).await.unwrap();
            tasks += report.stages.iter().map(|stage| stage.tasks).sum::<u32>();
            let divided = well_divided(&running, scheduler, &sql, &report).await;
            match outcome.and(divided) {
                Ok(stages) => fat += stages,
                Err(problem) => wrong.push(format!(
                    "{query} through scheduler {}: {problem}",
                    scheduler + 1
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        tasks > 22 * 2 * 3,
        "only {tasks} tasks: the work was not divided"
    );
    assert!(fat > 22 * 2 * 2, "only {fat} stages had fat tasks");
    let again = of_schedulers(&running, "paceline_task_reruns_total").await;
    assert_eq!(again, 0.0, "tasks were run again");

    // Each executor had its share, and data moved between them.
    for executor in running.cluster.executors() {
        let address = &executor.announced().metrics;
        assert!(Running::metric(address, "paceline_exchange_received_bytes_total").await > 0.0);
        assert!(Running::metric(address, "paceline_exchange_served_bytes_total").await > 0.0);
    }
    let address = &running.cluster.schedulers()[0].announced().metrics;
    assert!(Running::metric(address, "paceline_queries_total").await >= 22.0);
}

/// Rows of a batch.
const BATCH: u64 = 8192;

/// What a limit wants is in the first batches; the tasks that scan the rest of 600,000 rows do not read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_ends_the_scans_of_all_tasks() {
    let running = start().await;
    let mut flight = running.flight(0).await;
    for sql in [
        "select * from lineitem limit 10",
        "select * from lineitem where l_orderkey % 2 = 0 limit 10",
        "select l_comment, o_orderdate from lineitem join orders on l_orderkey = o_orderkey limit 10",
    ] {
        assert_eq!(flight.run(sql).await.unwrap().rows(), 10, "{sql}");
        let answer = flight.run(&format!("explain analyze {sql}")).await.unwrap();
        let stages = told(&answer, "stages with metrics");
        let mut partitions = Vec::new();
        let mut scans = 0;
        for line in stages.lines() {
            if line.starts_with("stage ") {
                partitions.push(number(line, ": partitions=").unwrap());
                continue;
            }
            // What ends a stage is no operator.
            let is_end = line.trim_start().starts_with("ExchangeWriteExec");
            let rows = number(line, "output_rows=");
            assert!(is_end || rows.is_some(), "no metrics: {line}\n{stages}");
            if line.contains("DataSourceExec") && line.contains("/lineitem/") {
                let most = partitions.last().unwrap() * (10 + BATCH);
                let rows = rows.unwrap();
                assert!(0 < rows && rows <= most, "more than {most} rows:\n{stages}");
                scans += 1;
            }
        }
        assert!(partitions.len() > 1 && scans == 1, "{stages}");
    }
}
