//! What servers tell about themselves.

use arrow_flight::sql::client::FlightSqlServiceClient;
use paceline_frontend::QueryReport;
use paceline_model::Invariant;
use paceline_testkit::Role;

use crate::answers::agrees;
use crate::metrics::{labelled, labelled_of_executors, metric, of_executors, of_schedulers};
use crate::support::{Running, attempts, flags, text_of, until};

/// Groups that meet at executors by their hashes.
const GROUPED: &str = "select o_custkey, count(*) as n from orders group by o_custkey";

/// Rows in an order, with too much to carry for the memory of the executors.
pub(crate) const SORTED: &str = "select count(*) as n, max(r) as r, sum(l_quantity) as q, \
     sum(l_extendedprice) as p, sum(l_discount) as d, sum(l_tax) as t, max(l_shipdate) as s, \
     max(l_commitdate) as c, max(l_receiptdate) as e, max(l_shipinstruct) as i, \
     max(l_shipmode) as m from (select *, row_number() over (order by l_comment, l_orderkey, \
     l_linenumber) as r from lineitem)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_readiness_status_and_metrics() {
    let running = Running::start_with(|plan| {
        plan.executor_flags = flags(&["--executor-memory-limit", "48MiB"]);
    })
    .await;
    running.create_tpch().await;
    for scheduler in 0..2 {
        let report = run(&running, scheduler, GROUPED).await;
        counted(&running, scheduler, &report).await;
    }
    moved(&running).await;
    nothing_on_disk(&running).await;
    let answer = running.flight(0).await.run(SORTED).await.unwrap();
    agrees(SORTED, &answer).await.unwrap();
    moved(&running).await;
    spilled(&running).await;
    for node in running
        .cluster
        .schedulers()
        .iter()
        .chain(running.cluster.executors())
    {
        let announced = node.announced();
        for path in ["/health", "/v1/ready", "/v1/status"] {
            let answer = reqwest::get(format!("http://{}{path}", announced.http))
                .await
                .unwrap();
            assert_eq!(answer.status().as_u16(), 200, "{} {path}", node.name());
        }
        let metrics = text_of(&format!("http://{}/metrics", announced.metrics)).await;
        let names = if node.name().starts_with("scheduler") {
            &[
                "paceline_queries_total",
                "paceline_query_duration_seconds_bucket",
                "paceline_stages_total",
                "paceline_task_attempts_total",
                "paceline_task_reruns_total",
                "paceline_executors_attached 3",
            ][..]
        } else {
            &[
                "paceline_executor_memory_used_bytes",
                "paceline_executor_slots 1",
                "paceline_executor_slots_used",
                "paceline_executor_spilled_bytes_total",
                "paceline_exchange_stored_bytes_total",
                "paceline_process_resident_memory_bytes",
            ]
        };
        if node.name().starts_with("scheduler") {
            for invariant in Invariant::ALL {
                let line =
                    format!("paceline_invariant_violations_total{{invariant=\"{invariant}\"}} 0");
                assert!(metrics.contains(&line), "{}: no {line}", node.name());
            }
        }
        for name in names {
            assert!(metrics.contains(name), "{}: no {name}", node.name());
        }
    }
    // Every scheduler knows every executor and its peer.
    for scheduler in 0..2 {
        let status = running.http(scheduler).status().await.unwrap();
        assert_eq!((status.executors.len(), status.schedulers.len()), (3, 2));
    }
}

/// Runs a statement to its end: what is told of its query.
async fn run(running: &Running, scheduler: usize, sql: &str) -> QueryReport {
    let mut flight = running.flight(scheduler).await;
    let started = flight.start(sql).await.unwrap();
    let query = started.query.unwrap();
    flight.finish(started).await.unwrap();
    running.http(scheduler).query(query).await.unwrap()
}

/// A scheduler counts the one query that it has driven as its report does.
async fn counted(running: &Running, scheduler: usize, report: &QueryReport) {
    let (attempts, tasks) = attempts(report);
    let stages = report.stages.len();
    assert!(stages > 1 && tasks > 3, "{report:?}");
    let own = |name: &'static str| metric(running, scheduler, name);
    let of = |name: &'static str, label: &'static str| labelled(running, scheduler, name, label);
    let launched = of("paceline_task_attempts_total", "outcome=\"launched\"").await;
    let finished = of("paceline_task_attempts_total", "outcome=\"finished\"").await;
    assert_eq!((launched, finished), (attempts.into(), tasks.into()));
    assert_eq!(own("paceline_stages_total").await, stages as f64);
    let ended = of("paceline_queries_total", "outcome=\"finished\"").await;
    let timed = of("paceline_query_duration_seconds_count", "\"finished\"").await;
    assert_eq!((ended, timed), (1.0, 1.0));
    let timed = own("paceline_task_duration_seconds_count").await;
    assert_eq!(timed, finished);
    let planned = own("paceline_query_planning_seconds_count").await;
    assert!(planned >= 1.0, "{planned}");
}

/// What was read in the process that held it and what went from one to another is told apart, and
/// those who read, those who served, and the schedulers count the same.
async fn moved(running: &Running) {
    let everywhere = async |locality: &str| {
        let label = format!("locality=\"{locality}\"");
        let mut by_schedulers = 0.0;
        for scheduler in 0..2 {
            let name = "paceline_query_exchange_read_bytes_total";
            by_schedulers += labelled(running, scheduler, name, &label).await;
        }
        let read = "paceline_executor_exchange_read_bytes_total";
        let served = "paceline_exchange_served_bytes_total";
        [
            by_schedulers,
            labelled_of_executors(running, read, &label).await,
            labelled_of_executors(running, served, &label).await,
        ]
    };
    until("all count what stayed where it was", || async {
        let [told, read, served] = everywhere("local").await;
        (told > 0.0 && told == read && read == served).then_some(())
    })
    .await;
    until("all count what went over the network", || async {
        let [told, read, served] = everywhere("remote").await;
        let received = "paceline_exchange_received_bytes_total";
        let by_executors = of_executors(running, received).await;
        // Schedulers fetch results.
        let by_all = by_executors + of_schedulers(running, received).await;
        let same = told == read && read == by_executors && served == by_all;
        (told > 0.0 && same).then_some(())
    })
    .await;
}

/// All that was left in exchanges so far was left in memory.
async fn nothing_on_disk(running: &Running) {
    for name in [
        "paceline_exchange_stored_bytes_total",
        "paceline_exchange_served_bytes_total",
    ] {
        let memory = labelled_of_executors(running, name, "tier=\"memory\"").await;
        let disk = labelled_of_executors(running, name, "tier=\"disk\"").await;
        assert!(memory > 0.0 && disk == 0.0, "{name}: {memory}, {disk}");
    }
}

/// Operators spilled, and an exchange had no room in memory.
async fn spilled(running: &Running) {
    for name in [
        "paceline_exchange_stored_bytes_total",
        "paceline_exchange_served_bytes_total",
    ] {
        let disk = labelled_of_executors(running, name, "tier=\"disk\"").await;
        assert!(disk > 0.0, "{name}");
    }
    let by_executors = of_executors(running, "paceline_executor_spilled_bytes_total").await;
    let by_schedulers = of_schedulers(running, "paceline_query_spilled_bytes_total").await;
    assert!(by_executors > 0.0, "it fitted into memory");
    assert_eq!(by_executors, by_schedulers);
}

/// A client may read a result through any scheduler that lives, and is told of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoint_of_a_result_names_every_scheduler_that_lives() {
    let mut running = Running::start().await;
    let locations = async |running: &Running| {
        let address = &running.cluster.schedulers()[0].announced().flight;
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = channel.unwrap().connect().await.unwrap();
        let mut client = FlightSqlServiceClient::new(channel);
        let info = client.execute("select 1".to_string(), None).await.unwrap();
        assert_eq!(info.endpoint.len(), 1);
        let mut named: Vec<String> = info.endpoint[0]
            .location
            .iter()
            .map(|location| location.uri.clone())
            .filter(|uri| uri.starts_with("grpc+tcp://"))
            .collect();
        named.sort();
        named
    };
    let of = |running: &Running, schedulers: std::ops::Range<usize>| {
        let mut all: Vec<String> = running.cluster.schedulers()[schedulers]
            .iter()
            .map(|node| format!("grpc+tcp://{}", node.announced().flight))
            .collect();
        all.sort();
        all
    };
    let both = of(&running, 0..2);
    until("it knows its peer", || async {
        (locations(&running).await == both).then_some(())
    })
    .await;
    running.cluster.kill(Role::Scheduler, 1).await.unwrap();
    let one = of(&running, 0..1);
    until("the dead one is not named any more", || async {
        (locations(&running).await == one).then_some(())
    })
    .await;
}
