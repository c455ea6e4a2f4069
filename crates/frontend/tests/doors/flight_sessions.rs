//! Sessions over Flight SQL: headers, cookies and handshakes.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use prost::Message;
use tonic::Request;

use crate::house::{House, fetch};

fn settings(rows: &[RecordBatch]) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for batch in rows {
        let column = |index: usize| batch.column(index).as_string::<i32>();
        for row in 0..batch.num_rows() {
            let (name, value) = (column(0).value(row), column(1).value(row));
            settings.insert(name.to_string(), value.to_string());
        }
    }
    settings
}

#[tokio::test]
async fn headers_set_the_session_and_prepared_statements_keep_it() {
    let house = House::open().await;
    let mut client = house.sql().await;
    client.set_header("x-paceline-settings", "schema=tpch; timeout=5s");
    let info = client.execute("settings".to_string(), None).await.unwrap();
    let set = settings(&fetch(&mut client, &info).await.unwrap());
    assert_eq!(set["schema"], "tpch");
    assert_eq!(set["timeout"], "5s");

    let mut prepared = client.prepare("settings".to_string(), None).await.unwrap();
    let info = prepared.execute().await.unwrap();
    let mut without = house.sql().await;
    let set = settings(&fetch(&mut without, &info).await.unwrap());
    assert_eq!(set["schema"], "tpch");
}

#[tokio::test]
async fn one_key_is_one_query() {
    let house = House::open().await;
    let mut client = house.sql().await;
    client.set_header("idempotency-key", "k-1");
    let first = client.execute("numbers 1".to_string(), None).await.unwrap();
    let again = client.execute("numbers 1".to_string(), None).await.unwrap();
    assert_eq!(first.app_metadata, again.app_metadata);
}

/// `SetSessionOptionsRequest` with text values, after Flight.proto.
#[derive(Clone, PartialEq, Message)]
struct SetOptions {
    #[prost(btree_map = "string, message", tag = "1")]
    options: BTreeMap<String, TextOption>,
}

#[derive(Clone, PartialEq, Message)]
struct TextOption {
    #[prost(string, tag = "1")]
    text: String,
}

#[tokio::test]
async fn session_options_live_in_a_cookie() {
    let house = House::open().await;
    let mut client = FlightServiceClient::new(house.channel().await);
    let options = SetOptions {
        options: BTreeMap::from([(
            "catalog".to_string(),
            TextOption {
                text: "lake".into(),
            },
        )]),
    };
    let set = Action::new("SetSessionOptions", options.encode_to_vec());
    let response = client.do_action(set).await.unwrap();
    let cookie = response.metadata().get("set-cookie").unwrap();
    let pair = cookie
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_string();

    let mut sql = house.sql().await;
    sql.set_header("cookie", pair.clone());
    let info = sql.execute("settings".to_string(), None).await.unwrap();
    let seen = settings(&fetch(&mut sql, &info).await.unwrap());
    assert_eq!(seen["catalog"], "lake");

    let mut close = Request::new(Action::new("CloseSession", ""));
    close.metadata_mut().insert("cookie", pair.parse().unwrap());
    let response = client.do_action(close).await.unwrap();
    let cookie = response.metadata().get("set-cookie").unwrap();
    assert!(cookie.to_str().unwrap().starts_with("paceline_session=;"));
}

#[tokio::test]
async fn anybody_may_shake_hands() {
    let house = House::open().await;
    let mut client = house.sql().await;
    client.handshake("somebody", "secret").await.unwrap();
    assert_eq!(client.token().map(String::as_str), Some("anonymous"));
    let mut plain = house.client().await;
    plain.handshake("hello").await.unwrap();
    let actions: Vec<_> = futures::TryStreamExt::try_collect(plain.list_actions().await.unwrap())
        .await
        .unwrap();
    assert!(
        actions
            .iter()
            .any(|a: &arrow_flight::ActionType| a.r#type == "CancelFlightInfo")
    );
}
