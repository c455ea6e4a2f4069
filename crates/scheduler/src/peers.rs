//! What schedulers ask each other: connections to them, and whom to ask.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use paceline_model::{ErrorClass, QueryError, QueryId, QueryStatus, SchedulerId};
use paceline_proto::cluster::cluster_client::ClusterClient;
use paceline_proto::cluster::forward_request::Operation;
use paceline_proto::cluster::forward_response::Answer;
use paceline_proto::{MESSAGE_LIMIT, cluster, failed_to_error, query_bytes};
use paceline_store::Beacon;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};

use crate::elsewhere::too_large;
use crate::shared::Shared;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections to other schedulers, made when first needed and kept while they have beacons.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    channels: Mutex<HashMap<String, Channel>>,
}

impl Peers {
    /// Lets go of connections to all other addresses. Whoever starts again has another one.
    pub(crate) fn keep_only(&self, addresses: &HashSet<String>) {
        let mut channels = self.channels.lock();
        channels.retain(|address, _| addresses.contains(address));
    }

    pub(crate) fn client(&self, address: &str) -> Result<ClusterClient<Channel>, QueryError> {
        let mut channels = self.channels.lock();
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let endpoint = Endpoint::from_shared(format!("http://{address}"))
                    .map_err(|e| unreachable(address, &e.to_string()))?
                    .connect_timeout(CONNECT_TIMEOUT)
                    .tcp_nodelay(true)
                    .http2_keep_alive_interval(Duration::from_secs(1))
                    .keep_alive_timeout(Duration::from_secs(2));
                let channel = endpoint.connect_lazy();
                channels.insert(address.to_string(), channel.clone());
                channel
            }
        };
        Ok(ClusterClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT))
    }

    /// Asks one scheduler about a query; none if it does not know the query.
    ///
    /// # Errors
    /// If it does not answer.
    async fn ask(
        &self,
        peer: &Beacon,
        query: QueryId,
        operation: Operation,
    ) -> Result<Option<Result<Answer, QueryError>>, QueryError> {
        let request = cluster::ForwardRequest {
            query: query_bytes(query),
            operation: Some(operation),
            to: peer.scheduler.to_string(),
        };
        let address = &peer.addresses.cluster;
        let mut client = self.client(address)?;
        match client.forward(request).await.map(|r| r.into_inner().answer) {
            Ok(Some(Answer::Failed(failed))) => {
                let error = failed_to_error(failed);
                Ok((error.class != ErrorClass::NotFound).then_some(Err(error)))
            }
            Ok(answer) => Ok(answer.map(Ok)),
            Err(status) => match too_large(&peer.scheduler, &status) {
                Some(error) => Ok(Some(Err(error))),
                None => Err(unreachable(address, status.message())),
            },
        }
    }

    /// Asks whoever may drive a query: the named scheduler first, then all others.
    pub(crate) async fn ask_all(
        &self,
        shared: &Shared,
        query: QueryId,
        first: Option<&SchedulerId>,
        operation: &Operation,
    ) -> Asked {
        let mut asked = Asked::default();
        let mut peers = shared.membership.peers();
        peers.sort_by_key(|peer| first != Some(&peer.scheduler));
        for peer in peers {
            match self.ask(&peer, query, operation.clone()).await {
                // It will answer; until then it neither knows the query nor denies it.
                Ok(Some(Ok(Answer::Coming(_)))) => {}
                Ok(Some(answer)) => {
                    asked.answer = Some(answer);
                    return asked;
                }
                Ok(None) => asked.denied.push(peer.scheduler),
                Err(error) => {
                    tracing::debug!(%error, "a peer did not answer");
                    asked.silent.push(peer.scheduler);
                }
            }
        }
        asked
    }

    /// Has another scheduler accept a statement. It needs a name: one that does not answer may accept it as
    /// well as the next one.
    pub(crate) async fn submit(&self, shared: &Shared, submit: cluster::Submit) -> Asked {
        let nobody = QueryId(uuid::Uuid::nil());
        let submit = Operation::Submit(submit);
        self.ask_all(shared, nobody, None, &submit).await
    }
}

/// What came of asking everybody.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// What the one who knows says, if anybody who answers knows.
    pub(crate) answer: Option<Result<Answer, QueryError>>,
    /// Who did not answer.
    pub(crate) silent: Vec<SchedulerId>,
    /// Who answered, and does not know.
    pub(crate) denied: Vec<SchedulerId>,
}

fn unreachable(address: &str, detail: &str) -> QueryError {
    QueryError::new(
        ErrorClass::Unavailable,
        format!("the scheduler at {address} cannot be reached: {detail}"),
    )
}

/// There is no such query, as far as anybody knows.
pub(crate) fn unknown(query: QueryId) -> QueryError {
    QueryError::new(
        ErrorClass::NotFound,
        format!("query {query} is not known: it ended a while ago, or never was"),
    )
}

/// A query's status for another scheduler.
pub(crate) fn status_to_wire(status: &QueryStatus) -> Result<Answer, QueryError> {
    serde_json::to_vec(status)
        .map(|json| Answer::Status(json.into()))
        .map_err(|e| QueryError::new(ErrorClass::Bug, e.to_string()))
}

/// A query's status from another scheduler.
pub(crate) fn status(json: &[u8]) -> Result<QueryStatus, QueryError> {
    serde_json::from_slice(json)
        .map_err(|e| QueryError::new(ErrorClass::Bug, format!("a peer's status: {e}")))
}

#[cfg(test)]
mod tests {
    use paceline_store::Members;
    use tonic::Status;

    use super::*;
    use crate::testing::{beacon, shared, store};

    #[tokio::test]
    async fn connections_go_with_the_beacons_of_those_they_lead_to() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let (gone, there) = ("127.0.0.1:1".to_string(), "127.0.0.1:2".to_string());
        let mut peer = beacon(SchedulerId::new("peer"), 1);
        peer.addresses.cluster.clone_from(&there);
        let members = Members::new(store(directory.path()));
        members.beat(&peer).await.unwrap();
        shared.membership.look().await.unwrap();
        for address in [&gone, &there] {
            shared.peers.client(address).unwrap();
        }
        shared.peers.keep_only(&shared.membership.addresses());
        let kept: Vec<String> = shared.peers.channels.lock().keys().cloned().collect();
        assert_eq!(kept, [there]);
        shared.stop.cancel();
    }

    /// Or it would be asked for it again and again.
    #[test]
    fn what_does_not_fit_into_a_message_is_an_error_and_no_silence() {
        let by = SchedulerId::new("by");
        let told = too_large(&by, &Status::out_of_range("300 MB")).unwrap();
        assert_eq!(told.class, ErrorClass::Resource);
        assert!(told.message.contains("by") && told.message.contains("300 MB"));
        assert_eq!(too_large(&by, &Status::unavailable("gone")), None);
    }
}
