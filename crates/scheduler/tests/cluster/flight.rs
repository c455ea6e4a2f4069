//! A client of Flight SQL.

use arrow::array::RecordBatch;
use arrow_flight::Ticket;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Cluster, here};

pub(crate) type Client = FlightSqlServiceClient<Channel>;

pub(crate) async fn flight(cluster: &Cluster, scheduler: usize) -> Client {
    let address = here(&cluster.schedulers[scheduler].addresses().flight);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = Client::new(endpoint.connect().await.unwrap());
    // What comes back has the statement in it, however long that is.
    let unlimited = client.inner().clone();
    *client.inner_mut() = unlimited.max_decoding_message_size(usize::MAX);
    client
}

/// Starts a statement; its result is read with the ticket.
pub(crate) async fn started(client: &mut Client, sql: &str) -> Ticket {
    let info = client.execute(sql.to_string(), None).await.unwrap();
    info.endpoint[0].ticket.clone().unwrap()
}

pub(crate) async fn rows(client: &mut Client, ticket: Ticket) -> Vec<RecordBatch> {
    let stream = client.do_get(ticket).await.unwrap();
    stream.try_collect().await.unwrap()
}

/// The rows as sorted lines of text.
pub(crate) fn rows_of(batches: &[RecordBatch]) -> String {
    let text = arrow::util::pretty::pretty_format_batches(batches)
        .unwrap()
        .to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}
