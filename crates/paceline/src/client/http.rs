use paceline_frontend::{ClusterStatus, ErrorReport, QueryReport};
use paceline_model::QueryId;
use reqwest::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ClientError;

/// One scheduler's HTTP port.
#[derive(Debug, Clone)]
pub struct Http {
    pub(super) address: String,
    pub(super) client: reqwest::Client,
}

#[derive(Deserialize)]
struct Refusal {
    error: ErrorReport,
}

impl Http {
    /// The port at `host:port`; nothing is asked yet.
    pub fn new(address: &str) -> Self {
        // As over Flight SQL, it is asked itself, whatever the environment has for a proxy.
        let direct = reqwest::Client::builder().no_proxy().build();
        Http {
            address: address.to_string(),
            client: direct.unwrap_or_default(),
        }
    }

    /// The cluster as that scheduler sees it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn status(&self) -> Result<ClusterStatus, ClientError> {
        self.get("/v1/status").await
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
        let url = self.url(&format!("/v1/queries/{query}"));
        self.checked(self.client.delete(url)).await.map(|_| ())
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(self.client.get(self.url(path))).await
    }

    /// Sends a request whose answer is JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        let answer = self.checked(request).await?;
        let bytes = answer.bytes().await.map_err(|error| self.failed(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.unintelligible(error))
    }

    /// Sends a request; whatever is no success is an error.
    pub(super) async fn checked(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, ClientError> {
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
