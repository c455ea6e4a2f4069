//! SQL over HTTP.

use crate::support::Running;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_come_in_the_format_that_was_asked_for() {
    let running = Running::with_tpch().await;
    let address = running.cluster.schedulers()[1].announced().http.clone();
    let client = reqwest::Client::new();
    let ask = async |accept: &str, sql: &str| {
        let url = format!("http://{address}/v1/sql");
        let request = client
            .post(url)
            .header("accept", accept)
            .body(sql.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let of = "select n_nationkey as k, n_name as n from nation where n_nationkey < 2 order by 1";
    let (status, bytes) = ask("application/json", of).await;
    let rows: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        rows,
        serde_json::json!([{"k": 0, "n": "ALGERIA"}, {"k": 1, "n": "ARGENTINA"}])
    );
    let (_, bytes) = ask("text/csv", of).await;
    assert_eq!(&bytes[..], b"k,n\n0,ALGERIA\n1,ARGENTINA\n");
    let (_, bytes) = ask(
        "application/vnd.apache.arrow.stream",
        "select * from lineitem",
    )
    .await;
    let reader = arrow::ipc::reader::StreamReader::try_new(&bytes[..], None).unwrap();
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert!(rows > 500_000, "{rows}");
    let (status, bytes) = ask("text/csv", "selec").await;
    let error: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        (status, error["error"]["class"].as_str()),
        (400, Some("user"))
    );
    assert_eq!(ask("image/png", of).await.0, 406);
    curl_is_answered_as_the_pages_show(&format!("http://{address}/v1/sql")).await;
}

/// What curl says of a body that it was given with `-d`, unless it is told otherwise.
const FORM: &str = "application/x-www-form-urlencoded";

async fn curl_is_answered_as_the_pages_show(url: &str) {
    let curl = async |content_type: &str, accept: &str, body: &'static str| {
        let request = reqwest::Client::new()
            .post(url)
            .header("user-agent", "curl/8.5.0")
            .header("content-type", content_type)
            .header("accept", accept)
            .body(body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{body}");
        answer.text().await.unwrap()
    };
    let rows = curl(FORM, "*/*", "SELECT 1 AS n, NULL AS w").await;
    assert_eq!(rows.trim_end(), r#"[{"n":1,"w":null}]"#);
    let rows = curl(FORM, "*/*", "SELECT count(*) AS n FROM orders").await;
    assert_eq!(rows.trim_end(), r#"[{"n":150000}]"#);
    let rows = curl(FORM, "text/csv", "SELECT * FROM orders LIMIT 3").await;
    assert!(rows.starts_with("o_orderkey,"), "{rows}");
    assert_eq!(rows.lines().count(), 1 + 3, "{rows}");
    for json in [
        r#"{"sql": "SELECT $1 + 1 AS n", "parameters": [41], "settings": {"timeout": "30s"}}"#,
        r#"{"sql": "SELECT ? + 1 AS n", "parameters": [41]}"#,
    ] {
        let rows = curl("application/json", "text/csv", json).await;
        assert_eq!(rows, "n\n42\n");
    }
}
