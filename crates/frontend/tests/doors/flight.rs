//! Statements over Flight SQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{ActionCancelQueryRequest, CommandStatementQuery, ProstMessageExt};
use arrow_flight::{Action, CancelFlightInfoRequest, FlightDescriptor};
use futures::{StreamExt, TryStreamExt};
use paceline_frontend::from_status;
use paceline_model::{ErrorClass, QueryId, QueryState};
use prost::Message;

use crate::engine::{BROKEN_ROWS, LOCATION, error, numbers};
use crate::house::{House, fetch, ticket, until};

#[tokio::test]
async fn a_statement_brings_its_rows() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let info = client
        .execute("numbers 1001".to_string(), None)
        .await
        .unwrap();
    assert_eq!(
        *numbers(0, 0).schema(),
        info.clone().try_decode_schema().unwrap()
    );
    let rows = fetch(&mut client, &info).await.unwrap();
    let all = concat_batches(&rows[0].schema(), &rows).unwrap();
    assert_eq!(all, numbers(0, 1001));

    // And once more, from the start.
    assert_eq!(fetch(&mut client, &info).await.unwrap(), rows);
    until("both reads are counted", || {
        house.requests("do_get", "ok") == 2
    })
    .await;
}

#[tokio::test]
async fn the_info_comes_before_the_result_and_names_every_scheduler() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let info = client.execute("hang".to_string(), None).await.unwrap();
    assert_eq!(info.endpoint.len(), 1);
    let locations: Vec<_> = info.endpoint[0]
        .location
        .iter()
        .map(|l| l.uri.as_str())
        .collect();
    assert_eq!(locations, ["arrow-flight-reuse-connection://?", LOCATION]);
    let id: QueryId = std::str::from_utf8(&info.app_metadata)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(house.engine.state(id), Some(QueryState::Running));
}

#[tokio::test]
async fn any_scheduler_takes_tickets_and_handles() {
    let (one, other) = (House::open().await, House::open().await);
    let info = one
        .sql()
        .await
        .execute("numbers 3".to_string(), None)
        .await
        .unwrap();
    let rows = fetch(&mut other.sql().await, &info).await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

#[tokio::test]
async fn plain_flight_may_send_the_statement_itself() {
    let house = House::open().await;
    let mut client = house.client().await;
    let descriptor = FlightDescriptor::new_cmd("numbers 2");
    let info = client.get_flight_info(descriptor.clone()).await.unwrap();
    let rows: Vec<_> = client
        .do_get(ticket(&info))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        concat_batches(&rows[0].schema(), &rows).unwrap(),
        numbers(0, 2)
    );
    let schema = client.get_schema(descriptor.clone()).await.unwrap();
    assert_eq!(schema, *numbers(0, 0).schema());
    let polled = client.poll_flight_info(descriptor).await.unwrap();
    assert!(
        polled.flight_descriptor.is_none(),
        "there is nothing to poll for"
    );
    assert_eq!(polled.info.unwrap().endpoint.len(), 1);
}

#[tokio::test]
async fn a_prepared_statement_is_bound_and_run() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let mut prepared = client
        .prepare("parameters".to_string(), None)
        .await
        .unwrap();
    assert_eq!(prepared.parameter_schema().unwrap().field(0).name(), "$1");
    assert_eq!(
        *prepared.dataset_schema().unwrap().field(0).data_type(),
        DataType::Int64
    );
    let row = RecordBatch::try_from_iter([
        ("0", Arc::new(Int64Array::from(vec![7])) as _),
        ("1", Arc::new(StringArray::from(vec!["x"])) as _),
    ])
    .unwrap();
    prepared.set_parameters(row.clone()).unwrap();
    let info = prepared.execute().await.unwrap();
    assert_eq!(fetch(&mut client, &info).await.unwrap()[0], row);

    let two = concat_batches(&row.schema(), &[row.clone(), row]).unwrap();
    prepared.set_parameters(two).unwrap();
    let refused = status(prepared.execute().await.unwrap_err());
    assert_eq!(from_status(&refused).class, ErrorClass::Unsupported);
    prepared.close().await.unwrap();
}

#[tokio::test]
async fn an_update_says_how_many_rows_it_changed() {
    let house = House::open().await;
    let mut client = house.sql().await;
    assert_eq!(
        client
            .execute_update("create".to_string(), None)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        client
            .execute_update("insert".to_string(), None)
            .await
            .unwrap(),
        42
    );
    assert_eq!(
        client
            .execute_update("numbers 1".to_string(), None)
            .await
            .unwrap(),
        -1
    );
    let mut prepared = client.prepare("insert".to_string(), None).await.unwrap();
    assert_eq!(prepared.execute_update().await.unwrap(), 42);
    // Clients without DoPut for DDL run it as a query; its result is empty.
    let info = client.execute("create".to_string(), None).await.unwrap();
    assert_eq!(fetch(&mut client, &info).await.unwrap().len(), 0);
}

#[tokio::test]
async fn every_error_comes_back_whole_wherever_it_happens() {
    let house = House::open().await;
    let mut client = house.sql().await;
    for class in ErrorClass::ALL {
        let expected = error(class.as_str());
        let refused = client.execute(format!("refuse {class}"), None).await;
        assert_eq!(from_status(&status(refused.unwrap_err())), expected);

        let info = client.execute(format!("fail {class}"), None).await.unwrap();
        let failed = client.do_get(ticket(&info)).await;
        assert_eq!(from_status(&status(failed.err().unwrap())), expected);

        let info = client
            .execute(format!("break {class}"), None)
            .await
            .unwrap();
        let mut stream = client.do_get(ticket(&info)).await.unwrap();
        let mut rows = 0;
        let broke = loop {
            match stream
                .next()
                .await
                .expect("a broken result must not look complete")
            {
                Ok(batch) => rows += batch.num_rows(),
                Err(error) => break error,
            }
        };
        assert_eq!(rows, 2 * BROKEN_ROWS as usize);
        assert_eq!(from_status(&status(broke)), expected);
    }
}

/// The gRPC status inside of whatever a client makes of it.
fn status(error: FlightError) -> tonic::Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("not a status: {other}"),
    }
}

#[tokio::test]
async fn large_results_come_in_messages_that_clients_take() {
    let house = House::open().await;
    // This client takes messages of up to 4 MiB; the two batches have some 20 MiB each.
    let mut client = house.sql().await;
    let info = client
        .execute("numbers 1000000".to_string(), None)
        .await
        .unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    let (mut rows, mut messages) = (0, 0);
    while let Some(batch) = stream.try_next().await.unwrap() {
        rows += batch.num_rows();
        messages += 1;
    }
    assert_eq!(rows, 1_000_000);
    assert!(messages > 10, "{messages}");
}

#[tokio::test]
async fn queries_are_cancelled_by_both_actions() {
    let house = House::open().await;
    let mut sql = house.sql().await;
    let mut client = house.client().await;

    let info = sql.execute("hang".to_string(), None).await.unwrap();
    let id: QueryId = std::str::from_utf8(&info.app_metadata)
        .unwrap()
        .parse()
        .unwrap();
    let request = CancelFlightInfoRequest::new(info);
    let result = client.cancel_flight_info(request.clone()).await.unwrap();
    assert_eq!(result.status, 1);
    assert_eq!(house.engine.state(id), Some(QueryState::Cancelled));

    let info = sql.execute("hang".to_string(), None).await.unwrap();
    let id: QueryId = std::str::from_utf8(&info.app_metadata)
        .unwrap()
        .parse()
        .unwrap();
    let request = ActionCancelQueryRequest {
        info: info.encode_to_vec().into(),
    };
    let action = Action::new("CancelQuery", request.as_any().encode_to_vec());
    let answers: Vec<_> = client
        .do_action(action)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!(house.engine.state(id), Some(QueryState::Cancelled));
}

#[tokio::test]
async fn an_abandoned_stream_is_dropped() {
    let house = House::open().await;
    let mut client = house.sql().await;
    for statement in ["endless", "hang"] {
        let info = client.execute(statement.to_string(), None).await.unwrap();
        let mut another = house.sql().await;
        let reading = tokio::spawn(async move {
            let mut stream = another.do_get(ticket(&info)).await.unwrap();
            while stream.try_next().await.unwrap().is_some() {
                tokio::task::yield_now().await;
            }
        });
        house.engine.wait_for_readers(1).await;
        reading.abort();
        house.engine.wait_for_readers(0).await;
    }
    until("both are counted", || {
        house.requests("do_get", "abandoned") == 2
    })
    .await;
}

#[tokio::test]
async fn transactions_and_ingestion_are_refused_by_name() {
    let house = House::open().await;
    let mut client = house.client().await;
    let mut sql = house.sql().await;
    let in_transaction = CommandStatementQuery {
        query: "numbers 1".to_string(),
        transaction_id: Some("t".into()),
    };
    let descriptor = FlightDescriptor::new_cmd(in_transaction.as_any().encode_to_vec());
    let refused = status(client.get_flight_info(descriptor).await.unwrap_err());
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    assert!(refused.message().contains("transaction"), "{refused}");
    assert!(sql.begin_transaction().await.is_err());
}

#[tokio::test]
async fn a_tiny_statement_takes_far_less_than_five_milliseconds() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let mut times = Vec::new();
    for _ in 0..300 {
        let start = Instant::now();
        let info = client.execute("numbers 1".to_string(), None).await.unwrap();
        fetch(&mut client, &info).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2];
    println!("median of {}: {median:?}", times.len());
    assert!(median < Duration::from_millis(5), "{median:?}");
}
