//! Queries over real plans: answers are right, errors are told apart, nothing is left.

use crate::common::{Cluster, Launching, decode, launch_root, lines, new_query, run_graph, until};
use paceline_model::PartitionRange;
use paceline_proto::cluster;
use paceline_proto::cluster::task_state::State;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_query_comes_back_inline_and_leaves_nothing() {
    let mut cluster = Cluster::start(1).await;
    let sql = "SELECT s, count(*), sum(v) FROM t GROUP BY s ORDER BY s";
    let graph = cluster.tables.plan(sql, &[2]).await;
    assert_eq!(graph.len(), 1);
    let query = new_query();
    let (answer, _) = run_graph(&graph, query, 0, &mut cluster.attached).await;
    assert_eq!(lines(&answer), cluster.tables.expected(sql).await);

    let attached = &mut cluster.attached[0];
    let load = attached
        .load("free slots", |load| load.slots_used == 0)
        .await;
    assert_eq!(load.exchange_memory_bytes, 0, "nothing was stored");
    attached.end(0, query).await;
    let executor = &cluster.executors[0];
    until("the query is forgotten", || {
        executor.executor.status().queries == 0
    })
    .await;
    assert_eq!(
        executor.metric("paceline_executor_tasks_total", Some("finished")),
        1.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stages_on_two_executors_give_the_answer_of_one_process() {
    let mut cluster = Cluster::start(2).await;
    for sql in [
        "SELECT k % 10 AS g, count(*), sum(v), min(s) FROM t GROUP BY k % 10",
        "SELECT a.s, count(*) FROM t a JOIN t b ON a.k = b.v GROUP BY a.s ORDER BY a.s LIMIT 20",
        "SELECT * FROM t WHERE v = 3 ORDER BY k DESC LIMIT 5",
        "SELECT count(*) FROM t WHERE k < 0",
    ] {
        let graph = cluster.tables.plan(sql, &[2, 2]).await;
        assert!(
            graph.len() > 1 || !sql.contains("GROUP"),
            "{sql} was not cut"
        );
        let query = new_query();
        let (answer, _) = run_graph(&graph, query, 0, &mut cluster.attached).await;
        assert_eq!(lines(&answer), cluster.tables.expected(sql).await, "{sql}");
        for attached in &cluster.attached {
            attached.end(0, query).await;
        }
    }
    for executor in &cluster.executors {
        until("everything is freed", || {
            let memory = executor.metric("paceline_exchange_memory_bytes", None);
            executor.executor.status().queries == 0 && memory == 0.0
        })
        .await;
    }
    let remote: f64 = cluster
        .executors
        .iter()
        .map(|e| {
            e.metric(
                "paceline_executor_exchange_read_bytes_total",
                Some("remote"),
            )
        })
        .sum();
    assert!(remote > 0.0, "rows went from one executor to the other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_above_the_limit_stays_in_the_store() {
    let mut cluster = Cluster::start(1).await;
    let graph = cluster.tables.plan("SELECT * FROM t", &[2]).await;
    let stage = graph.root();
    let query = new_query();
    let all = PartitionRange::new(0, stage.partitions);
    let launch = Launching::new(query, 0, stage).inline(10_000);
    let attached = &mut cluster.attached[0];
    let id = launch.send(attached, 0, 0, all, 1).await;
    let State::Finished(finished) = attached.ended(id).await else {
        panic!("it failed");
    };
    assert!(finished.inline_result.is_none());
    let output = finished.output.unwrap();
    assert_eq!(output.rows, 40_000);
    assert_eq!(output.partition_bytes.len(), stage.partitions as usize);
    assert!(!finished.operators.is_empty());
    let load = attached.load("a held output", |load| load.exchange_memory_bytes > 0);
    load.await;
    attached.release(0, id).await;
    let load = attached.load("a released output", |load| load.exchange_memory_bytes == 0);
    load.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_statement_is_the_users_and_a_corrupt_file_is_named() {
    let mut cluster = Cluster::start(1).await;
    let query = new_query();
    let failed = |state| match state {
        State::Failed(failed) => failed,
        other => panic!("{other:?}"),
    };
    let divide = "SELECT max(100 / (v - 3)) FROM t";
    let graph = cluster.tables.plan(divide, &[2]).await;
    let attached = &mut cluster.attached[0];
    let id = launch_root(attached, &graph, query, (0, 0)).await;
    let error = failed(attached.ended(id).await);
    assert_eq!(error.class, "user", "{error:?}");
    assert!(
        error.message.to_lowercase().contains("divide by zero"),
        "{error:?}"
    );

    let graph = cluster
        .tables
        .plan("SELECT min(s), max(v) FROM t WHERE v > 1", &[2])
        .await;
    let victim = &cluster.tables.files()[2];
    let mut bytes = std::fs::read(victim).unwrap();
    let footer = bytes.len() - 200;
    bytes[4..footer].fill(0xa5);
    std::fs::write(victim, bytes).unwrap();
    let query = new_query();
    let attached = &mut cluster.attached[0];
    let id = launch_root(attached, &graph, query, (0, 0)).await;
    let error = failed(attached.ended(id).await);
    assert_eq!(error.class, "user", "{error:?}");
    assert!(error.message.contains("2.parquet"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_input_is_named() {
    let mut cluster = Cluster::start(2).await;
    let sql = "SELECT k % 10, count(*) FROM t GROUP BY k % 10";
    let graph = cluster.tables.plan(sql, &[2, 2]).await;
    let query = new_query();
    let (_, outputs) = run_graph(&graph, query, 0, &mut cluster.attached).await;

    // The last stage once more, after one of its inputs was dropped.
    let root = graph.root();
    let producer = root.inputs[0].stage;
    let lost = &outputs[&producer][1];
    let lost_id = paceline_model::OutputId {
        query,
        stage: producer,
        task: lost.task,
        attempt: lost.attempt,
    };
    cluster.attached[1].release(0, lost_id).await;
    until("the output is gone", || {
        cluster.executors[1].metric("paceline_exchange_outputs", None) == 0.0
    })
    .await;
    let all = PartitionRange::new(0, root.partitions);
    let launch = Launching::new(query, 0, root).inputs(&outputs).inline(1000);
    let id = launch.send(&cluster.attached[0], 0, 1, all, 1).await;
    let State::Failed(error) = cluster.attached[0].ended(id).await else {
        panic!("it read what is not there");
    };
    assert_eq!(error.class, "output_lost", "{error:?}");
    let expected = cluster::LostOutput {
        stage: producer.0,
        task: lost.task.0,
        attempt: lost.attempt.0,
        executor: lost.executor.to_string(),
        unreachable: false,
    };
    assert_eq!(error.lost, [expected]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_out_of_memory_says_so_and_leaves_the_executor_well() {
    let mut cluster = Cluster::start_with(1, |options| {
        options.memory_limit = paceline_model::ByteSize::mib(1);
    })
    .await;
    let greedy = "SELECT count(*) FROM t a JOIN t b ON a.k = b.k AND a.s || a.v <> b.s || b.k";
    let graph = cluster.tables.plan(greedy, &[2]).await;
    let query = new_query();
    let attached = &mut cluster.attached[0];
    let id = launch_root(attached, &graph, query, (0, 0)).await;
    let State::Failed(error) = attached.ended(id).await else {
        panic!("it fitted");
    };
    assert_eq!(error.class, "resource", "{error:?}");
    let load = attached.load("memory is free", |load| {
        load.memory_used_bytes == 0 && load.slots_used == 0
    });
    load.await;

    let sql = "SELECT count(*) FROM t";
    let graph = cluster.tables.plan(sql, &[2]).await;
    let attached = &mut cluster.attached[0];
    let id = launch_root(attached, &graph, new_query(), (0, 0)).await;
    let State::Finished(finished) = attached.ended(id).await else {
        panic!("it did not recover");
    };
    let answer = decode(&finished.inline_result.unwrap());
    assert_eq!(lines(&answer), cluster.tables.expected(sql).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sort_that_does_not_fit_spills_and_leaves_no_file() {
    let mut cluster = Cluster::start_with(1, |options| {
        options.memory_limit = paceline_model::ByteSize::mib(48);
    })
    .await;
    let sql = "SELECT sum(k * n) FROM (SELECT k, row_number() OVER \
               (ORDER BY repeat(s, 2), k, d) AS n \
               FROM t CROSS JOIN generate_series(1, 30) AS more (d))";
    let graph = cluster.tables.plan(sql, &[1]).await;
    let attached = &mut cluster.attached[0];
    let id = launch_root(attached, &graph, new_query(), (0, 0)).await;
    let finished = match attached.ended(id).await {
        State::Finished(finished) => finished,
        other => panic!("{other:?}"),
    };
    assert!(finished.spilled_bytes > 0, "it fitted: {finished:?}");
    let answer = decode(&finished.inline_result.unwrap());
    assert_eq!(lines(&answer), cluster.tables.expected(sql).await);
    assert_eq!(cluster.executors[0].files(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_partitions_pass_through_one_slot_and_a_mebibyte() {
    let mut cluster = Cluster::start_with(2, |options| {
        options.slots = 1;
        options.exchange_memory = paceline_model::ByteSize::mib(1);
        options.read_budget = paceline_model::ByteSize::mib(1);
    })
    .await;
    let sql = "SELECT k % 5000 AS g, count(*), max(s) FROM t GROUP BY k % 5000";
    let graph = cluster.tables.plan(sql, &[1000, 1000]).await;
    let hash = paceline_model::ExchangeKind::Hash { partitions: 2000 };
    assert!(graph.stages().iter().any(|stage| stage.exchange == hash));
    let (answer, _) = run_graph(&graph, new_query(), 0, &mut cluster.attached).await;
    assert_eq!(lines(&answer), cluster.tables.expected(sql).await);
}
