//! `GET /v1/queries`, and what is told of one query.

use paceline_frontend::QueryReport;
use paceline_frontend::{Origin, SessionSettings, Statement, Submission};
use paceline_model::{
    Epoch, ErrorClass, QueryError, QueryId, QueryState, ResultSize, SchedulerId, StageId,
    StageProgress,
};
use reqwest::Client;
use serde_json::Value;

use crate::house::{House, until};

fn submitted(house: &House) -> QueryId {
    let statement = Statement::new("numbers 7", SessionSettings::default(), Origin::Http);
    let submission = Submission::new(statement);
    house.engine.submissions.enqueue(submission).unwrap().query
}

/// Five queries, the latest first: queued, running at "other", finished, failed, cancelled.
fn five(house: &House) -> Vec<QueryId> {
    let mut ids: Vec<QueryId> = (0..5).map(|_| submitted(house)).collect();
    ids.reverse();
    let all = &house.engine.submissions;
    all.change(ids[1], |status| {
        status.state = QueryState::Running;
        status.owner = SchedulerId::new("other/one");
    });
    all.finish(ids[2]);
    all.fail(ids[3], QueryError::new(ErrorClass::User, "no"));
    all.cancel(ids[4]);
    ids
}

async fn list(house: &House, choice: &str) -> (Value, String) {
    let url = house.url(&format!("/v1/queries{choice}"));
    let response = Client::new().get(url).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200, "{choice}");
    let link = response.headers().get("link");
    let link = link.map(|l| l.to_str().unwrap().to_string());
    (response.json().await.unwrap(), link.unwrap_or_default())
}

fn ids(list: &Value) -> Vec<QueryId> {
    let queries = list["queries"].as_array().unwrap().iter();
    queries
        .map(|query| query["query_id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn queries_are_chosen_by_state_and_owner() {
    let house = House::open().await;
    let all = five(&house);
    for (choice, expected) in [
        ("", &all[..]),
        ("?state=queued", &all[..1]),
        ("?state=queued,running", &all[..2]),
        ("?state=running&owner=other/one", &all[1..2]),
        ("?owner=other%2Fone", &all[1..2]),
        ("?owner=nobody", &[]),
        ("?state=finished", &all[2..3]),
        ("?state=failed,cancelled", &all[3..]),
    ] {
        let (list, link) = list(&house, choice).await;
        assert_eq!(ids(&list), expected, "{choice}");
        assert!(list["next"].is_null() && link.is_empty());
    }
    until("they are counted", || house.requests("queries", "ok") == 8).await;
}

#[tokio::test]
async fn a_list_goes_on_where_it_says() {
    let house = House::open().await;
    let all = five(&house);
    let mut seen = Vec::new();
    let mut choice = "?limit=1&owner=test&state=queued,finished,failed,cancelled".to_string();
    loop {
        let (list, link) = list(&house, &choice).await;
        seen.extend(ids(&list));
        let Some(next) = list["next"].as_str() else {
            assert_eq!(link, "");
            break;
        };
        assert_eq!(link, format!("<{next}>; rel=\"next\""));
        choice = next.strip_prefix("/v1/queries").unwrap().to_string();
    }
    assert_eq!(seen, [all[0], all[2], all[3], all[4]]);
}

#[tokio::test]
async fn schedulers_that_did_not_answer_are_named() {
    let house = House::open().await;
    let all = five(&house);
    house.engine.submissions.lose("other");
    let (list, _) = list(&house, "").await;
    assert_eq!(list["unreachable"], serde_json::json!(["other"]));
    assert_eq!(ids(&list), all);
}

async fn told_of(house: &House, query: QueryId) -> QueryReport {
    let url = house.url(&format!("/v1/queries/{query}"));
    let response = Client::new().get(url).send().await.unwrap();
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_query_is_told_of_whole() {
    let house = House::open().await;
    let query = submitted(&house);
    let stage = StageProgress {
        stage: StageId(1),
        tasks: 4,
        running: 1,
        done: 3,
        attempts: 5,
        rows: 10,
        bytes: 100,
    };
    house.engine.submissions.finish(query);
    house.engine.submissions.change(query, |status| {
        status.epoch = Epoch(2);
        status.stages = vec![stage];
    });
    let report = told_of(&house, query).await;
    assert_eq!(report.query_id, query);
    assert_eq!(
        (report.state, report.epoch),
        (QueryState::Finished, Epoch(2))
    );
    assert_eq!(report.stages, [stage]);
    assert_eq!(report.elapsed_seconds, 0.25);
    assert_eq!(report.planning_seconds, 0.001);
    assert_eq!(report.result, Some(ResultSize { rows: 7, pages: 2 }));
    let accepted = report.accepted_at.unwrap();
    assert!(
        accepted.starts_with("20") && accepted.ends_with('Z'),
        "{accepted}"
    );

    let failed = submitted(&house);
    let error = QueryError::new(ErrorClass::User, "no such column");
    house.engine.submissions.fail(failed, error);
    let report = told_of(&house, failed).await;
    let error = report.error.unwrap();
    assert_eq!(
        (error.class.as_str(), error.message.as_str()),
        ("user", "no such column")
    );
}

#[tokio::test]
async fn bad_choices_are_refused_and_say_why() {
    let house = House::open().await;
    for (choice, says) in [
        ("?state=lost", "'lost'"),
        ("?state=", "queued, running"),
        ("?limit=0", "between 1 and 1000"),
        ("?limit=1001", "1001"),
        ("?limit=many", "limit"),
        ("?after=nonsense", "after: 'nonsense'"),
        ("?colour=red", "colour"),
        ("?limit=1&limit=2", "limit"),
    ] {
        let url = house.url(&format!("/v1/queries{choice}"));
        let response = Client::new().get(url).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 400, "{choice}");
        let body: Value = response.json().await.unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{choice}: {message}");
        assert_eq!(body["error"]["class"], "user");
    }
}
