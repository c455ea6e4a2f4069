use paceline_frontend::QueryReport;
use paceline_model::{QueryId, SchedulerId};
use serde::{Deserialize, Serialize};

use super::{ClientError, Http};

/// Which queries are wanted.
#[derive(Debug, Clone, Default, Serialize)]
pub struct QueryChoice {
    /// One state, or several with commas between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The scheduler that drives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// No more than so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Some queries of all schedulers, the latest first.
#[derive(Debug, Clone, Deserialize)]
pub struct QueryList {
    /// The queries.
    pub queries: Vec<QueryReport>,
    /// Where the list goes on, if it does.
    pub next: Option<String>,
    /// Schedulers that did not answer, whose queries are missing.
    pub unreachable: Vec<SchedulerId>,
    /// Why queries may be missing that ended at others, if some may.
    #[serde(default)]
    pub incomplete: Option<String>,
}

/// A statement that is to run by itself.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SubmitRequest {
    /// The statement.
    pub sql: String,
    /// How long it may take, such as `30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How long its result is kept, such as `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_ttl: Option<String>,
}

/// A result on its way here, as the server encodes it.
#[derive(Debug)]
pub struct Rows {
    address: String,
    response: reqwest::Response,
}

impl Rows {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// If the result breaks off.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let chunk = self.response.chunk().await;
        let chunk = chunk.map_err(|_| ClientError::BrokeOff {
            address: self.address.clone(),
        })?;
        Ok(chunk.map(|bytes| bytes.to_vec()))
    }
}

impl Http {
    /// The queries that run or ended lately.
    ///
    /// # Errors
    /// If it does not answer, or the choice makes no sense.
    pub async fn queries(&self, choice: &QueryChoice) -> Result<QueryList, ClientError> {
        let request = self.client.get(self.url("/v1/queries")).query(choice);
        self.json(request).await
    }

    /// Runs a statement, and gives out its result as that media type. With the same key it is the same
    /// query.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn sql(
        &self,
        sql: &str,
        key: Option<&str>,
        media_type: &str,
    ) -> Result<Rows, ClientError> {
        let mut sent = self
            .client
            .post(self.url("/v1/sql"))
            .header("content-type", "text/plain")
            .header("accept", media_type)
            .body(sql.to_string());
        if let Some(key) = key {
            sent = sent.header("idempotency-key", key);
        }
        Ok(Rows {
            address: self.address.clone(),
            response: self.checked(sent).await?,
        })
    }

    /// Hands in a statement that runs by itself. With the same key it is the same query.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn submit(
        &self,
        request: &SubmitRequest,
        key: Option<&str>,
    ) -> Result<QueryReport, ClientError> {
        let mut sent = self.client.post(self.url("/v1/queries")).json(request);
        if let Some(key) = key {
            sent = sent.header("idempotency-key", key);
        }
        self.json(sent).await
    }

    /// The kept result of a query, whole or one page of it, as that media type.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn results(
        &self,
        query: QueryId,
        page: Option<u64>,
        media_type: &str,
    ) -> Result<Rows, ClientError> {
        let url = self.url(&format!("/v1/queries/{query}/results"));
        let mut request = self.client.get(url).header("accept", media_type);
        if let Some(page) = page {
            request = request.query(&[("page", page)]);
        }
        Ok(Rows {
            address: self.address.clone(),
            response: self.checked(request).await?,
        })
    }
}
