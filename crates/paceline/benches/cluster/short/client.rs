//! One client, with a connection that it keeps.

use arrow_flight::sql::client::{FlightSqlServiceClient, PreparedStatement};
use clap::ValueEnum;
use futures::TryStreamExt;
use paceline::client::{Flight, Http};
use paceline_testkit::Announced;
use tonic::transport::{Channel, Endpoint};

use crate::stage::Failure;

/// It reads a table, so it is planned, launched and fetched like any other; its answer has one row.
const TINY: &str = "select n_name from nation where n_nationkey = 7";

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// Over Flight SQL, with a statement each time.
    Flight,
    /// Over Flight SQL, with a statement that was prepared once.
    Prepared,
    /// `POST /v1/sql`.
    Http,
}

impl Way {
    pub(super) const ALL: [Way; 3] = [Way::Flight, Way::Prepared, Way::Http];
}

pub(super) enum Client {
    Flight(Box<Flight>),
    Prepared(Box<Prepared>),
    Http(Http),
}

pub(super) struct Prepared {
    client: FlightSqlServiceClient<Channel>,
    statement: PreparedStatement<Channel>,
}

impl Client {
    pub(super) async fn connect(way: Way, scheduler: &Announced) -> Result<Client, Failure> {
        Ok(match way {
            Way::Flight => Client::Flight(Box::new(Flight::connect(&scheduler.flight).await?)),
            Way::Prepared => Client::Prepared(Box::new(Prepared::at(&scheduler.flight).await?)),
            Way::Http => Client::Http(Http::new(&scheduler.http)),
        })
    }

    /// Asks once, and sees that the answer is right.
    pub(super) async fn ask(&mut self) -> Result<(), Failure> {
        let rows = match self {
            Client::Flight(flight) => flight.run(TINY).await?.rows(),
            Client::Prepared(prepared) => prepared.ask().await?,
            Client::Http(http) => over_http(http).await?,
        };
        match rows {
            1 => Ok(()),
            rows => Err(format!("{rows} rows instead of one: {TINY}").into()),
        }
    }
}

impl Prepared {
    async fn at(address: &str) -> Result<Prepared, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let mut client = FlightSqlServiceClient::new(endpoint.connect().await?);
        let statement = client.prepare(TINY.to_string(), None).await?;
        Ok(Prepared { client, statement })
    }

    async fn ask(&mut self) -> Result<usize, Failure> {
        let info = self.statement.execute().await?;
        let endpoint = info.endpoint.into_iter().next();
        let ticket = endpoint.and_then(|endpoint| endpoint.ticket);
        let ticket = ticket.ok_or("the result has no ticket")?;
        let mut batches = self.client.do_get(ticket).await?;
        let mut rows = 0;
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows();
        }
        Ok(rows)
    }
}

async fn over_http(http: &Http) -> Result<usize, Failure> {
    let mut answer = http.sql(TINY, None, "application/json").await?;
    let mut body = Vec::new();
    while let Some(bytes) = answer.next().await? {
        body.extend(bytes);
    }
    Ok(serde_json::from_slice::<Vec<serde_json::Value>>(&body)?.len())
}
