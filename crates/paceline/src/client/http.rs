use paceline_frontend::{ClusterStatus, ErrorReport, QueryReport};
use paceline_model::QueryId;
use reqwest::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ClientError;

/// One scheduler's HTTP port.
#[derive(Debug, Clone)]
pub struct Http {
    address: String,
    client: reqwest::Client,
}

#[derive(Deserialize)]
struct Queries {
    queries: Vec<QueryReport>,
}

#[derive(Deserialize)]
struct Refusal {
    error: ErrorReport,
}

impl Http {
    /// The port at `host:port`; nothing is asked yet.
    pub fn new(address: &str) -> Self {
        Http {
            address: address.to_string(),
            client: reqwest::Client::new(),
        }
    }

    /// The cluster as that scheduler sees it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn status(&self) -> Result<ClusterStatus, ClientError> {
        self.get("/v1/status").await
    }

    /// The queries that run or ended lately.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn queries(&self) -> Result<Vec<QueryReport>, ClientError> {
        Ok(self.get::<Queries>("/v1/queries").await?.queries)
    }

    /// How far one query has come.
    ///
    /// # Errors
    /// If nobody knows it.
    pub async fn query(&self, query: QueryId) -> Result<QueryReport, ClientError> {
        self.get(&format!("/v1/queries/{query}")).await
    }

    /// Cancels a query.
    ///
    /// # Errors
    /// If nobody knows it.
    pub async fn cancel(&self, query: QueryId) -> Result<(), ClientError> {
        let url = format!("http://{}/v1/queries/{query}", self.address);
        self.checked(self.client.delete(url)).await.map(|_| ())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let url = format!("http://{}{path}", self.address);
        let answer = self.checked(self.client.get(url)).await?;
        let bytes = answer.bytes().await.map_err(|error| self.failed(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.unintelligible(error))
    }

    async fn checked(&self, request: reqwest::RequestBuilder) -> Result<Response, ClientError> {
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| self.failed(&error))?;
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => Err(ClientError::refused(refusal.error)),
            Err(_) => Err(self.unintelligible(status)),
        }
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        ClientError::http(&self.address, error)
    }

    fn unintelligible(&self, reason: impl std::fmt::Display) -> ClientError {
        ClientError::Unintelligible {
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }
}
