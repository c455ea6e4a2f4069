//! The orderly end of both servers.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use paceline_model::QueryError;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::house::{House, ticket};

const LONG: Duration = Duration::from_secs(20);

/// Waits until both servers have ended.
async fn both_end(flight: JoinHandle<Result<(), QueryError>>, http: JoinHandle<()>) {
    let ended = async { (flight.await.unwrap(), http.await.unwrap()) };
    let (flight, ()) = tokio::time::timeout(LONG, ended).await.unwrap();
    flight.unwrap();
}

#[tokio::test]
async fn what_is_under_way_is_finished() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let info = client
        .execute("numbers 1000000".to_string(), None)
        .await
        .unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    let mut rows = stream.next().await.unwrap().unwrap().num_rows();
    let response = house.post("numbers 1000000").await;

    house.shutdown.cancel();
    while let Some(batch) = stream.try_next().await.unwrap() {
        rows += batch.num_rows();
    }
    assert_eq!(rows, 1_000_000);
    assert!(response.bytes().await.unwrap().ends_with(b"}]"));
    both_end(house.flight_server, house.http_server).await;
    assert!(TcpStream::connect(house.flight).await.is_err());
    assert!(TcpStream::connect(house.http).await.is_err());
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut() {
    let house = House::with_grace(Duration::ZERO).await;
    let mut client = house.sql().await;
    let info = client.execute("endless".to_string(), None).await.unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let response = house.post("endless").await;
    house.engine.wait_for_readers(2).await;

    house.shutdown.cancel();
    both_end(house.flight_server, house.http_server).await;
    let end = stream.try_fold((), |(), _| async { Ok(()) }).await;
    assert!(end.is_err(), "a stream that was cut must not look complete");
    assert!(response.bytes().await.is_err());
    house.engine.wait_for_readers(0).await;
}
