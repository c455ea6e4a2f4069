use std::sync::Arc;

use futures::stream::Empty;
use paceline_frontend::SessionSettings;
use paceline_proto::cluster::cluster_client::ClusterClient;
use paceline_proto::cluster::cluster_server::Cluster;
use paceline_proto::cluster::forward_request::Operation;
use paceline_store::Members;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::testing::{beacon, cluster_port, serve, shared, store};

fn statement() -> Statement {
    Statement::new("SELECT 1", SessionSettings::default(), Origin::Http)
}

/// Or a repeat that another scheduler gets would be another request.
#[tokio::test]
async fn what_is_passed_on_is_what_its_client_sent() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let service = Service::new(Arc::clone(&shared));
    let mut statement = statement();
    statement.idempotency_key = Some("k".to_string());
    let sent = Submission {
        timeout: Some(Duration::from_micros(60_000_500)),
        ..Submission::new(statement)
    };
    let kept = Duration::from_secs(60);
    let passed_on = submission_passed_on(&shared, &sent, kept).unwrap();
    let answer = accept(&service, passed_on).await.unwrap();
    let Answer::Status(json) = answer else {
        panic!("{answer:?}");
    };
    let accepted = peers::status(&json).unwrap();
    let again = service.accept_submission(sent).await.unwrap();
    assert_eq!(again.query, accepted.query);
    shared.stop.cancel();
}

fn client(address: &str) -> ClusterClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    ClusterClient::new(endpoint.connect_lazy())
}

/// A scheduler whose queries are another one's before its answer is out: it took the statement in, died, and
/// was taken over.
struct TakenOver {
    next: SchedulerId,
    address: String,
}

#[tonic::async_trait]
impl Cluster for TakenOver {
    type AttachStream = Empty<Result<cluster::FromScheduler, Status>>;
    type WatchStream = Empty<Result<cluster::WatchResponse, Status>>;
    type ReadStream = Empty<Result<cluster::ReadResponse, Status>>;

    async fn forward(
        &self,
        request: Request<cluster::ForwardRequest>,
    ) -> Result<Response<cluster::ForwardResponse>, Status> {
        let mut request = request.into_inner();
        request.to = self.next.to_string();
        let submits = matches!(request.operation, Some(Operation::Submit(_)));
        let taken_in = client(&self.address).forward(request).await?.into_inner();
        if !submits {
            return Ok(Response::new(taken_in));
        }
        assert!(
            matches!(taken_in.answer, Some(Answer::Submitted(_))),
            "{taken_in:?}"
        );
        Err(Status::unavailable("its connections are gone"))
    }

    async fn attach(
        &self,
        _: Request<Streaming<cluster::FromExecutor>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::unimplemented("attach"))
    }

    async fn catalog_changed(
        &self,
        _: Request<cluster::CatalogChangedRequest>,
    ) -> Result<Response<cluster::CatalogChangedResponse>, Status> {
        Err(Status::unimplemented("catalog_changed"))
    }

    async fn watch(
        &self,
        _: Request<cluster::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("watch"))
    }

    async fn sealed(
        &self,
        _: Request<cluster::SealedRequest>,
    ) -> Result<Response<cluster::Empty>, Status> {
        Err(Status::unimplemented("sealed"))
    }

    async fn read(
        &self,
        _: Request<cluster::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("read"))
    }

    async fn list(
        &self,
        _: Request<cluster::ListRequest>,
    ) -> Result<Response<cluster::ListResponse>, Status> {
        Err(Status::unimplemented("list"))
    }
}

#[tokio::test]
async fn what_is_passed_on_to_one_that_falls_silent_is_one_query_with_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (leaving, next) = (
        shared(directory.path()).await,
        shared(directory.path()).await,
    );
    let members = Members::new(store(directory.path()));
    let shown = async |scheduler: &SchedulerId, address: &str| {
        let mut shown = beacon(scheduler.clone(), 1);
        shown.addresses.cluster = address.to_string();
        members.beat(&shown).await.unwrap();
        leaving.membership.look().await.unwrap();
    };
    let me = next.driver.me();
    let address = serve(cluster_port(&next)).await;
    // It is asked first.
    let silent = SchedulerId::new("a");
    assert!(silent < me);
    let taken_over = TakenOver {
        next: me.clone(),
        address: address.clone(),
    };
    shown(&silent, &serve(taken_over).await).await;
    let error = pass_on(&leaving, &statement()).await.unwrap_err();
    assert!(error.message.contains("accepted or not"), "{error}");
    assert_eq!(next.driver.statuses().len(), 1, "it was accepted");

    shown(&me, &address).await;
    let there = pass_on(&leaving, &statement()).await.unwrap();
    assert!(next.driver.drives(there.query));
    assert_eq!(next.driver.statuses().len(), 2, "it is one query");
    for scheduler in [leaving, next] {
        scheduler.stop.cancel();
    }
}
