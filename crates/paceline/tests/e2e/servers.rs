//! What servers tell about themselves.

use arrow_flight::sql::client::FlightSqlServiceClient;
use paceline_model::Invariant;
use paceline_testkit::Role;

use crate::support::{Running, text_of, until};

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

/// Types meet only within one version of arrow.
#[test]
fn the_lock_file_has_one_version_of_the_engine() {
    let lock: toml::Table = include_str!("../../../../Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    for package in [
        "arrow",
        "arrow-flight",
        "datafusion",
        "object_store",
        "parquet",
        "tonic",
    ] {
        let versions = names.iter().filter(|name| **name == package).count();
        assert_eq!(versions, 1, "{package}");
    }
    let built = ["protobuf-src", "openssl-sys"].map(|name| names.contains(&name));
    assert_eq!(
        built, [false; 2],
        "a Rust toolchain and a C compiler are all it takes"
    );
}
