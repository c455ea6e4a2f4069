//! What servers tell about themselves.

use paceline_model::Invariant;

use crate::support::{Running, text_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_readiness_status_and_metrics() {
    let running = Running::with_tpch().await;
    for scheduler in 0..2 {
        let mut flight = running.flight(scheduler).await;
        flight.run("select count(*) from orders").await.unwrap();
    }
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
            ][..]
        } else {
            &[
                "paceline_executor_memory_used_bytes",
                "paceline_executor_slots",
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
